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
        /// Downloads that asked for the link.
        var users: Set<DownloadNumber> = []
        /// When a link that nobody reads over is closed.
        var idleUntilNs: UInt64?
        /// A transport whose link failed is passed over for a while, so that another gets its chance.
        var avoided: [TransportKind: UInt64] = [:]
    }

    /// How far the link is.
    enum LinkState {
        case none
        /// Asked of a rail; the token pairs the rail's answers with this entry.
        case connecting(token: UInt64, kind: TransportKind)
        case up(LinkNumber)
    }

    private(set) var entries: [Entry] = []
    private var numbers: [HostID: PeerNumber] = [:]

    /// The number of a host, which is new to us or known; news replaces its addresses.
    mutating func number(of neighbour: Neighbour) -> PeerNumber {
        let addresses = neighbour.addresses.compactMap { TransportAddress(text: $0) }
        if let known = numbers[neighbour.host] {
            let index = Int(known.value)
            if neighbour.incarnation >= entries[index].incarnation {
                if neighbour.incarnation > entries[index].incarnation { entries[index].avoided = [:] }
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
                isSeed: neighbour.isSeed, distance: neighbour.distance))
        numbers[neighbour.host] = number
        return number
    }

    /// The number of a host we know.
    func number(of host: HostID) -> PeerNumber? { numbers[host] }

    subscript(peer: PeerNumber) -> Entry {
        get { entries[Int(peer.value)] }
        set { entries[Int(peer.value)] = newValue }
    }

    /// The best address we have a rail for: the local transport on the same machine, then RDMA, then TCP.
    func address(of peer: PeerNumber, kinds: Set<TransportKind>, nowNs: UInt64) -> TransportAddress? {
        let entry = self[peer]
        let order: [TransportKind] =
            entry.distance == 0 ? [.local, .rdma, .tcp, .simulated] : [.rdma, .tcp, .simulated]
        let usable = order.compactMap { kind in
            kinds.contains(kind) ? entry.addresses.first { $0.kind == kind } : nil
        }
        return usable.first { (entry.avoided[$0.kind] ?? 0) <= nowNs } ?? usable.first
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
    /// Our sessions on it, both ways.
    var sessions: [UInt32: DownloadFile] = [:]
    var sessionNumbers: [DownloadFile: UInt32] = [:]
    var nextSession: UInt32 = 1
    /// Maps being received in parts.
    var partialMaps: [UInt32: [UInt8]] = [:]
    /// Inbound links: the child's sessions, and how many of them wait for their task to be opened.
    var childSessions: Set<UInt32> = []
    var childOpenings = 0
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
