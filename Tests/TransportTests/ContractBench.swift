import Artifacts
import Foundation
import System
import Testing
import Transport

/// A transport under test: how to make hosts of it. New transports are added to `ContractSubject.all`.
struct ContractSubject: Sendable, CustomTestStringConvertible {
    let name: String
    /// Whether a far side that stops polling stops our reads (it does not where we read by ourselves).
    var serves = true
    /// Whether it notices even so, by asking the far side's process whether it lives.
    var pings = false
    let makeNetwork: @Sendable () -> any ContractNetwork

    var testDescription: String { name }
}

/// What the hosts of one test share: a temporary folder, a simulated network.
protocol ContractNetwork: AnyObject {
    /// A transport that listens where `address` says.
    func makeTransport(identity: LinkIdentity, bounds: ContractBounds) throws -> any PieceTransport
    /// An address nobody listens at.
    var deadAddress: TransportAddress { get }
    /// An address of another kind of transport.
    var foreignAddress: TransportAddress { get }
    /// Time now, before any skew.
    func nowNs() -> UInt64
    /// Waits a little, or moves virtual time on.
    func idle()
    func close()
}

/// Bounds small enough to be reached.
struct ContractBounds: Sendable {
    var linksMax = 16
    var readsPerLinkMax = 8
    var exportsPerLinkMax = 6
    var progressLimitNs: UInt64 = 30_000_000_000
}

/// One host of a test: its transport, what it reported, its memory.
final class ContractHost {
    let name: String
    let transport: any PieceTransport
    var seen = Recorder()
    let memory: SharedMemory
    let region: RegionID
    var isShutDown = false

    static let memoryBytes = 8 << 20

    init(name: String, transport: any PieceTransport) throws {
        self.name = name
        self.transport = transport
        memory = try SharedMemory(name: "contract", lengthBytes: Self.memoryBytes)
        region = try transport.register(
            RegionMemory(base: memory.base, lengthBytes: memory.lengthBytes, backing: (memory.descriptor, 0)))
    }

    var bytes: UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(start: memory.base, count: memory.lengthBytes)
    }

    func fill(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        let words = bytes.bindMemory(to: UInt64.self)
        for place in words.indices { words[place] = generator.next() }
    }

    func contents(_ range: Range<Int>) -> [UInt8] { Array(bytes[range]) }

    func exportMemory(_ offset: Int, _ length: Int, to link: LinkID) throws -> Export {
        try transport.export(
            .memory(region: region, offset: UInt64(offset), lengthBytes: UInt64(length)), to: link)
    }

    @discardableResult
    func post(
        _ link: LinkID, _ key: RemoteKey, remote: UInt64 = 0, local: Int = 0, length: Int, tag: UInt64
    ) -> Int {
        let request = ReadRequest(
            link: link, key: key, remoteOffset: remote, region: region, localOffset: UInt64(local),
            lengthBytes: UInt32(length),
            tag: tag)
        return withUnsafePointer(to: request) { transport.post(UnsafeBufferPointer(start: $0, count: 1)) }
    }

    func send(_ message: [UInt8], on link: LinkID) -> Bool {
        message.withUnsafeBytes { transport.send($0, on: link) }
    }

    func shutdown() {
        guard !isShutDown else { return }
        isShutDown = true
        transport.shutdown(into: &seen)
    }
}

/// Everything that was reported, and whether the order was right.
struct Recorder: TransportEvents {
    enum Event: Equatable {
        case up(LinkID, LinkIdentity, inbound: Bool)
        case down(LinkID, TransportError.Code)
        case message(LinkID, [UInt8])
        case read(LinkID, UInt64, TransportError.Code?)
        case retired(ExportID)
    }
    var events: [Event] = []

    mutating func linkUp(_ link: LinkID, peer: LinkIdentity, inbound: Bool) {
        events.append(.up(link, peer, inbound: inbound))
    }
    mutating func linkDown(_ link: LinkID, reason: TransportError) { events.append(.down(link, reason.code)) }
    mutating func message(_ bytes: UnsafeRawBufferPointer, on link: LinkID) {
        events.append(.message(link, Array(bytes)))
    }
    mutating func readCompleted(_ completion: ReadCompletion) {
        events.append(.read(completion.link, completion.tag, completion.failure))
    }
    mutating func exportRetired(_ export: ExportID) { events.append(.retired(export)) }

    func messages(_ link: LinkID) -> [[UInt8]] {
        events.compactMap { if case .message(link, let bytes) = $0 { bytes } else { nil } }
    }
    func up(inbound: Bool) -> [(LinkID, LinkIdentity)] {
        events.compactMap { if case .up(let link, let peer, inbound) = $0 { (link, peer) } else { nil } }
    }
    func down(_ link: LinkID) -> TransportError.Code? {
        events.compactMap { if case .down(link, let code) = $0 { code } else { nil } }.first
    }
    func isRetired(_ export: ExportID) -> Bool { events.contains(.retired(export)) }
    /// How the read with this tag ended; outer nil: not yet. A second ending is an issue.
    func read(_ tag: UInt64) -> TransportError.Code?? {
        let ends = events.compactMap { event -> TransportError.Code?? in
            if case .read(_, tag, let failure) = event { .some(failure) } else { nil }
        }
        #expect(ends.count <= 1, "read \(tag) completed \(ends.count) times")
        return ends.first ?? .none
    }
    func isRead(_ tag: UInt64) -> Bool { read(tag) != .none }
}

/// Hosts, links between them, and time.
final class ContractBench {
    let subject: ContractSubject
    let network: any ContractNetwork
    private(set) var hosts: [ContractHost] = []
    var skewNs: UInt64 = 0

    init(_ subject: ContractSubject) {
        self.subject = subject
        network = subject.makeNetwork()
    }

    func host(_ name: String, cluster: String = "test", bounds: ContractBounds = ContractBounds()) throws
        -> ContractHost
    {
        let identity = LinkIdentity(
            host: HostID(name)!, incarnation: UInt64(hosts.count + 7), cluster: cluster)
        let host = try ContractHost(
            name: name, transport: network.makeTransport(identity: identity, bounds: bounds))
        hosts.append(host)
        return host
    }

    var nowNs: UInt64 { network.nowNs() + skewNs }

    /// Polls all hosts (or those given) once.
    @discardableResult
    func turn(_ some: [ContractHost]? = nil, limit: Int = 64) -> Int {
        var handed = 0
        for host in some ?? hosts where !host.isShutDown {
            handed += host.transport.poll(nowNs: nowNs, limit: limit, into: &host.seen)
        }
        return handed
    }

    /// Polls until the condition holds; false when it does not within a generous limit.
    func pump(_ some: [ContractHost]? = nil, limit: Int = 64, until condition: () -> Bool) -> Bool {
        let giveUpNs = MonotonicClock.nowNs() + 30_000_000_000
        while !condition() {
            if turn(some, limit: limit) == 0 { network.idle() }
            if MonotonicClock.nowNs() > giveUpNs { return false }
        }
        return true
    }

    /// Polls for a while, to see that nothing happens.
    func settle() {
        for _ in 0..<30 {
            turn()
            network.idle()
        }
    }

    func connect(_ child: ContractHost, to parent: ContractHost, limitNs: UInt64 = 20_000_000_000) throws
        -> LinkID
    {
        try child.transport.connect(to: try #require(parent.transport.address), deadlineNs: nowNs + limitNs)
    }

    /// A link from child to parent, as each side names it.
    func link(_ child: ContractHost, _ parent: ContractHost) throws -> (child: LinkID, parent: LinkID) {
        let before = parent.seen.up(inbound: true).count
        let link = try connect(child, to: parent)
        let isUp = pump {
            child.seen.up(inbound: false).contains { $0.0 == link }
                && parent.seen.up(inbound: true).count > before
        }
        try #require(isUp, "the link did not come up: \(child.seen.events)")
        return (link, parent.seen.up(inbound: true).last!.0)
    }

    func close() {
        for host in hosts { host.shutdown() }
        network.close()
    }
}

/// Runs a test's body on a fresh bench and tidies up after it.
func withBench(_ subject: ContractSubject, _ body: (ContractBench) throws -> Void) throws {
    let bench = ContractBench(subject)
    defer { bench.close() }
    try body(bench)
}

/// SplitMix64: small, seedable, the same everywhere.
struct SeededGenerator: RandomNumberGenerator {
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

/// Compares megabytes without the test library's wish to show their difference.
func isSame(_ one: [UInt8], _ other: [UInt8]) -> Bool { one == other }
