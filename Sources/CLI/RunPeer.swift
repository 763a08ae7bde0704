import Configuration
import PeerService

/// The body of `martlet peer`: runs until `context.stop` asks it to end.
func runPeer(_ context: CommandContext) async throws -> ExitCode { try await servePeer(context, isSeed: false) }

/// What `martlet peer` and `martlet seed` have in common: all but the role.
func servePeer(_ context: CommandContext, isSeed: Bool) async throws -> ExitCode {
    let configuration = context.configuration
    let peer = try PeerServer.start(
        configuration, PeerServer.Options(isSeed: isSeed),
        credentials: try context.credentials(listening: configuration.pieceListeners),
        log: context.log)
    _ = await context.stop.wait()
    await peer.stop()
    return .ok
}
