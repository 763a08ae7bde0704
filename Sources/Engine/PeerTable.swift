import Artifacts
import Swarm
import Transport

/// The hosts this engine has heard of, their addresses, and the link it reads from each over.
struct PeerTable {
    /// One host, or one of several links to it that a download reads over at the same time.
    struct Entry {
        let host: HostID
        /// Which of them.
        let lane: Int
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
    private var numbers: [HostID: [PeerNumber]] = [:]
    private let settings: SelectorSettings

    init(settings: SelectorSettings) { self.settings = settings }

    /// The numbers of a host, new to us or known: one for each link it is to be read over at the same time, each a parent
    /// of its own to a download. News replaces its addresses.
    mutating func numbers(of neighbour: Neighbour, rails: [TransportKind: [RailNumber]]) -> [PeerNumber] {
        var known = numbers[neighbour.host] ?? []
        let isNews = known.first.map { neighbour.incarnation >= self[$0].incarnation } ?? true
        for peer in known where isNews {
            let index = Int(peer.value)
            if neighbour.incarnation > entries[index].incarnation { entries[index].selector.forgetAll() }
            entries[index].incarnation = neighbour.incarnation
            entries[index].addresses = neighbour.transportAddresses
            entries[index].isSeed = neighbour.isSeed
            entries[index].distance = neighbour.distance
        }
        let newest = known.first.map { self[$0] }
        let addresses = newest?.addresses ?? neighbour.transportAddresses
        let isSameHost = (newest?.distance ?? neighbour.distance) == 0
        let lanes = TransportPath.lanes(rails: rails, addresses: addresses, isSameHost: isSameHost)
        while known.count < lanes {
            let entry = Entry(
                host: neighbour.host, lane: known.count, incarnation: newest?.incarnation ?? neighbour.incarnation,
                addresses: addresses, isSeed: newest?.isSeed ?? neighbour.isSeed,
                distance: newest?.distance ?? neighbour.distance, selector: TransportSelector(settings))
            known.append(PeerNumber(entries.count))
            entries.append(entry)
        }
        numbers[neighbour.host] = known
        return Array(known.prefix(lanes))
    }

    /// The other numbers of a peer's host.
    func siblings(of peer: PeerNumber) -> [PeerNumber] { (numbers[self[peer].host] ?? []).filter { $0 != peer } }

    subscript(peer: PeerNumber) -> Entry {
        get { entries[Int(peer.value)] }
        set { entries[Int(peer.value)] = newValue }
    }

    /// Tells a host's selector the ways there are: its addresses, by our rails that dial.
    mutating func offer(_ peer: PeerNumber, rails: [TransportKind: [RailNumber]]) {
        let index = Int(peer.value)
        let paths = TransportPath.candidates(
            rails: rails, addresses: entries[index].addresses, isSameHost: entries[index].distance == 0,
            lane: entries[index].lane)
        entries[index].selector.offer(paths)
    }
}

extension Neighbour {
    /// Its addresses that are any; numbers and words from elsewhere never trap.
    var transportAddresses: [TransportAddress] { addresses.compactMap { TransportAddress(text: $0) } }
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
