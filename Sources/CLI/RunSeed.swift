/// The body of `martlet seed`: runs until `context.stop` asks it to end.
func runSeed(_ context: CommandContext) async throws -> ExitCode { try await servePeer(context, isSeed: true) }
