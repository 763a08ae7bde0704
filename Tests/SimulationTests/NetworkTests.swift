import Testing

@testable import Simulation

struct NetworkTests {
    /// When transfers that begin at once are whole, each advanced as its turn comes.
    private func run(_ network: inout Network, _ pairs: [(from: Int, to: Int)], sizeBytes: UInt32) -> [UInt64] {
        var queue = EventQueue()
        for (index, pair) in pairs.enumerated() {
            let transfer = Network.Transfer(
                child: Int32(pair.to), parent: Int32(pair.from), sizeBytes: sizeBytes, file: 0, piece: 0, link: 1,
                lease: 0)
            queue.push(.advance, atNs: 0, network.begin(transfer), index)
        }
        var ends = pairs.map { _ in UInt64(0) }
        while let event = queue.pop() {
            let (atNs, isWhole) = network.advance(Int(event.a), atNs: event.atNs)
            if isWhole { ends[Int(event.b)] = atNs } else { queue.push(.advance, atNs: atNs, event.a, event.b) }
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
        var queue = EventQueue()
        for (event, atNs) in [(1, 5), (2, 3), (3, 5), (4, 1), (5, 3)] { queue.push(.join, atNs: UInt64(atNs), event) }
        var order: [UInt32] = []
        while let event = queue.pop() { order.append(event.a) }
        #expect(order == [4, 2, 5, 1, 3])
    }

    /// Near, far and very far times, pushed while others are taken: the calendar agrees with a sorted list.
    @Test func theCalendarKeepsTheOrderOfASortedList() {
        var queue = EventQueue()
        var expected: [(atNs: UInt64, serial: UInt32)] = []
        var random = UInt64(7)
        var (serial, nowNs, taken) = (UInt32(0), UInt64(0), 0)
        while taken < 20_000 {
            random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            let spans: [UInt64] = [1, 20_000, 5_000_000, 300_000_000, 40_000_000_000]
            if serial < 20_000, random >> 60 < 9 || expected.isEmpty {
                let atNs = nowNs + (random >> 20) % spans[Int((random >> 40) % 5)]
                serial += 1
                queue.push(.join, atNs: atNs, serial)
                expected.append((atNs, serial))
            } else {
                let first = expected.indices.min { expected[$0] < expected[$1] }!
                let its = expected.remove(at: first)
                let event = queue.pop()
                #expect(event?.a == its.serial)
                nowNs = its.atNs
                taken += 1
            }
        }
        #expect(queue.count == 0 && queue.pop() == nil)
    }
}
