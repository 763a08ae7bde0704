import Artifacts
import Foundation
import System
import Testing
import Transport
import TransportVerbs
import Verbs
import VerbsDouble

/// The verbs transport on scripted devices: what a real device will not do on demand. One test at a time, each with
/// devices of its own.
@Suite(.serialized) enum VerbsScripts {}

/// Hosts on devices that are played, each on one of its own: `double0`, `double1`, …
final class ScriptedNetwork: ContractNetwork {
    private let double: VerbsDouble
    private let adjust: @Sendable (inout VerbsConfiguration) -> Void
    private var count = 0

    init(_ double: VerbsDouble, _ adjust: @escaping @Sendable (inout VerbsConfiguration) -> Void) {
        self.double = double
        self.adjust = adjust
    }

    func makeTransport(identity: LinkIdentity, bounds: ContractBounds) throws -> any PieceTransport {
        var configuration = VerbsConfiguration(
            identity: identity, device: "double\(count)", listen: "127.0.0.1:0")
        count += 1
        configuration.linksMax = bounds.linksMax
        configuration.readsPerLinkMax = bounds.readsPerLinkMax
        configuration.exportsPerLinkMax = bounds.exportsPerLinkMax
        configuration.progressLimitNs = bounds.progressLimitNs
        // 1 MiB is 16 READs on two lanes, where its key leads to all.
        configuration.workRequestBytes = 64 << 10
        configuration.workRequestsPerLaneMax = 512
        // Whatever a test does not shorten is out of its way: a link that ends by a limit fails the test.
        configuration.handshakeLimitNs = 20_000_000_000
        configuration.drainLimitNs = 60_000_000_000
        configuration.revokeLimitNs = 60_000_000_000
        configuration.livenessIntervalNs = 600_000_000_000
        configuration.pingLimitNs = 600_000_000_000
        configuration.reopenIntervalNs = 5_000_000
        adjust(&configuration)
        return try VerbsTransport(configuration, library: double.library)
    }

    var deadAddress: TransportAddress { TransportAddress(kind: .rdma, location: "127.0.0.1:1") }
    var foreignAddress: TransportAddress { TransportAddress(kind: .tcp, location: "127.0.0.1:1") }
    func nowNs() -> UInt64 { MonotonicClock.nowNs() }
    func idle() { usleep(200) }
    func close() {}
}

/// A test's hosts, their devices and what is open on them.
struct Script {
    let bench: ContractBench
    let double: VerbsDouble
    /// On `double0`, and on `double1` with filled memory.
    let child: ContractHost
    let parent: ContractHost

    /// Runs a test's body with two hosts, and sees that nothing stays open on their devices.
    static func run(
        lease: VerbsConfiguration.Lease = .window, devices: [DoubleDevice]? = nil,
        bounds: ContractBounds = ContractBounds(),
        adjust: @escaping @Sendable (inout VerbsConfiguration) -> Void = { _ in },
        _ body: (Script) throws -> Void
    ) throws {
        let devices = devices ?? (0..<3).map { DoubleDevice("double\($0)", host: UInt8($0 + 1)) }
        let double = VerbsDouble(devices)
        let subject = ContractSubject(name: "script", serves: false, pings: true) {
            ScriptedNetwork(double) {
                $0.lease = lease
                adjust(&$0)
            }
        }
        let bench = ContractBench(subject)
        do {
            defer { bench.close() }
            let child = try bench.host("child", bounds: bounds)
            let parent = try bench.host("parent", bounds: bounds)
            parent.fill(seed: 3)
            try body(Script(bench: bench, double: double, child: child, parent: parent))
        }
        for device in devices {
            #expect(double.census(device.name).isEmpty, "\(device.name): \(double.census(device.name))")
            #expect(double.census(device.name).overruns == 0)
        }
        for host in bench.hosts { checkOrder(of: host) }
    }

    func verbs(_ host: ContractHost) -> VerbsTransport {
        guard let transport = host.transport as? VerbsTransport else { preconditionFailure("scripts play verbs alone") }
        return transport
    }

    /// What is open on the child's and the parent's device.
    var open: [Open] { ["double0", "double1"].map { Open(double.census($0)) } }

    /// Polls until exactly this is open: an attendant frees it.
    func awaitOpen(_ wanted: [Open]) -> Bool {
        let isSo = bench.pump { open == wanted }
        if !isSo { Issue.record("open: \(open), wanted: \(wanted)") }
        return isSo
    }

    /// Polls until every request has completed: windows are bound.
    func awaitQuiet() -> Bool {
        bench.pump { [child, parent].allSatisfy { $0.isShutDown || verbs($0).requestsOutstandingCount == 0 } }
    }

    /// A read succeeds and brings the right bytes.
    func checkReading(_ link: (child: LinkID, parent: LinkID), tag: UInt64, offset: Int = 8192) throws {
        let export = try parent.exportMemory(offset, 100_000, to: link.parent)
        #expect(child.post(link.child, export.key, local: 0, length: 100_000, tag: tag) == 1)
        #expect(bench.pump { child.seen.isRead(tag) })
        #expect(child.seen.read(tag) == .some(nil))
        #expect(isSame(child.contents(0..<100_000), parent.contents(offset..<(offset + 100_000))))
        parent.transport.revoke(export.id)
        #expect(bench.pump { parent.seen.isRetired(export.id) })
    }
}

/// How many objects of each kind are open on a device.
struct Open: Equatable, CustomStringConvertible {
    let counts: [Int]

    init(_ census: VerbsDouble.Census) {
        counts = [census.contexts, census.domains, census.queues, census.pairs, census.regions, census.windows]
    }

    var description: String {
        zip(["contexts", "domains", "queues", "pairs", "regions", "windows"], counts).map { "\($1) \($0)" }
            .joined(separator: ", ")
    }
}

/// Each link up at most once and down once, nothing of it outside that but reads posted too late, no export retired
/// twice, and none after its link's end.
func checkOrder(of host: ContractHost) {
    var isUp: [LinkID: Bool] = [:]
    var retired: Set<ExportID> = []
    var read: Set<UInt64> = []
    for event in host.seen.events {
        switch event {
        case .up(let link, _, _):
            #expect(isUp[link] == nil, "\(host.name): \(link) came up twice")
            isUp[link] = true
        case .down(let link, _):
            #expect(isUp[link] != false, "\(host.name): \(link) went down twice")
            isUp[link] = false
        case .message(let link, _):
            #expect(isUp[link] == true, "\(host.name): a message on \(link), which is not up")
        case .read(let link, let tag, let failure):
            #expect(isUp[link] == true || failure == .linkClosed, "\(host.name): read \(tag) after \(link)'s end")
            #expect(read.insert(tag).inserted, "\(host.name): read \(tag) completed twice")
        case .retired(let export):
            #expect(retired.insert(export).inserted, "\(host.name): an export retired twice")
        }
    }
    #expect(isUp.values.allSatisfy { !$0 }, "\(host.name): a link never went down")
}
