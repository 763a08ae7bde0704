import Transport
import Verbs

/// What a verbs transport is made with; every bound and time-out of it.
public struct VerbsConfiguration: Sendable {
    /// How an export is leased to its reader.
    public enum Lease: String, Sendable, Hashable, CaseIterable {
        /// By what the device was found to enforce when the transport was made.
        case probed
        /// A type-2 memory window bound to one queue pair.
        case window
        /// An exact memory region in a protection domain of the reader alone.
        case region
    }

    /// The largest message: a constant of the protocol.
    public static let messageBytesMax = 64 << 10
    /// The largest single read, the largest piece: a constant of the protocol. It is cut into READs here.
    public static let readBytesMax: UInt32 = 16 << 20
    /// The most queue pairs a link may have in each direction.
    public static let lanesMax = 8
    /// rxe, and the standard for RNR, take 7 retries as "for ever": a dead peer would never be reported.
    public static let retriesMax: UInt8 = 6

    /// Who we are.
    public var identity: LinkIdentity
    /// Which device, port and GID; by default the first that is usable.
    public var path = PathChoice()
    /// `host:port` of the control streams to listen on, numeric; port 0 takes a free one. nil: only outbound links.
    public var listen: String?
    /// Queue pairs of a link we dial, for our READs.
    public var lanes = 2
    /// Queue pairs of a link for READs of the side that accepted it; 0 where only dialing sides read.
    public var reverseLanes = 1
    /// The length of one READ: a read of a piece is cut into as many as it takes, spread over the lanes.
    public var workRequestBytes: UInt32 = 256 << 10
    /// READs posted on one queue pair and not completed.
    public var workRequestsPerLaneMax = 128
    /// The most READs a queue pair keeps in flight (`max_rd_atomic`); the device's and the far side's bounds hold too.
    public var readsInFlightMax: UInt8 = 128
    /// How exports are leased.
    public var lease = Lease.probed
    /// The time-out of one packet is 4.096 µs × 2^this; a device may take up to four times as long.
    public var timeoutExponent: UInt8 = 14
    /// How often a packet is sent again before its queue pair fails: 0 to 6.
    public var retries: UInt8 = 6
    /// Empty polls of the completion queue before the rail goes to sleep on its events; 0: sleep at once.
    public var spinPolls = 0
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
    /// How long an accepted connection may take to become a link.
    public var handshakeLimitNs: UInt64 = 5_000_000_000
    /// How long control bytes may stay unsent before the link is given up.
    public var progressLimitNs: UInt64 = 5_000_000_000
    /// How long a reader may go on with an export that is being revoked before the device is told to refuse it.
    public var revokeLimitNs: UInt64 = 1_000_000_000
    /// How long a failed queue pair may take to give back what was posted before it is destroyed for it.
    public var drainLimitNs: UInt64 = 2_000_000_000
    /// How often a link's data plane is proved alive by a READ of the far side's generation word.
    public var livenessIntervalNs: UInt64 = 500_000_000
    /// How long a queue pair may hold requests and complete none before its link is given up. The device itself reports
    /// a far side that does not answer, and far sooner, by its retries: this is for a device that reports nothing.
    public var stallLimitNs: UInt64 = 30_000_000_000
    /// How long the far side's process may take to answer a ping.
    public var pingLimitNs: UInt64 = 5_000_000_000
    /// How often a lost device is looked for.
    public var reopenIntervalNs: UInt64 = 500_000_000
    /// Who may have a link.
    public var authenticator: any HandshakeAuthenticator = ClusterNameAuthenticator()
    /// What links are secured with: mutual TLS 1.3 of the control stream; nil on a network where everyone is trusted.
    public var security: LinkSecurity?

    /// The usual settings.
    public init(identity: LinkIdentity, device: String? = nil, listen: String? = nil) {
        self.identity = identity
        self.listen = listen
        path.device = device
    }

    func check() throws(TransportError) {
        guard (1...Self.lanesMax).contains(lanes), (0...Self.lanesMax).contains(reverseLanes) else {
            throw TransportError(.system, "a link has 1 to \(Self.lanesMax) queue pairs, not \(lanes)")
        }
        guard retries <= Self.retriesMax, (1...31).contains(timeoutExponent) else {
            throw TransportError(
                .system,
                "retries are 0 to \(Self.retriesMax) and the time-out's exponent 1 to 31, not \(retries) and \(timeoutExponent)"
            )
        }
        guard (1...Int(UInt16.max)).contains(readsPerLinkMax) else {
            throw TransportError(.system, "reads per link are 1 to 65535, not \(readsPerLinkMax)")
        }
        guard identity.cluster.utf8.count <= HandshakeFrame.clusterBytesMax else {
            throw TransportError(
                .system, "a cluster's name has at most \(HandshakeFrame.clusterBytesMax) bytes")
        }
        let partsMax = (Int(Self.readBytesMax) - 1) / Int(max(workRequestBytes, 1)) + 2
        guard workRequestBytes >= 4096, workRequestsPerLaneMax * lanes >= partsMax else {
            throw TransportError(
                .system,
                "a read of \(Self.readBytesMax) bytes in READs of \(workRequestBytes) does not fit \(lanes) queue pairs of \(workRequestsPerLaneMax)"
            )
        }
        guard linksMax > 0, linksMax < 1 << 20, pendingHandshakesMax > 0, exportsPerLinkMax > 0,
            messageQueueBytesMax >= Self.messageBytesMax, progressLimitNs > 0, handshakeLimitNs > 0,
            revokeLimitNs > 0, drainLimitNs > 0, livenessIntervalNs > 0, stallLimitNs > 0, pingLimitNs > 0,
            readsInFlightMax > 0
        else {
            throw TransportError(
                .system, "bounds and time-outs are positive, and a message fits the message queue")
        }
    }
}

/// Which port of which device, and which of its addresses; nil everywhere is "the first that is usable".
public struct PathChoice: Sendable, Hashable {
    /// Such as `mlx5_0` or `rxe0`.
    public var device: String?
    /// Which port, counted from 1.
    public var port: Int?
    /// Which of the port's addresses.
    public var gid = GIDSelection.automatic
    /// Which entry of the port's table of partition keys (InfiniBand).
    public var pkeyIndex = 0
    /// 0 to 15; on RoCE the priority of the VLAN where there is one.
    public var serviceLevel: UInt8 = 0
    /// The DSCP (upper six bits) and ECN bits of the packets: RoCE v2.
    public var trafficClass: UInt8 = 0
    /// How many routers packets may cross.
    public var hopLimit: UInt8 = 64
    /// The path's MTU; nil for the smaller of both ports'.
    public var mtu: PathMTU?

    /// The first usable path.
    public init() {}
}
