/// The body of `martlet get`.
func runGet(_ request: GetRequest, _ context: CommandContext) async throws -> ExitCode {
    throw CommandFailure(.unavailable, "martlet get is not built yet")
}
