/// The body of `martlet peer`: runs until `context.stop` asks it to end.
func runPeer(_ context: CommandContext) async throws -> ExitCode {
    throw CommandFailure(.unavailable, "martlet peer is not built yet")
}
