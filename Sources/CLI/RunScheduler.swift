import Configuration
import SchedulerService

/// The body of `martlet scheduler`: runs until `context.stop` asks it to end.
func runScheduler(_ context: CommandContext) async throws -> ExitCode {
    let configuration = context.configuration
    let own = try await context.join(
        as: .scheduler, host: configuration[Schema.Scheduler.name], listening: [configuration[Schema.Scheduler.listen]])
    defer { own.end() }
    let scheduler = try SchedulerServer.start(
        configuration, credentials: own.credentials, revocations: own.revocations, log: context.log)
    _ = await context.stop.wait()
    await scheduler.stop()
    return .ok
}
