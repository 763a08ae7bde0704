/// The body of `martlet ls`.
func runList(_ request: ListRequest, _ context: CommandContext) async throws -> ExitCode {
    throw CommandFailure(.unavailable, "martlet ls is not built yet")
}
