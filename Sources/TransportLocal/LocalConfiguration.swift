import Transport

/// What a same-host transport is made with; every bound and time-out of it.
public struct LocalConfiguration: Sendable {
    /// The largest message.
    public static let messageBytesMax = 64 << 10
    /// The largest single read, the largest piece.
    public static let readBytesMax: UInt32 = 16 << 20
    /// The most exports a far side may have handed to us on one link: each is a descriptor.
    public static let exportsPerLinkMax = 1024

    /// Who we are.
    public var identity: LinkIdentity
    /// Path of the socket to listen on, at most 107 bytes, in a folder only this user can write to. nil: only outbound
    /// links.
    public var listenPath: String?
    /// Links alive, inbound and outbound together.
    public var linksMax = 256
    /// Accepted connections that have not said who they are.
    public var pendingHandshakesMax = 64
    /// Reads posted on a link and not completed.
    public var readsPerLinkMax = 64
    /// Exports alive on a link.
    public var exportsPerLinkMax = 256
    /// Bytes of messages waiting on a link before `send` says no.
    public var messageQueueBytesMax = 1 << 20
    /// How long an accepted connection may take to greet.
    public var handshakeLimitNs: UInt64 = 5_000_000_000
    /// How long a far side may leave packets unread, or a withdrawal unanswered, before the link is given up.
    public var progressLimitNs: UInt64 = 5_000_000_000
    /// Bytes read for one link in one `poll`, so that links get equal turns.
    public var turnBytesMax = 4 << 20
    /// Who may have a link.
    public var authenticator: any HandshakeAuthenticator = ClusterNameAuthenticator()

    /// The usual settings.
    public init(identity: LinkIdentity, listenPath: String? = nil) {
        self.identity = identity
        self.listenPath = listenPath
    }

    func check() throws(TransportError) {
        guard (1...Self.exportsPerLinkMax).contains(exportsPerLinkMax) else {
            throw TransportError(
                .system, "exports per link are 1 to \(Self.exportsPerLinkMax), not \(exportsPerLinkMax)")
        }
        guard identity.cluster.utf8.count <= HandshakeFrame.clusterBytesMax else {
            throw TransportError(
                .system, "a cluster's name has at most \(HandshakeFrame.clusterBytesMax) bytes")
        }
        guard linksMax > 0, pendingHandshakesMax > 0, (1...Int(UInt16.max)).contains(readsPerLinkMax),
            turnBytesMax > 0,
            messageQueueBytesMax > Self.messageBytesMax, progressLimitNs > 0, handshakeLimitNs > 0
        else {
            throw TransportError(
                .system, "bounds and time-outs are positive, and a message fits the message queue")
        }
    }
}
