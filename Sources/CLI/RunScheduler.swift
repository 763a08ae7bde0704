import Configuration
import SchedulerService

/// The body of `martlet scheduler`: runs until `context.stop` asks it to end.
func runScheduler(_ context: CommandContext) async throws -> ExitCode {
    let listen = context.configuration[Schema.Scheduler.listen]
    let scheduler = try SchedulerServer.start(
        context.configuration, credentials: try context.credentials(listening: [listen]), log: context.log)
    _ = await context.stop.wait()
    await scheduler.stop()
    return .ok
}
