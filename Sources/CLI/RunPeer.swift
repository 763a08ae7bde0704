import Configuration
import PeerService

/// The body of `martlet peer`: runs until `context.stop` asks it to end.
func runPeer(_ context: CommandContext) async throws -> ExitCode { try await servePeer(context, isSeed: false) }

/// What `martlet peer` and `martlet seed` have in common: all but the role.
func servePeer(_ context: CommandContext, isSeed: Bool) async throws -> ExitCode {
    let configuration = context.configuration
    let own = try await context.join(
        as: isSeed ? .seed : .peer, host: configuration[Schema.Peer.name], listening: configuration.pieceListeners)
    defer { own.end() }
    let peer = try PeerServer.start(
        configuration, PeerServer.Options(isSeed: isSeed), credentials: own.credentials,
        revocations: own.revocations, log: context.log)
    _ = await context.stop.wait()
    await peer.stop()
    return .ok
}
