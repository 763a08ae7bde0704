/// The body of `martlet scheduler`: runs until `context.stop` asks it to end.
func runScheduler(_ context: CommandContext) async throws -> ExitCode {
    throw CommandFailure(.unavailable, "martlet scheduler is not built yet")
}
