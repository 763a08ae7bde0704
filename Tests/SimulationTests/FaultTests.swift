import Testing

@testable import Simulation

/// Fleets in which seeds choose what goes wrong. `martlet simulate --faults random --runs 1000` runs more of them.
struct FaultTests {
    private func check(_ seed: UInt64, peersMax: Int = 300) {
        let scenario = Scenario.random(seed: seed, peersMax: peersMax)
        let outcome = Fleet(scenario).run()
        #expect(outcome.violations == [], "seed \(seed): \(scenario.peers) peers, \(scenario.faults.text)")
    }

    @Test(arguments: 0..<20)
    func faultsCostTimeAndNothingElse(tenth: Int) {
        for seed in UInt64(10 * tenth) + 1...UInt64(10 * tenth) + 10 { check(seed, peersMax: 48) }
    }

    // Seeds that failed on the way, and why.

    /// Pieces that only a liar claims, asked of it in vain: it denied one or two, and nobody said so.
    @Test(arguments: [899, 954] as [UInt64])
    func whatOnlyALiarClaimsIsReadAgain(seed: UInt64) { check(seed) }

    /// The only holder had sent wrong bytes, all excluded it, and a new scheduler had forgotten their blame.
    @Test func aNewSchedulerHearsOldBlame() { check(100) }

    /// A reader busy with one model's leases had another model waiting, and nothing stirred that again.
    @Test(arguments: [497, 521, 553] as [UInt64])
    func aReaderOfOneModelTurnsToTheNext(seed: UInt64) { check(seed) }

    /// Reads that end with their link looked like a parent's silence, and seeds were excluded for it.
    @Test(arguments: [38, 104, 245, 279, 603, 685] as [UInt64])
    func aLinkThatEndsAccusesNobody(seed: UInt64) { check(seed) }

    /// A liar that is the only one to want a model, and says it has it, is given nobody to get it from.
    @Test func aLiarMayHarmItself() { check(854) }

    /// Only a silent peer holds a piece that the lost seed had read: its children's complaints have it read again.
    @Test(arguments: [33, 59, 63, 80, 86, 99] as [UInt64])
    func whatASilentPeerKeepsToItselfIsReadAgain(seed: UInt64) { check(seed) }

    @Test func faultsAreReadFromWords() {
        let plan = FaultPlan("crash=2,silent,loss=100")
        #expect(plan?.crashes == 2 && plan?.silent == 1 && plan?.lossPerMillion == 100 && plan?.partitions == 0)
        #expect(plan?.text == "crash=2,silent=1,loss=100")
        #expect(FaultPlan("earthquake=1") == nil)
        #expect(FaultPlan("crash=many") == nil)
        #expect(FaultPlan("crash=-1") == nil)
        #expect(FaultPlan("crash=1=2") == nil)
    }

    /// Every word sets its own count and no other: a build that lost one once ran without that fault.
    @Test func everyWordSetsItsOwnCount() {
        for (place, word) in FaultPlan.words.enumerated() {
            let plan = FaultPlan("\(word.name)=\(place + 3)")
            #expect(plan?.text == "\(word.name)=\(place + 3)")
            #expect(plan.map { word.count($0) } == place + 3)
        }
    }

    @Test func lossCostsTime() {
        var scenario = Scenario()
        scenario.peers = 8
        scenario.sizeBytes = 64 << 20
        let smooth = Fleet(scenario).run()
        scenario.faults = FaultPlan("loss=100000")!
        let lossy = Fleet(scenario).run()
        #expect(lossy.violations == [] && lossy.finished == 8)
        #expect(lossy.makespanNs > smooth.makespanNs)
    }

    @Test func aSeedChoosesTheSameFaultsAgain() {
        #expect(Scenario.random(seed: 7) == Scenario.random(seed: 7))
        #expect(Set((1...50).map { Scenario.random(seed: $0).peers }).count > 5)
        for seed in UInt64(1)...200 { #expect((3...60).contains(Scenario.random(seed: seed, peersMax: 60).peers)) }
    }
}
