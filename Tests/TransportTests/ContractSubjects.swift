import Artifacts
import Foundation
import System
import Transport
import TransportLocal
import TransportSimulated
import TransportTCP

extension ContractSubject {
    /// Every transport passes the contract suite, bare and behind a decorator without faults.
    ///
    /// `MARTLET_CONTRACT` keeps those whose name begins with its text: to look at one transport alone.
    static let all: [ContractSubject] = ([tcp, tcpSecured, local, simulated] + verbsDouble + rdma).flatMap {
        [$0, faultless($0)]
    }
    .filter {
        $0.name.hasPrefix(ProcessInfo.processInfo.environment["MARTLET_CONTRACT"] ?? "")
    }

    static func faultless(_ subject: ContractSubject) -> ContractSubject {
        ContractSubject(name: "\(subject.name), faultless", serves: subject.serves, pings: subject.pings) {
            WrappedNetwork(subject.makeNetwork()) { _ in FaultPlan() }
        }
    }

    static let tcp = ContractSubject(name: "tcp") { TCPNetwork() }
    static let tcpSecured = ContractSubject(name: "tcp, secured") { TCPNetwork(security: .made(.one)) }
    static let local = ContractSubject(name: "local", serves: false) { LocalNetwork() }
    static let simulated = ContractSubject(name: "simulated") { SimulatedWires() }
}

/// Real sockets on the loopback.
final class TCPNetwork: ContractNetwork {
    private let security: LinkSecurity?
    init(security: LinkSecurity? = nil) { self.security = security }

    func makeTransport(identity: LinkIdentity, bounds: ContractBounds) throws -> any PieceTransport {
        var configuration = Self.configuration(identity: identity, bounds: bounds)
        configuration.security = security
        return try TCPTransport(configuration)
    }

    static func configuration(identity: LinkIdentity, bounds: ContractBounds) -> TCPConfiguration {
        var configuration = TCPConfiguration(identity: identity, listen: "127.0.0.1:0")
        configuration.linksMax = bounds.linksMax
        configuration.readsPerLinkMax = bounds.readsPerLinkMax
        configuration.exportsPerLinkMax = bounds.exportsPerLinkMax
        configuration.progressLimitNs = bounds.progressLimitNs
        configuration.handshakeLimitNs = 20_000_000_000
        return configuration
    }

    // Port 1 is privileged and unused on any machine that runs tests.
    var deadAddress: TransportAddress { TransportAddress(kind: .tcp, location: "127.0.0.1:1") }
    var foreignAddress: TransportAddress { TransportAddress(kind: .rdma, location: "127.0.0.1:1") }
    func nowNs() -> UInt64 { MonotonicClock.nowNs() }
    func idle() { usleep(200) }
    func close() {}
}

/// Unix-domain sockets in a folder that goes with the network.
final class LocalNetwork: ContractNetwork {
    private let folder: String
    private var count = 0

    init() {
        var template = Array("\(NSTemporaryDirectory())/martlet-XXXXXX".utf8CString)
        folder = String(cString: mkdtemp(&template))
    }

    func makeTransport(identity: LinkIdentity, bounds: ContractBounds) throws -> any PieceTransport {
        count += 1
        var configuration = LocalConfiguration(identity: identity, listenPath: "\(folder)/\(count).sock")
        configuration.linksMax = bounds.linksMax
        configuration.readsPerLinkMax = bounds.readsPerLinkMax
        configuration.exportsPerLinkMax = bounds.exportsPerLinkMax
        configuration.progressLimitNs = bounds.progressLimitNs
        configuration.handshakeLimitNs = 20_000_000_000
        return try LocalTransport(configuration)
    }

    var deadAddress: TransportAddress { TransportAddress(kind: .local, location: "\(folder)/nobody.sock") }
    var foreignAddress: TransportAddress { TransportAddress(kind: .tcp, location: "127.0.0.1:1") }
    func nowNs() -> UInt64 { MonotonicClock.nowNs() }
    func idle() { usleep(200) }
    // Only an empty folder goes: a socket left behind would fail the test's tidiness.
    func close() { rmdir(folder) }
}

/// Hosts in memory, in virtual time.
final class SimulatedWires: ContractNetwork {
    private let network = SimulatedNetwork(seed: 1, jitterNs: 20_000)
    private var timeNs: UInt64 = 1_000_000

    func makeTransport(identity: LinkIdentity, bounds: ContractBounds) throws -> any PieceTransport {
        var configuration = SimulatedConfiguration(identity: identity)
        configuration.linksMax = bounds.linksMax
        configuration.readsPerLinkMax = bounds.readsPerLinkMax
        configuration.exportsPerLinkMax = bounds.exportsPerLinkMax
        configuration.progressLimitNs = bounds.progressLimitNs
        return try SimulatedTransport(on: network, configuration)
    }

    var deadAddress: TransportAddress { TransportAddress(kind: .simulated, location: "nobody") }
    var foreignAddress: TransportAddress { TransportAddress(kind: .tcp, location: "127.0.0.1:1") }
    func nowNs() -> UInt64 { timeNs }
    func idle() { timeNs += 100_000 }
    func close() {}
}

/// Hosts of another network behind fault decorators.
final class WrappedNetwork: ContractNetwork {
    private let base: any ContractNetwork
    private let plan: (HostID) -> FaultPlan?

    init(_ base: any ContractNetwork, plan: @escaping (HostID) -> FaultPlan?) {
        self.base = base
        self.plan = plan
    }

    func makeTransport(identity: LinkIdentity, bounds: ContractBounds) throws -> any PieceTransport {
        let transport = try base.makeTransport(identity: identity, bounds: bounds)
        guard let plan = plan(identity.host) else { return transport }
        return Self.wrap(transport, plan)
    }

    private static func wrap(_ transport: some PieceTransport, _ plan: FaultPlan) -> any PieceTransport {
        FaultyTransport(transport, plan: plan)
    }

    var deadAddress: TransportAddress { base.deadAddress }
    var foreignAddress: TransportAddress { base.foreignAddress }
    func nowNs() -> UInt64 { base.nowNs() }
    func idle() { base.idle() }
    func close() { base.close() }
}
