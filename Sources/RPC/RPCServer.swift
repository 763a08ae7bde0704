import CGRPC
import Protobuf
import Synchronization

/// An address that a server is to listen on, with its own credentials.
///
/// A node's Unix socket is guarded by its file mode, so it may be insecure where the TCP listener is not.
public struct RPCListener: Sendable {
    /// Where.
    public let address: RPCAddress
    /// What the server proves itself with, and asks of clients, there.
    public let credentials: RPCCredentials

    /// A listener.
    public init(_ address: RPCAddress, credentials: RPCCredentials) {
        self.address = address
        self.credentials = credentials
    }
}

/// A gRPC server: answers services on one or more addresses until it is shut down.
///
/// Starting → serving → shutting down → stopped. A server that is dropped goes on serving: only `shutdown` ends it.
///
/// Every call runs its handler in a task of its own, which is cancelled when the caller cancels, its time limit passes,
/// its connection dies, or the server is shut down. A handler returns to end the call with ok, throws `RPCError` to
/// choose the status; `CancellationError` counts as cancelled, any other error as unknown with its description.
/// Handlers must not block their thread. Health and reflection are always there.
public final class RPCServer: Sendable {
    /// The server's state.
    ///
    /// Safety: gRPC's functions on the pointer are thread-safe; it is used under the lock only, and not after
    /// destruction.
    private struct State: @unchecked Sendable {
        var server: OpaquePointer?
        var isShuttingDown = false
        var callsRunning = 0
        /// Only where somebody asks again whether they may go on.
        var running: [ObjectIdentifier: ServerCall] = [:]
    }

    /// How many calls gRPC may hand over before it is asked for more.
    private static let requestsPosted = 32
    /// How long cancelled handlers and connections may take to end.
    private static let cancelLimit = Duration.seconds(5)

    /// Where it listens, in the listeners' order, with the ports that were chosen.
    public let addresses: [RPCAddress]
    /// The services' states, as the health service tells them.
    public let health: RPCHealth
    /// The methods it answers, those of health and reflection among them, as paths.
    public var methodPaths: [String] { methods.keys.sorted() }
    private let options: RPCServerOptions
    private let methods: [String: RPCServiceMethod]
    private let state: Mutex<State>
    private let stopped = Completion<Void>()
    private let idle = Completion<Void>()

    /// Listens and serves. Throws `unavailable` when an address cannot be listened on, with the reason, and
    /// `invalidArgument` for credentials that cannot work.
    public static func start(
        listeners: [RPCListener], services: [RPCService], options: RPCServerOptions = RPCServerOptions()
    ) throws(RPCError) -> RPCServer {
        let server = try RPCServer(listeners, services, options)
        for _ in 0..<requestsPosted { server.requestCall() }
        if let admit = options.admit { Task { await server.askAgain(admit) } }
        return server
    }

    private init(
        _ listeners: [RPCListener], _ services: [RPCService], _ options: RPCServerOptions
    ) throws(RPCError) {
        self.options = options
        health = RPCHealth(services: services.map(\.name))
        let all = services + [.health(health)]
        methods = Dictionary(
            (all + RPCReflection.services(of: all)).flatMap { $0.methods.map { ($0.path, $0) } },
            uniquingKeysWith: { _, _ in preconditionFailure("RPCServer: a service is given twice") })
        guard let server = Self.arguments(options).with({ grpc_server_create($0, nil) }) else {
            throw RPCError(.resourceExhausted, "gRPC cannot make a server")
        }
        grpc_server_register_completion_queue(server, CompletionQueue.shared.pointer, nil)
        do throws(RPCError) {
            var addresses: [RPCAddress] = []
            for listener in listeners { addresses.append(try Self.bind(server, listener, options)) }
            self.addresses = addresses
        } catch {
            Self.discard(server)
            throw error
        }
        grpc_server_start(server)
        state = Mutex(State(server: server))
    }

    private static func arguments(_ options: RPCServerOptions) -> RPCArguments {
        _ = CompletionQueue.shared
        var arguments = RPCArguments()
        arguments.set(options.keepalive, messageBytesMax: options.messageBytesMax)
        // Two servers on one port would each get some of the calls.
        arguments.set(GRPC_ARG_ALLOW_REUSEPORT, 0)
        arguments.set(GRPC_ARG_MAX_CONCURRENT_STREAMS, Int32(clamping: options.connectionStreamsMax))
        // Clients ping as often as their own keepalive says.
        arguments.set(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 100)
        arguments.set(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0)
        arguments.set(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, options.handshakeTimeout.wholeMilliseconds)
        arguments.set(GRPC_ARG_MAX_CONNECTION_IDLE_MS, options.idleTimeout.wholeMilliseconds)
        arguments.set(GRPC_ARG_MAX_METADATA_SIZE, Int32(clamping: options.metadataBytesMax))
        return arguments
    }

    private static func bind(
        _ server: OpaquePointer, _ listener: RPCListener, _ options: RPCServerOptions
    ) throws(RPCError) -> RPCAddress {
        if case .unix(let path) = listener.address { try checkUnix(path) }
        let credentials = try listener.credentials.makeServerCredentials()
        defer { grpc_server_credentials_release(credentials) }
        let port = grpc_server_add_http2_port(server, listener.address.description, credentials)
        guard port > 0 else { throw bindFailure(listener) }
        switch listener.address {
        case .tcp(let host, _):
            return .tcp(host: host, port: UInt16(clamping: port))
        case .unix(let path):
            let error = -martlet_rpc_chmod(path, options.unixSocketMode)
            guard error == 0 else {
                throw RPCError(
                    .unavailable,
                    "cannot set the access of the socket \(path): \(reason(error)) [chmod: errno \(error)]")
            }
            return listener.address
        }
    }

    /// gRPC takes a Unix socket away from whoever listens on it; we do not.
    private static func checkUnix(_ path: String) throws(RPCError) {
        guard path.utf8.count <= RPCAddress.unixPathBytesMax else {
            throw RPCError(
                .invalidArgument,
                "the socket path '\(path)' has more than \(RPCAddress.unixPathBytesMax) bytes; use a shorter one"
            )
        }
        guard martlet_rpc_probe_unix(path) != 1 else {
            throw RPCError(
                .alreadyExists,
                "cannot listen on unix:\(path): another process listens there; stop it or use another path")
        }
    }

    private static func bindFailure(_ listener: RPCListener) -> RPCError {
        let address = listener.address
        switch address {
        case .tcp(let host, let port):
            let error = -martlet_rpc_probe_bind(host, "\(port)")
            let why =
                switch error {
                case 0:
                    "gRPC refused its \(listener.credentials) credentials; check that the key fits the certificate"
                case EADDRINUSE:
                    "the port is in use; stop who uses it, or choose another (0 takes any free one)"
                case EACCES: "ports below 1024 need privileges; choose another"
                case EADDRNOTAVAIL:
                    "no interface of this machine has that address; use 0.0.0.0 for all of them"
                case ENXIO: "the host name is not known"
                default: "\(reason(error)) [bind: errno \(error)]"
                }
            return RPCError(
                error == EADDRINUSE ? .alreadyExists : .unavailable, "cannot listen on \(address): \(why)")
        case .unix(let path):
            return RPCError(
                .unavailable,
                "cannot listen on unix:\(path): is its directory there, and writable? Is a file of that name in the way?"
            )
        }
    }

    private static func reason(_ error: Int32) -> String { String(cString: martlet_rpc_error_text(error)) }

    /// Gets rid of a server that has not been started.
    private static func discard(_ server: OpaquePointer) {
        let address = UInt(bitPattern: server)
        let tag = Tag.retained { _ in
            if let server = OpaquePointer(bitPattern: address) { grpc_server_destroy(server) }
        }
        grpc_server_shutdown_and_notify(server, CompletionQueue.shared.pointer, tag)
    }

    // Calls

    /// Asks gRPC for one more call, unless shutting down.
    private func requestCall() {
        state.withLock { state in
            guard let server = state.server, !state.isShuttingDown else { return }
            let box = RequestedCall()
            let tag = Tag.retained { success in self.arrived(box.take(), success: success) }
            // The completion may run before the pointer is there: it waits for it at the box's lock.
            let isPosted = box.put { martlet_rpc_server_request(server, CompletionQueue.shared.pointer, tag) }
            if !isPosted { Tag.release(tag) }
        }
    }

    private func arrived(_ handle: CallHandle?, success: Bool) {
        guard success, let handle else { return }
        requestCall()
        let call = ServerCall(handle, messageBytesMax: options.messageBytesMax)
        // Before anything is said of what there is.
        if let refusal = options.admit?(call.context) {
            call.refuse(refusal)
            return
        }
        guard let method = methods[call.context.method] else {
            call.refuse(RPCError(.unimplemented, "this server has no method \(call.context.method)"))
            return
        }
        let isAdmitted = state.withLock { state in
            guard !state.isShuttingDown, state.callsRunning < options.callsMax else { return false }
            state.callsRunning += 1
            if options.admit != nil { state.running[ObjectIdentifier(call)] = call }
            return true
        }
        guard isAdmitted else {
            call.refuse(
                RPCError(
                    .resourceExhausted,
                    "this server answers \(options.callsMax) calls at once; try again later"))
            return
        }
        call.run(method) { self.ended(call) }
    }

    /// Ends running calls that may not go on, once a second until the shutdown.
    private func askAgain(_ admit: @Sendable (RPCServerContext) -> RPCError?) async {
        while true {
            try? await Task.sleep(for: .seconds(1))
            let (isOver, running) = state.withLock { ($0.isShuttingDown, Array($0.running.values)) }
            if isOver { return }
            for call in running {
                if let refusal = admit(call.context) { call.cut(refusal) }
            }
        }
    }

    private func ended(_ call: ServerCall) {
        let isIdle = state.withLock { state in
            state.callsRunning -= 1
            state.running[ObjectIdentifier(call)] = nil
            return state.isShuttingDown && state.callsRunning == 0
        }
        if isIdle { idle.complete(()) }
    }

    // Shutdown

    /// Takes no more calls, waits `grace` for those that run, then cancels them; returns when their handlers have
    /// ended.
    ///
    /// Handlers that ignore their cancellation are waited for 5 s more. Idempotent: a second call waits for the first
    /// one's end. The listeners' ports and sockets are free afterwards.
    public func shutdown(grace: Duration) async {
        health.shutdown()
        let isFirst = state.withLock { state in
            guard let server = state.server, !state.isShuttingDown else { return false }
            state.isShuttingDown = true
            let tag = Tag.retained { _ in self.destroy() }
            grpc_server_shutdown_and_notify(server, CompletionQueue.shared.pointer, tag)
            return true
        }
        if isFirst, state.withLock({ $0.callsRunning }) == 0 { idle.complete(()) }
        // Not cut short by the caller's own cancellation: what serves must end in order.
        await Task {
            let hasStopped = await stopped.wait(atMost: grace) != nil
            if !hasStopped {
                state.withLock { if let server = $0.server { grpc_server_cancel_all_calls(server) } }
            }
            _ = await stopped.wait(atMost: Self.cancelLimit)
            _ = await idle.wait(atMost: Self.cancelLimit)
        }.value
    }

    private func destroy() {
        let server = state.withLock { state in
            defer { state.server = nil }
            return state.server
        }
        if let server { grpc_server_destroy(server) }
        stopped.complete(())
    }
}

/// A call that gRPC was asked for.
///
/// Safety: the pointer is put and taken under the lock, once each.
private final class RequestedCall: @unchecked Sendable {
    private let lock = Mutex(())
    private var handle: CallHandle?

    func put(_ body: () -> OpaquePointer?) -> Bool {
        lock.withLock { _ in
            handle = body().map(CallHandle.init)
            return handle != nil
        }
    }

    func take() -> CallHandle? {
        lock.withLock { _ in
            defer { handle = nil }
            return handle
        }
    }
}
