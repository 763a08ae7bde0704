import CGRPC

/// How one call is made.
public struct RPCCallOptions: Sendable {
    /// The time limit from now to the call's end; nil: the channel's for unary calls, none for streams.
    public var timeout: Duration?
    /// Sent before the first message.
    public var metadata: RPCMetadata
    /// Wait for a connection, within the time limit, where there is none; otherwise fail at once as unavailable.
    public var waitForReady: Bool

    /// Without anything given: the channel's limits, and failing fast.
    public init(timeout: Duration? = nil, metadata: RPCMetadata = RPCMetadata(), waitForReady: Bool = false) {
        self.timeout = timeout
        self.metadata = metadata
        self.waitForReady = waitForReady
    }

    /// A time limit and nothing else.
    public static func timeout(_ timeout: Duration) -> RPCCallOptions { RPCCallOptions(timeout: timeout) }
}

/// How a connection notices that the other side is dead: it pings while there are calls.
///
/// A dead peer is noticed within `interval + timeout`. A process that ends is noticed at once, by its socket.
public struct RPCKeepalive: Sendable, Hashable {
    /// Time without anything received after which a ping is sent.
    public var interval: Duration
    /// Time without an answer after which the connection is closed and its calls fail as unavailable.
    public var timeout: Duration

    /// 3 s and 5 s: dead within 8 s, and time enough for a machine that is very busy.
    public init(interval: Duration = .seconds(3), timeout: Duration = .seconds(5)) {
        self.interval = interval
        self.timeout = timeout
    }
}

/// How a channel behaves.
public struct RPCChannelOptions: Sendable {
    /// The longest message sent or received.
    public var messageBytesMax = 4 << 20
    /// The time limit of unary calls that give none themselves.
    public var unaryTimeout: Duration = .seconds(10)
    /// How a dead server is noticed.
    public var keepalive = RPCKeepalive()
    /// The longest pause between two attempts to connect; the first is 100 ms.
    public var reconnectBackoffMax: Duration = .seconds(1)
    /// How long one attempt to connect may take.
    public var connectTimeout: Duration = .seconds(3)

    /// The defaults.
    public init() {}
}

/// How a server behaves.
public struct RPCServerOptions: Sendable {
    /// The longest message sent or received.
    public var messageBytesMax = 4 << 20
    /// The most calls at once on one connection; more wait in the client.
    public var connectionStreamsMax = 1024
    /// The most calls at once, all connections together; more are refused as resourceExhausted.
    public var callsMax = 4096
    /// How a dead client is noticed.
    public var keepalive = RPCKeepalive()
    /// How long a connection may take over TLS and HTTP/2's beginning before it is closed.
    public var handshakeTimeout: Duration = .seconds(10)
    /// How long a connection may be without a call before it is closed; clients connect again when they call.
    public var idleTimeout: Duration = .seconds(300)
    /// The most bytes of a call's metadata.
    public var metadataBytesMax = 16 << 10
    /// Access of Unix sockets, as in `chmod`: by default their owner's alone.
    public var unixSocketMode: UInt32 = 0o600
    /// Says why a call may not be made, nil when it may: asked before its handler runs, and of every running call once a
    /// second, which it ends where the answer has changed (an expired or revoked certificate). Must not block. Nil: whoever
    /// can connect may call.
    public var admit: (@Sendable (RPCServerContext) -> RPCError?)?

    /// The defaults.
    public init() {}
}

extension Duration {
    /// Nanoseconds, capped to what 63 bits hold and not below 0.
    var wholeNanoseconds: Int64 {
        let (seconds, attoseconds) = components
        guard seconds >= 0, attoseconds >= 0 else { return 0 }
        guard seconds < Int64.max / 1_000_000_000 else { return Int64.max }
        return seconds * 1_000_000_000 + attoseconds / 1_000_000_000
    }

    /// Milliseconds, at least 1, as gRPC's arguments have them.
    var wholeMilliseconds: Int32 { Int32(clamping: max(1, wholeNanoseconds / 1_000_000)) }
}

/// Channel arguments, kept alive for the time of a C call.
struct RPCArguments {
    private var integers: [(String, Int32)] = []
    private var strings: [(String, String)] = []

    init() {
        // The environment's HTTP proxy is for origins, not for the cluster's own calls.
        set(GRPC_ARG_ENABLE_HTTP_PROXY, 0)
        set(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1)
        set(GRPC_ARG_ENABLE_RETRIES, 0)
        set(GRPC_ARG_ENABLE_CHANNELZ, 0)
        // Identity alone: a compressed message could take far more memory than the limit on messages says.
        set(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1)
    }

    mutating func set(_ key: String, _ value: Int32) { integers.append((key, value)) }
    mutating func set(_ key: String, _ value: String) { strings.append((key, value)) }

    mutating func set(_ keepalive: RPCKeepalive, messageBytesMax: Int) {
        set(GRPC_ARG_KEEPALIVE_TIME_MS, keepalive.interval.wholeMilliseconds)
        set(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, keepalive.timeout.wholeMilliseconds)
        // Idle streams are the normal case here: pings need no data in between.
        set(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0)
        set(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, Int32(clamping: messageBytesMax))
        set(GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, Int32(clamping: messageBytesMax))
    }

    func with<Result>(_ body: (UnsafePointer<grpc_channel_args>) -> Result) -> Result {
        var copies: [UnsafeMutablePointer<CChar>] = []
        func copy(_ text: String) -> UnsafeMutablePointer<CChar> {
            let made = gpr_strdup(text)!
            copies.append(made)
            return made
        }
        defer { for text in copies { gpr_free(text) } }
        var list = integers.map { martlet_rpc_integer_argument(copy($0.0), $0.1) }
        list += strings.map { martlet_rpc_string_argument(copy($0.0), copy($0.1)) }
        return list.withUnsafeMutableBufferPointer { buffer in
            var arguments = grpc_channel_args(num_args: buffer.count, args: buffer.baseAddress)
            return body(&arguments)
        }
    }
}
