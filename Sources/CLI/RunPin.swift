/// The body of `martlet pin`.
func runPin(_ request: PinRequest, _ context: CommandContext) async throws -> ExitCode {
    throw CommandFailure(.unavailable, "martlet pin is not built yet")
}
