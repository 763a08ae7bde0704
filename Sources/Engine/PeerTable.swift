import Artifacts
import Swarm
import Transport

/// The hosts this engine has heard of, their addresses, and the link it reads from each over.
struct PeerTable {
    /// One host.
    struct Entry {
        let host: HostID
        var incarnation: Incarnation
        var addresses: [TransportAddress]
        var isSeed: Bool
        var distance: UInt8
        /// The link our reads go over.
        var state: LinkState = .none
        /// A better way being tried while reads go over `state`.
        var probe: (token: UInt64, path: TransportPath)?
        /// Links that reads have moved away from; closed once what was asked over them has ended.
        var draining: [LinkNumber] = []
        /// Which way to take, and what is remembered of each.
        var selector: TransportSelector
        /// The transport reads last went over.
        var lastKind: TransportKind?
        /// What was lost since, and why.
        var lost: (kind: TransportKind, why: String)?
        /// Downloads that asked for the link.
        var users: Set<DownloadNumber> = []
        /// When a link that nobody reads over is closed.
        var idleUntilNs: UInt64?
    }

    /// How far the link is.
    enum LinkState {
        case none
        /// Asked of a rail; the token pairs the rail's answers with this entry.
        case connecting(token: UInt64, path: TransportPath)
        case up(LinkNumber)
    }

    private(set) var entries: [Entry] = []
    private var numbers: [HostID: PeerNumber] = [:]
    private let settings: SelectorSettings

    init(settings: SelectorSettings) { self.settings = settings }

    /// The number of a host, which is new to us or known; news replaces its addresses.
    mutating func number(of neighbour: Neighbour) -> PeerNumber {
        let addresses = neighbour.addresses.compactMap { TransportAddress(text: $0) }
        if let known = numbers[neighbour.host] {
            let index = Int(known.value)
            if neighbour.incarnation >= entries[index].incarnation {
                if neighbour.incarnation > entries[index].incarnation { entries[index].selector.forgetAll() }
                entries[index].incarnation = neighbour.incarnation
                entries[index].addresses = addresses
                entries[index].isSeed = neighbour.isSeed
                entries[index].distance = neighbour.distance
            }
            return known
        }
        let number = PeerNumber(entries.count)
        entries.append(
            Entry(
                host: neighbour.host, incarnation: neighbour.incarnation, addresses: addresses,
                isSeed: neighbour.isSeed, distance: neighbour.distance, selector: TransportSelector(settings)))
        numbers[neighbour.host] = number
        return number
    }

    /// The number of a host we know.
    func number(of host: HostID) -> PeerNumber? { numbers[host] }

    subscript(peer: PeerNumber) -> Entry {
        get { entries[Int(peer.value)] }
        set { entries[Int(peer.value)] = newValue }
    }

    /// Tells a host's selector the ways there are: its addresses, by our rails that dial.
    mutating func offer(_ peer: PeerNumber, rails: [TransportKind: [RailNumber]]) {
        let index = Int(peer.value)
        let paths = TransportPath.candidates(
            rails: rails, addresses: entries[index].addresses, isSameHost: entries[index].distance == 0)
        entries[index].selector.offer(paths)
    }
}

/// A link of any rail, numbered for the process.
typealias LinkNumber = UInt64

/// What the interpreter knows of a link.
struct EngineLink {
    let rail: RailNumber
    let id: LinkID
    let identity: LinkIdentity
    let inbound: Bool
    /// Whom we read from over it (outbound links).
    let peer: PeerNumber?
    /// The way it goes, and the number it was dialled under (outbound links).
    var path: TransportPath?
    var token: UInt64 = 0
    /// Our sessions on it, both ways.
    var sessions: [UInt32: DownloadFile] = [:]
    var sessionNumbers: [DownloadFile: UInt32] = [:]
    var nextSession: UInt32 = 1
    /// Maps being received in parts.
    var partialMaps: [UInt32: [UInt8]] = [:]
    /// Files whose piece map came over it: pieces of them may be wanted here.
    var mapped: Set<DownloadFile> = []
    /// Wants it has not answered.
    var wants: Set<Want> = []
    /// Reads in the hands of its rail, and how fast they come.
    var meter = LinkMeter()
    /// It stood still, and its way was told so.
    var isBlamed = false
    /// Its rail was told to close it.
    var isClosing = false
    /// Set once reads have moved to another link: closed by then at the latest.
    var drainUntilNs: UInt64?
    /// Inbound links: the child's sessions, and how many of them wait for their task to be opened.
    var childSessions: Set<UInt32> = []
    var childOpenings = 0
}

/// A piece asked for in a session of ours.
struct Want: Hashable {
    let session: UInt32
    let piece: PieceIndex
}

/// How many bytes a link brings while it is at work.
struct LinkMeter {
    /// Reads that have not ended.
    private(set) var reads = 0
    private var bytes: UInt64 = 0
    private var sinceNs: UInt64 = 0

    /// A window is at least so long, unless the link runs out of work.
    private static let windowNs: UInt64 = 250_000_000

    mutating func began(nowNs: UInt64) {
        if reads == 0 { (sinceNs, bytes) = (nowNs, 0) }
        reads += 1
    }

    /// A read ended, with so many bytes; what came in how long a time, when a window is over.
    mutating func ended(_ count: UInt64, nowNs: UInt64) -> (bytes: UInt64, busyNs: UInt64)? {
        reads -= 1
        bytes += count
        guard reads == 0 || nowNs >= sinceNs + Self.windowNs else { return nil }
        defer { (sinceNs, bytes) = (nowNs, 0) }
        return (bytes, nowNs - sinceNs)
    }
}

/// A file of a download.
struct DownloadFile: Hashable {
    let download: DownloadNumber
    let file: FileIndex
}

/// A link as its rail names it.
struct RailLink: Hashable {
    let rail: RailNumber
    let id: LinkID
}
