import Transport

/// How the parent side gives a file's bytes to the kernel. Neither way copies them in user space.
public enum FileSending: String, Sendable, Hashable, CaseIterable {
    /// `mmap` where both ends are one machine, `sendfile` to other machines. On the loopback sendfile saves a copy and loses
    /// more: it hands pages over one by one (0.5 processor seconds a GiB of both sides together, from 1 GiB that is in no
    /// cache, instead of 0.3).
    case auto
    /// sendfile(2): the network card reads the page cache itself.
    case sendfile
    /// The file is mapped and sent from there: one copy by the kernel.
    case mmap
}

/// What a TCP transport is made with; every bound and time-out of it.
public struct TCPConfiguration: Sendable {
    /// The largest message: a constant of the protocol.
    public static let messageBytesMax = 64 << 10
    /// The largest single read, the largest piece: a constant of the protocol.
    public static let readBytesMax: UInt32 = 16 << 20
    /// The most data streams of a link.
    public static let dataStreamsMax = 16

    /// Who we are.
    public var identity: LinkIdentity
    /// `host:port` to listen on, numeric; port 0 takes a free one. nil: only outbound links.
    public var listen: String?
    /// Data streams of the links we open, besides the control stream.
    public var dataStreams = 2
    /// How files are sent.
    public var fileSending = FileSending.auto
    /// Links alive, inbound and outbound together.
    public var linksMax = 1024
    /// Accepted connections that have not said who they are.
    public var pendingHandshakesMax = 64
    /// Reads posted on a link and not completed; the smaller of both sides' counts.
    public var readsPerLinkMax = 64
    /// Exports alive on a link.
    public var exportsPerLinkMax = 256
    /// Bytes of messages waiting on a link before `send` says no.
    public var messageQueueBytesMax = 1 << 20
    /// How long an accepted connection may take to become (part of) a link.
    public var handshakeLimitNs: UInt64 = 5_000_000_000
    /// How long reads may be outstanding, or bytes unsent, without any byte moving, before the link is given up.
    public var progressLimitNs: UInt64 = 5_000_000_000
    /// Bytes that one stream may move in one `poll`, so that links get equal turns.
    public var turnBytesMax = 4 << 20
    /// SO_RCVBUF; 0 leaves it to the kernel's tuning, which is the better choice nearly always.
    public var receiveBufferBytes = 0
    /// SO_SNDBUF; 0 leaves it to the kernel.
    public var sendBufferBytes = 0
    /// Who may have a link.
    public var authenticator: any HandshakeAuthenticator = ClusterNameAuthenticator()
    /// What links are secured with: mutual TLS 1.3 of the control stream; nil on a network where everyone is trusted.
    public var security: LinkSecurity?

    /// The usual settings.
    public init(identity: LinkIdentity, listen: String? = nil) {
        self.identity = identity
        self.listen = listen
    }

    func check() throws(TransportError) {
        guard (1...Self.dataStreamsMax).contains(dataStreams) else {
            throw TransportError(
                .system, "a link has 1 to \(Self.dataStreamsMax) data streams, not \(dataStreams)")
        }
        guard (1...Int(UInt16.max)).contains(readsPerLinkMax) else {
            throw TransportError(.system, "reads per link are 1 to 65535, not \(readsPerLinkMax)")
        }
        guard identity.cluster.utf8.count <= HandshakeFrame.clusterBytesMax else {
            throw TransportError(
                .system, "a cluster's name has at most \(HandshakeFrame.clusterBytesMax) bytes")
        }
        guard linksMax > 0, pendingHandshakesMax > 0, exportsPerLinkMax > 0, turnBytesMax > 0,
            messageQueueBytesMax >= Self.messageBytesMax, progressLimitNs > 0, handshakeLimitNs > 0
        else {
            throw TransportError(
                .system, "bounds and time-outs are positive, and a message fits the message queue")
        }
    }
}
