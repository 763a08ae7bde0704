/// The body of `martlet up`: runs until `context.stop` asks it to end.
func runUp(_ context: CommandContext) async throws -> ExitCode {
    throw CommandFailure(.unavailable, "martlet up is not built yet")
}
