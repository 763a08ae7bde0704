import Foundation
import System
import Transport
import TransportTCP

extension ContractSubject {
    /// Every transport passes the contract suite, bare and behind a decorator without faults.
    static let all: [ContractSubject] = [tcp]

    static let tcp = ContractSubject(name: "tcp") { TCPNetwork() }
}

/// Real sockets on the loopback.
final class TCPNetwork: ContractNetwork {
    func makeTransport(identity: LinkIdentity, bounds: ContractBounds) throws -> any PieceTransport {
        try TCPTransport(Self.configuration(identity: identity, bounds: bounds))
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
