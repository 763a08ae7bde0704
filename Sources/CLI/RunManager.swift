/// The body of `martlet manager`: runs until `context.stop` asks it to end.
func runManager(_ context: CommandContext) async throws -> ExitCode {
    throw CommandFailure(.unavailable, "martlet manager is not built yet")
}
