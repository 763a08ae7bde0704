import Testing

@testable import Simulation

struct LowerBoundTests {
    private func scenario(_ change: (inout Scenario) -> Void) -> Scenario {
        var scenario = Scenario()
        scenario.peers = 10
        scenario.seedPeers = 2
        scenario.sizeBytes = 100_000_000_000
        scenario.rackHosts = 0
        change(&scenario)
        return scenario
    }

    @Test(arguments: [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (7, 3), (8, 4), (1000, 10), (10_000, 14)])
    func aPieceDoublesItsHoldersEachRound(receivers: Int, rounds: Int) {
        #expect(LowerBound.doublings(receivers: receivers) == rounds)
    }

    @Test func theLastPieceLeavesBehindTheOthers() {
        #expect(LowerBound.rounds(pieces: 1, receivers: 1) == 1)
        #expect(LowerBound.rounds(pieces: 8, receivers: 3) == 9)
        #expect(LowerBound.rounds(pieces: 100, receivers: 1000) == 109)
        #expect(LowerBound.rounds(pieces: 0, receivers: 5) == 0)
    }

    @Test func equalRatesNeedTheTimeOfOneDownload() {
        #expect(LowerBound(scenario { _ in }).fluidNs == 8_000_000_000)
    }

    @Test func aSlowOriginIsTheBound() {
        let bound = LowerBound(scenario { $0.originBytesPerSecond = 1_250_000_000 })
        #expect(bound.fluidNs == 80_000_000_000)
        #expect(bound.roundsNs > 79_000_000_000 && bound.roundsNs < 81_000_000_000)
    }

    @Test func anUplinkCarriesEachByteOnce() {
        // Two hosts a rack at 16:1: an eighth of one interface.
        let bound = LowerBound(
            scenario {
                $0.rackHosts = 2
                $0.oversubscription = 16
            })
        #expect(bound.fluidNs == 64_000_000_000)
        // A single rack has no uplink in use.
        #expect(LowerBound(scenario { $0.rackHosts = 12 }).fluidNs == 8_000_000_000)
    }

    @Test func withoutSeedsTheOriginSendsToo() {
        let bound = LowerBound(
            scenario {
                $0.seedPeers = 0
                $0.peers = 1
                $0.originBytesPerSecond = 6_250_000_000
            })
        #expect(bound.fluidNs == 16_000_000_000)
    }
}
