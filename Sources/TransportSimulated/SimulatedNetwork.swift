import Transport

/// The wires between simulated hosts: latency, bandwidth, loss and death, all from one seed.
///
/// Time is what `poll` is given; nothing happens by itself. One thread owns the network and all its transports. The
/// same calls with the same times and seed give the same happenings.
public final class SimulatedNetwork {
    /// How long a packet travels.
    public var latencyNs: UInt64
    /// A random part of up to this much is added to each packet's way; packets of a link stay in order.
    public var jitterNs: UInt64

    private var hosts: [String: SimulatedTransport] = [:]
    private var cuts: Set<[String]> = []
    private var heap = EventHeap()
    private var generator: SimulatedRandom
    private(set) var nowNs: UInt64 = 0

    /// An empty network.
    public init(seed: UInt64, latencyNs: UInt64 = 50_000, jitterNs: UInt64 = 0) {
        generator = SimulatedRandom(seed: seed)
        self.latencyNs = latencyNs
        self.jitterNs = jitterNs
    }

    /// When the next packet arrives anywhere; nil when none is on its way.
    public var nextEventNs: UInt64? { heap.first?.atNs }

    /// A host dies. Its far sides notice at once (`silently` false: its kernel resets the links) or by their time-outs
    /// alone.
    public func kill(_ name: String, silently: Bool) {
        guard let host = hosts.removeValue(forKey: name) else { return }
        if !silently { host.resetLinks() }
        host.isDead = true
    }

    /// Loses every packet between two hosts from now on, in both directions, until `mend`.
    public func cut(_ one: String, _ other: String) { cuts.insert([one, other].sorted()) }

    /// Ends a `cut`.
    public func mend(_ one: String, _ other: String) { cuts.remove([one, other].sorted()) }

    // MARK: For transports

    func attach(_ transport: SimulatedTransport, name: String) -> Bool {
        guard hosts[name] == nil else { return false }
        hosts[name] = transport
        return true
    }

    func detach(_ name: String, _ transport: SimulatedTransport) {
        if hosts[name] === transport { hosts[name] = nil }
    }

    func host(_ name: String) -> SimulatedTransport? { hosts[name] }

    func isCut(_ one: String, _ other: String) -> Bool {
        !cuts.isEmpty && cuts.contains([one, other].sorted())
    }

    /// Moves time on (never back) and puts what has arrived by then into the hosts' arrivals.
    func advance(to atNs: UInt64) {
        nowNs = max(nowNs, atNs)
        while let next = heap.first, next.atNs <= nowNs {
            _ = heap.popFirst()
            guard let host = hosts[next.to] else { continue }
            host.arrivals.append(next.packet)
        }
    }

    /// A packet's travel time.
    func travelNs() -> UInt64 { latencyNs + (jitterNs == 0 ? 0 : generator.next() % (jitterNs + 1)) }

    func random() -> RandomNumber { RandomNumber(high: generator.next(), low: generator.next()) }

    /// Puts a packet on the wire; lost when the hosts are cut off from each other now.
    func send(_ packet: SimulatedPacket, from: String, to: String, arrivingNs: UInt64) {
        guard !isCut(from, to) else { return }
        heap.insert(to, packet, atNs: arrivingNs)
    }
}

/// What travels between two simulated hosts. `link` is the receiver's name for the link.
enum SimulatedPacket {
    case greeting(from: String, link: LinkID, identity: LinkIdentity)
    case welcome(from: String, link: LinkID, theirs: LinkID, identity: LinkIdentity)
    case refusal(link: LinkID, code: TransportError.Code)
    case message(link: LinkID, [UInt8])
    case request(link: LinkID, number: UInt64, key: RemoteKey, offset: UInt64, lengthBytes: Int)
    case response(link: LinkID, number: UInt64, failure: TransportError.Code?)
    case closed(link: LinkID)
    /// To the source itself: the last byte of a read has left.
    case served(ExportID)
}

/// Packets on their way by time of arrival; equal times in the order they were sent.
private struct EventHeap {
    struct Event {
        let atNs: UInt64
        let order: UInt64
        let to: String
        let packet: SimulatedPacket

        static func < (left: Event, right: Event) -> Bool {
            (left.atNs, left.order) < (right.atNs, right.order)
        }
    }

    private var events: [Event] = []
    private var order: UInt64 = 0

    var first: Event? { events.first }

    mutating func insert(_ to: String, _ packet: SimulatedPacket, atNs: UInt64) {
        order += 1
        events.append(Event(atNs: atNs, order: order, to: to, packet: packet))
        var place = events.count - 1
        while place > 0, events[place] < events[(place - 1) / 2] {
            events.swapAt(place, (place - 1) / 2)
            place = (place - 1) / 2
        }
    }

    mutating func popFirst() -> Event? {
        guard let first = events.first, let last = events.popLast() else { return nil }
        guard !events.isEmpty else { return first }
        events[0] = last
        var place = 0
        while true {
            var least = place
            for child in [2 * place + 1, 2 * place + 2]
            where child < events.count && events[child] < events[least] {
                least = child
            }
            guard least != place else { return first }
            events.swapAt(place, least)
            place = least
        }
    }
}

/// SplitMix64: the same sequence everywhere for a seed.
struct SimulatedRandom {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return word ^ (word >> 31)
    }
}
