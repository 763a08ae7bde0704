import Artifacts
import Testing

@testable import Simulation

struct NetworkTests {
    /// When transfers that begin at once are whole, each advanced as its turn comes.
    private func run(_ network: inout Network, _ pairs: [(from: Int, to: Int)], sizeBytes: UInt64) -> [UInt64] {
        var queue = EventQueue<(Int, Int)>()
        for (index, pair) in pairs.enumerated() {
            let transfer = Network.Transfer(
                child: pair.to, parent: pair.from, sizeBytes: sizeBytes,
                route: network.route(from: pair.from, to: pair.to),
                purpose: .read(PieceAddress(file: FileIndex(0), piece: PieceIndex(0)), link: 1))
            queue.push((index, network.begin(transfer)), atNs: 0)
        }
        var ends = pairs.map { _ in UInt64(0) }
        while let (nowNs, (index, id)) = queue.pop() {
            let (atNs, isWhole) = network.advance(id, nowNs: nowNs)
            if isWhole { ends[index] = atNs } else { queue.push((index, id), atNs: atNs) }
        }
        return ends
    }

    private func network(racks: Int = 0, peers: Int = 4, slow: Set<Int> = []) -> Network {
        var scenario = Scenario()
        scenario.peers = peers
        scenario.seedPeers = 0
        scenario.nicBytesPerSecond = 1_000_000_000
        scenario.rackHosts = racks
        return Network(scenario, slow: slow)
    }

    @Test func aPieceIsCutThrough() {
        var network = network()
        #expect(run(&network, [(0, 1)], sizeBytes: 1_000_000) == [1_000_000])
    }

    @Test func piecesOfOneSenderTakeTurns() {
        var network = network()
        #expect(run(&network, [(0, 1), (0, 2)], sizeBytes: 1_000_000) == [1_000_000, 2_000_000])
    }

    @Test func piecesForOneReceiverTakeTurns() {
        var network = network()
        #expect(run(&network, [(0, 2), (1, 2)], sizeBytes: 1_000_000) == [1_000_000, 2_000_000])
    }

    @Test func aSlowReceiverTakesItsTime() {
        var network = network(slow: [1])
        #expect(run(&network, [(0, 1)], sizeBytes: 1_000_000) == [10_000_000])
    }

    @Test func anUplinkIsShared() {
        // Racks of two at 4:1: half of an interface for each rack.
        var network = network(racks: 2)
        #expect(network.rack(of: 0) == network.rack(of: 2))
        #expect(run(&network, [(0, 1), (2, 3)], sizeBytes: 1_000_000) == [2_000_000, 4_000_000])
        #expect(network.uplinkBytes == 2_000_000)
    }

    @Test func eventsComeByTimeAndThenInOrder() {
        var queue = EventQueue<Int>()
        for (event, atNs) in [(1, 5), (2, 3), (3, 5), (4, 1), (5, 3)] { queue.push(event, atNs: UInt64(atNs)) }
        var order: [Int] = []
        while let (_, event) = queue.pop() { order.append(event) }
        #expect(order == [4, 2, 5, 1, 3])
    }
}
