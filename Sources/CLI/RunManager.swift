import Configuration
import ManagerService

/// The body of `martlet manager`: runs until `context.stop` asks it to end.
func runManager(_ context: CommandContext) async throws -> ExitCode {
    let listen = context.configuration[Schema.Manager.listen]
    let manager = try await ManagerServer.start(
        context.configuration, credentials: try context.givenCredentials(listening: [listen]), log: context.log)
    _ = await context.stop.wait()
    await manager.stop()
    return .ok
}
