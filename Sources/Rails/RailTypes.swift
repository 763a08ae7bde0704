import Artifacts
import Swarm
import Transport

/// What a rail is made with; its bounds.
public struct RailConfiguration: Sendable {
    /// The thread's name, seen in `top -H` (15 bytes are kept) and in logs.
    public var name: String
    /// The CPUs it may run on, normally those of the port's NUMA node; empty for any.
    public var cpus: [Int]
    /// Commands waiting before `submit` says no.
    public var mailboxCommandsMax: Int
    /// The size of the reads a piece is cut into (the transport's own bound may be smaller); nil for the size the
    /// transport prefers.
    public var readBytesMax: UInt32?
    /// Messages waiting for a link that does not take them; one more and the link is closed.
    public var queuedMessagesPerLinkMax: Int
    /// Pieces waiting for a link's turn; one more completes with `.limit` at once.
    public var queuedPiecesPerLinkMax: Int
    /// Events handed to the sink at a time.
    public var eventsPerBatchMax: Int

    /// The usual bounds.
    public init(
        name: String, cpus: [Int] = [], mailboxCommandsMax: Int = 65_536, readBytesMax: UInt32? = nil,
        queuedMessagesPerLinkMax: Int = 1024, queuedPiecesPerLinkMax: Int = 256, eventsPerBatchMax: Int = 256
    ) {
        self.name = name
        self.cpus = cpus
        self.mailboxCommandsMax = mailboxCommandsMax
        self.readBytesMax = readBytesMax
        self.queuedMessagesPerLinkMax = queuedMessagesPerLinkMax
        self.queuedPiecesPerLinkMax = queuedPiecesPerLinkMax
        self.eventsPerBatchMax = eventsPerBatchMax
    }
}

/// What a rail can be told.
public enum RailCommand: Sendable {
    /// Brings up a link: answered by `connecting` and then `linkUp` or `linkDown`, or by `connectFailed`.
    case connect(token: UInt64, to: TransportAddress, deadlineNs: UInt64)
    /// Ends a link: its reads complete, its exports retire, then `linkDown`.
    case close(LinkID)
    /// Sends a message in order; it waits on the rail while the transport cannot take it.
    case send(PeerMessage<RemoteKey>, on: LinkID)
    /// Reads a piece: answered by exactly one `readCompleted`.
    case read(PieceRead)
    /// Lets a link read a range: answered by `exported`.
    case export(token: UInt64, ExportSource, to: LinkID)
    /// Ends an export: answered by `exportRetired`.
    case revoke(ExportID)
}

/// A whole piece, or any other range, to be read into registered memory. The rail cuts it into reads.
public struct PieceRead: Sendable {
    /// The link to read over.
    public var link: LinkID
    /// The parent's key for the exported range.
    public var key: RemoteKey
    /// Where to begin, relative to the exported range's start.
    public var remoteOffset: UInt64
    /// Which registered memory receives.
    public var region: RegionID
    /// Where in that memory.
    public var localOffset: UInt64
    /// How many bytes, at least one.
    public var lengthBytes: UInt64
    /// The caller's mark, given back in the completion.
    public var tag: UInt64

    /// Describes a read of a piece.
    public init(
        link: LinkID, key: RemoteKey, remoteOffset: UInt64 = 0, region: RegionID, localOffset: UInt64,
        lengthBytes: UInt64,
        tag: UInt64
    ) {
        self.link = link
        self.key = key
        self.remoteOffset = remoteOffset
        self.region = region
        self.localOffset = localOffset
        self.lengthBytes = lengthBytes
        self.tag = tag
    }
}

/// What a rail reports, in order, on its own thread.
public enum RailEvent: Sendable {
    /// The link that a connect command is bringing up; before anything else of the link.
    case connecting(token: UInt64, LinkID)
    /// A connect could not even begin; nothing follows.
    case connectFailed(token: UInt64, TransportError)
    /// A link is up.
    case linkUp(LinkID, LinkIdentity, inbound: Bool)
    /// A link is down or never came up; its reads have completed and its exports retired before.
    case linkDown(LinkID, TransportError)
    /// A message arrived.
    case message(LinkID, PeerMessage<RemoteKey>)
    /// A piece's read ended: all bytes are there, or `failure` says why not. The memory is the caller's again.
    case readCompleted(tag: UInt64, LinkID, failure: TransportError.Code?)
    /// An export command's result.
    case exported(token: UInt64, Result<Export, TransportError>)
    /// Nobody reads this export any more.
    case exportRetired(ExportID)
    /// The rail has ended; nothing follows.
    case shutDown
}

/// What a rail and its transport have done; a copy at some recent turn.
public struct RailCounters: Sendable, Hashable {
    /// What the transport has done.
    public var transport = TransportCounters()
    /// Commands carried out.
    public var commands: UInt64 = 0
    /// Events handed to the sink.
    public var events: UInt64 = 0
    /// Calls of the sink.
    public var batches: UInt64 = 0
    /// Turns of the loop.
    public var turns: UInt64 = 0
    /// Times the thread went to sleep.
    public var waits: UInt64 = 0
    /// Pieces whose reads have not all ended.
    public var piecesReading: Int = 0

    /// All zero.
    public init() {}
}
