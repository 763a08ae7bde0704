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
        #expect(outcome.makespanNs >= outcome.boundNs)
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

    /// A random fault plan of a seed: 3 to 12 peers, anything may happen.
    static func faulty(_ seed: UInt64) -> Scenario {
        var random = seed &* 0x9E37_79B9_7F4A_7C15
        func upTo(_ most: UInt64) -> Int {
            random = (random ^ (random >> 29)) &* 0xBF58_476D_1CE4_E5B9 &+ 1
            return Int((random >> 33) % (most + 1))
        }
        var scenario = Scenario()
        scenario.seed = seed
        scenario.peers = 3 + upTo(9)
        scenario.seedPeers = 1 + upTo(2)
        scenario.files = 1 + upTo(2)
        scenario.sizeBytes = UInt64(scenario.files) * UInt64(4 + upTo(16)) << 22
        scenario.nicBytesPerSecond = 1_250_000_000
        scenario.rackHosts = [0, 2, 4][upTo(2)]
        scenario.workload = Scenario.Workload.allCases[upTo(3)]
        scenario.faults.crashes = upTo(2)
        scenario.faults.seedLosses = upTo(1)
        scenario.faults.schedulerRestarts = upTo(1)
        scenario.faults.partitions = upTo(1)
        scenario.faults.slow = upTo(1)
        scenario.faults.corrupting = upTo(1)
        scenario.faults.silent = upTo(1)
        scenario.faults.lossPerMillion = upTo(1) * 1000
        return scenario
    }

    @Test(arguments: UInt64(1)...50)
    func faultsCostTimeAndNothingElse(seed: UInt64) {
        let scenario = Self.faulty(seed)
        let outcome = Fleet(scenario).run()
        #expect(outcome.violations == [], "seed \(seed): \(scenario.faults)")
        #expect(outcome.finished == scenario.peers)
    }

    @Test func faultsAreReadFromWords() {
        let plan = FaultPlan("crash=2,silent,loss=100")
        #expect(plan?.crashes == 2 && plan?.silent == 1 && plan?.lossPerMillion == 100 && plan?.partitions == 0)
        #expect(FaultPlan("earthquake=1") == nil)
        #expect(FaultPlan("crash=many") == nil)
    }

    @Test func numbersLookTheSameEverywhere() {
        #expect(fixed(1.25, 4) == "1.2500")
        #expect(fixed(0.0004, 3) == "0.000")
        #expect(fixed(0.0006, 3) == "0.001")
        #expect(fixed(-2.5, 1) == "-2.5")
        #expect(fixed(12, 0) == "12")
    }
}
