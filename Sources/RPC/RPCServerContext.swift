import Synchronization

/// What a handler knows of its call. Thread-safe.
public final class RPCServerContext: Sendable {
    private struct State {
        var initial = RPCMetadata()
        var trailers = RPCMetadata()
        var isCancelled = false
    }

    /// The path asked for, e.g. `/martlet.v1.Scheduler/Attach`.
    public let method: String
    /// The client's address, e.g. `10.0.0.7:4312`, `[::1]:4312`, or `unix`. Proves nothing.
    public let peer: String
    /// The names in the client's certificate, checked against the authority; empty without mutual TLS.
    public let peerNames: [String]
    /// The client's certificate as PEM, checked against the authority; nil without one.
    public let peerCertificate: String?
    /// What the client sent before its first message.
    public let metadata: RPCMetadata
    private let handle: CallHandle
    private let state = Mutex(State())

    init(_ handle: CallHandle) {
        self.handle = handle
        method = handle.path
        peer = handle.peer
        peerNames = handle.peerNames
        peerCertificate = handle.peerCertificate
        metadata = handle.receivedMetadata(trailing: false)
    }

    /// Whether the client came by a Unix socket, whose file says who may.
    public var isLocal: Bool { peer == "unix" }

    /// The time left until the client's time limit; nil: it set none.
    public var timeRemaining: Duration? { handle.timeRemaining }

    /// The call is over for the client: cancelled, timed out or disconnected. The handler's task is cancelled too.
    public var isCancelled: Bool { state.withLock { $0.isCancelled } }

    /// Sets what is sent before the first message; later than that it has no effect.
    public func setInitialMetadata(_ metadata: RPCMetadata) { state.withLock { $0.initial = metadata } }

    /// Sets what is sent behind the last message, with the status.
    public func setTrailers(_ trailers: RPCMetadata) { state.withLock { $0.trailers = trailers } }

    var initialMetadata: RPCMetadata { state.withLock { $0.initial } }
    var trailers: RPCMetadata { state.withLock { $0.trailers } }
    func markCancelled() { state.withLock { $0.isCancelled = true } }
}
