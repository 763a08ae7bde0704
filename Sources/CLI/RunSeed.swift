/// The body of `martlet seed`: runs until `context.stop` asks it to end.
func runSeed(_ context: CommandContext) async throws -> ExitCode {
    throw CommandFailure(.unavailable, "martlet seed is not built yet")
}
