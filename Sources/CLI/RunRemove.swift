/// The body of `martlet rm`.
func runRemove(_ request: RemoveRequest, _ context: CommandContext) async throws -> ExitCode {
    throw CommandFailure(.unavailable, "martlet rm is not built yet")
}
