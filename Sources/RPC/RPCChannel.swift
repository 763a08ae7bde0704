import CGRPC
import Protobuf
import Synchronization

/// The state of a channel's connection.
public enum RPCConnectivity: Sendable, Hashable {
    /// No connection, and none wanted.
    case idle
    /// Connecting.
    case connecting
    /// Connected.
    case ready
    /// The last attempt failed; the next follows after a pause.
    case failing
    /// Closed for good.
    case closed
}

/// A client's way to one server: connects when it is used, and again when the connection is lost.
///
/// Clients generated from `.proto` files make their calls on it. Thread-safe; calls share one connection.
public final class RPCChannel: Sendable {
    /// The pointer to gRPC's channel.
    ///
    /// Safety: gRPC's functions on it are thread-safe; it is used and exchanged under the channel's lock only.
    private struct Pointer: @unchecked Sendable {
        var channel: OpaquePointer
        var isClosed = false
    }

    /// Where it leads.
    public let address: RPCAddress
    /// How it behaves.
    public let options: RPCChannelOptions
    private let pointer: Mutex<Pointer>

    /// A channel to an address. Does not connect yet; throws `invalidArgument` for credentials that cannot work.
    public init(
        to address: RPCAddress, credentials: RPCCredentials, options: RPCChannelOptions = RPCChannelOptions()
    ) throws(RPCError) {
        _ = CompletionQueue.shared
        if case .unix(let path) = address, path.utf8.count > RPCAddress.unixPathBytesMax {
            throw RPCError(
                .invalidArgument,
                "the socket path '\(path)' has more than \(RPCAddress.unixPathBytesMax) bytes; use a shorter one"
            )
        }
        self.address = address
        self.options = options
        let made = try credentials.makeChannelCredentials()
        defer { grpc_channel_credentials_release(made) }
        let arguments = Self.arguments(options, serverName: credentials.serverName)
        guard let channel = arguments.with({ grpc_channel_create(address.target, made, $0) }) else {
            throw RPCError(.invalidArgument, "gRPC cannot make a channel to \(address)")
        }
        pointer = Mutex(Pointer(channel: channel))
    }

    deinit { pointer.withLock { grpc_channel_destroy($0.channel) } }

    private static func arguments(_ options: RPCChannelOptions, serverName: String?) -> RPCArguments {
        var arguments = RPCArguments()
        arguments.set(options.keepalive, messageBytesMax: options.messageBytesMax)
        arguments.set(
            GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, min(100, options.reconnectBackoffMax.wholeMilliseconds))
        arguments.set(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, options.reconnectBackoffMax.wholeMilliseconds)
        arguments.set(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, options.connectTimeout.wholeMilliseconds)
        arguments.set(
            GRPC_ARG_DNS_MIN_TIME_BETWEEN_RESOLUTIONS_MS, options.reconnectBackoffMax.wholeMilliseconds)
        // Channels to the same server keep connections, and pauses between attempts, of their own.
        arguments.set(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1)
        if let serverName {
            arguments.set(GRPC_SSL_TARGET_NAME_OVERRIDE_ARG, serverName)
            arguments.set(GRPC_ARG_DEFAULT_AUTHORITY, serverName)
        }
        return arguments
    }

    /// Ends the connection: no new calls, and those under way fail when it is gone. Idempotent.
    public func close() {
        let closed = pointer.withLock { pointer -> Pointer? in
            guard !pointer.isClosed else { return nil }
            let lame = grpc_lame_client_channel_create(
                address.target, GRPC_STATUS_UNAVAILABLE, "the channel to \(address) is closed")
            guard let lame else { return nil }
            defer { pointer = Pointer(channel: lame, isClosed: true) }
            return pointer
        }
        if let closed { grpc_channel_destroy(closed.channel) }
    }

    /// The connection's state now.
    public var connectivity: RPCConnectivity {
        pointer.withLock { Self.connectivity($0, connect: false).0 }
    }

    private static func connectivity(
        _ pointer: Pointer, connect: Bool
    ) -> (RPCConnectivity, grpc_connectivity_state) {
        let state = grpc_channel_check_connectivity_state(pointer.channel, connect ? 1 : 0)
        if pointer.isClosed { return (.closed, state) }
        switch state {
        case GRPC_CHANNEL_IDLE: return (.idle, state)
        case GRPC_CHANNEL_CONNECTING: return (.connecting, state)
        case GRPC_CHANNEL_READY: return (.ready, state)
        case GRPC_CHANNEL_TRANSIENT_FAILURE: return (.failing, state)
        default: return (.closed, state)
        }
    }

    /// Connects, trying again until there is a connection or the time is over.
    ///
    /// Throws `unavailable` when the time is over or the channel closed, `cancelled` when the task is.
    public func waitUntilReady(timeout: Duration) async throws(RPCError) {
        let end = ContinuousClock.now.advanced(by: timeout)
        while true {
            let changed = Completion<Bool>()
            let state = pointer.withLock { pointer in
                let (state, raw) = Self.connectivity(pointer, connect: true)
                guard state != .ready, state != .closed else { return state }
                // Bounded, so that the end of waiting is noticed and no watch outlives it by much.
                let slice = min(Duration.seconds(1), max(.zero, ContinuousClock.now.duration(to: end)))
                let tag = Tag.retained { _ in withExtendedLifetime(self) { changed.complete(true) } }
                grpc_channel_watch_connectivity_state(
                    pointer.channel, raw, martlet_rpc_deadline(slice.wholeNanoseconds),
                    CompletionQueue.shared.pointer, tag)
                return state
            }
            switch state {
            case .ready: return
            case .closed: throw RPCError(.unavailable, "the channel to \(address) is closed")
            case .idle, .connecting, .failing: break
            }
            guard ContinuousClock.now < end else {
                throw RPCError(.unavailable, "no server answers at \(address); is it running?")
            }
            guard await changed.wait() != nil else { throw .taskCancelled }
        }
    }

    /// Calls a unary method.
    public func unary<Request, Response>(
        _ method: RPCMethod<Request, Response>, _ request: Request, options: RPCCallOptions = RPCCallOptions()
    ) async throws(RPCError) -> Response {
        var limited = options
        limited.timeout = options.timeout ?? self.options.unaryTimeout
        let bytes = request.protobufBytes()
        guard bytes.count <= self.options.messageBytesMax else {
            throw RPCError(
                .resourceExhausted,
                "a message of \(bytes.count) bytes is over the limit of \(self.options.messageBytesMax)")
        }
        let handle = makeHandle(method.path, limited)
        let ended = Completion<(RPCOutcome, [UInt8]?)>()
        var operations: CallHandle.Operations = [
            .sendInitialMetadata, .sendMessage, .sendClose, .receiveInitialMetadata, .receiveMessage,
            .receiveStatus,
        ]
        if options.waitForReady { operations.insert(.waitForReady) }
        let isStarted = handle.start(operations, message: bytes) { _ in
            ended.complete((handle.outcome, handle.takeMessage()))
        }
        guard isStarted else { throw RPCError(.internalError, "gRPC refused to start \(method.path)") }
        guard let (outcome, answer) = await ended.wait() else {
            handle.cancel(.cancelled, RPCError.taskCancelled.message)
            throw .taskCancelled
        }
        guard outcome.status == .ok else { throw RPCError(outcome) }
        guard let answer else { throw RPCError(.internalError, "\(method.path) ended without an answer") }
        return try decoded(answer, failure: .internalError)
    }

    /// Opens a call of a method with a stream of requests. Neither throws nor suspends: failures come with the first
    /// use.
    public func open<Request, Response>(
        _ method: RPCMethod<Request, Response>, options: RPCCallOptions = RPCCallOptions()
    ) -> RPCCall<Request, Response> {
        RPCCall(makeHandle(method.path, options), self, waitForReady: options.waitForReady, request: nil)
    }

    /// Opens a call of a method with one request, and sends it.
    public func open<Request, Response>(
        _ method: RPCMethod<Request, Response>, _ request: Request, options: RPCCallOptions = RPCCallOptions()
    ) -> RPCCall<Request, Response> {
        RPCCall(
            makeHandle(method.path, options), self, waitForReady: options.waitForReady,
            request: request.protobufBytes())
    }

    private func makeHandle(_ path: String, _ options: RPCCallOptions) -> CallHandle {
        let call = pointer.withLock { pointer in
            martlet_rpc_client_call(
                pointer.channel, CompletionQueue.shared.pointer, path, options.timeout?.wholeNanoseconds ?? -1
            )
        }
        guard let call else { preconditionFailure("RPCChannel: out of memory") }
        let handle = CallHandle(call)
        handle.add(options.metadata, trailing: false)
        return handle
    }
}

/// Reads a message that the other side sent; `failure` is what it counts as when it is none.
func decoded<Message: ProtoMessage>(_ bytes: [UInt8], failure: RPCStatus) throws(RPCError) -> Message {
    do throws(ProtobufError) {
        return try Message(protobuf: bytes)
    } catch {
        throw RPCError(failure, "a message is no \(Message.protoName): \(error)")
    }
}
