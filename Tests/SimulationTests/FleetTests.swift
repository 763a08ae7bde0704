import Testing

@testable import Simulation

struct FleetTests {
    private func scenario(_ change: (inout Scenario) -> Void = { _ in }) -> Scenario {
        var scenario = Scenario()
        scenario.peers = 8
        scenario.sizeBytes = 64 << 20
        scenario.rackHosts = 4
        change(&scenario)
        return scenario
    }

    @Test(arguments: Scenario.Workload.allCases)
    func everyoneGetsTheModelWithOneReadOfTheOrigin(workload: Scenario.Workload) {
        let outcome = Fleet(scenario { $0.workload = workload }).run()
        #expect(outcome.violations == [])
        #expect(outcome.finished == 8)
        #expect(outcome.originRatio == 1)
        #expect(outcome.readsMax == 1)
        #expect(outcome.makespanNs >= outcome.boundNs)
    }

    @Test func everyModelIsReadOnce() {
        let outcome = Fleet(
            scenario {
                $0.models = 3
                $0.files = 2
            }
        ).run()
        #expect(outcome.violations == [])
        #expect(outcome.finished == 8)
        #expect(outcome.originRatio == 1)
    }

    @Test func aSeedReproducesARunToTheByte() {
        let scenario = scenario {
            $0.seed = 11
            $0.traced = 3
            $0.faults = FaultPlan("crash=2,scheduler=1,partition=1,slow=1,corrupt=1,silent=1,loss=2000")!
        }
        let (first, second) = (Fleet(scenario).run(), Fleet(scenario).run())
        #expect(first.summary == second.summary)
        #expect(first.json == second.json)
        #expect(first.svg == second.svg)
        #expect(first.trace == second.trace)
        #expect(!first.trace.isEmpty)
    }

    @Test func anotherSeedIsAnotherRun() {
        let events = Set((0..<4).map { seed in Fleet(scenario { $0.seed = seed }).run().events })
        #expect(events.count > 1)
    }

    @Test func clocksThatDifferChangeNothing() {
        let same = Fleet(scenario()).run()
        let skewed = Fleet(scenario { $0.faults = FaultPlan("skew=10")! }).run()
        #expect(skewed.violations == [] && skewed.finished == 8)
        #expect(skewed.originRatio == 1 && same.originRatio == 1)
    }

    @Test func aFullDiskIsItsOwnersLossAlone() {
        let outcome = Fleet(scenario { $0.faults = FaultPlan("full=1")! }).run()
        #expect(outcome.violations == [])
        #expect(outcome.finished == 7 && outcome.failed == 1)
    }

    @Test func halfOfTheFleetIsCutOffAndHeals() {
        let outcome = Fleet(
            scenario {
                $0.peers = 24
                $0.faults = FaultPlan("partition=2")!
            }
        ).run()
        #expect(outcome.violations == [])
        #expect(outcome.finished == 24)
    }

    @Test(arguments: ["scheduler=1", "replace=1"])
    func anotherSchedulerReadsNoExtraOriginByte(faults: String) {
        for seed in UInt64(1)...5 {
            let outcome = Fleet(
                scenario {
                    $0.seed = seed
                    $0.sizeBytes = 256 << 20
                    $0.faults = FaultPlan(faults)!
                }
            ).run()
            #expect(outcome.violations == [])
            #expect(outcome.finished == 8)
            #expect(outcome.originRatio == 1, "seed \(seed)")
        }
    }

    @Test func aRunThatIsStoppedSaysSo() {
        let scenario = scenario { $0.peers = 64 }
        let outcome = Fleet(scenario).run(isStopped: { true })
        #expect(outcome.isCutShort)
        #expect(outcome.finished < 64)
        #expect(outcome.violations == [])
        #expect(outcome.summary.contains { $0.hasPrefix("stopped before its end") })
        #expect(outcome.json.contains("\"cut_short\":true"))
    }

    @Test func whatGoesToTheSchedulerIsCounted() {
        let outcome = Fleet(scenario()).run()
        #expect(outcome.bytesToScheduler > 0 && outcome.bytesFromScheduler > 0)
        // Each of 16 digests reaches each of 8 peers once: that alone is so much.
        #expect(outcome.bytesFromScheduler > 8 * 16 * 32)
        #expect(outcome.schedulerBytesPerPeer < 100_000)
    }

    @Test func aPictureHasACurveForEachThingMeasured() {
        let svg = Fleet(scenario()).run().svg
        for name in ["share kept", "origin, of its rate", "interfaces, of theirs", "bound"] {
            #expect(svg.contains(name))
        }
        #expect(svg.hasPrefix("<svg ") && svg.hasSuffix("</svg>\n"))
    }

    @Test func numbersLookTheSameEverywhere() {
        #expect(fixed(1.25, 4) == "1.2500")
        #expect(fixed(0.0004, 3) == "0.000")
        #expect(fixed(0.0006, 3) == "0.001")
        #expect(fixed(-2.5, 1) == "-2.5")
        #expect(fixed(12, 0) == "12")
    }
}
