import Artifacts
import Testing

@testable import Scheduling

@Suite struct LeaseTests {
    /// One or two seeds and a peer that downloads; the seeds obey their fetch orders.
    func start(_ model: ResolvedModel, seeds: [String] = ["s1", "s2"], peers: [String] = ["p"])
        -> ScriptedCluster
    {
        var cluster = ScriptedCluster()
        for seed in seeds { cluster.attach(seed, .seed) }
        for peer in peers {
            cluster.attach(peer)
            cluster.join(peer, model)
        }
        for seed in seeds {
            let isOrdered = cluster.take(seed).contains { if case .fetchOrder = $0 { true } else { false } }
            #expect(isOrdered)
            cluster.join(seed, model)
        }
        return cluster
    }

    @Test func seedsShareAFileAndPeersGetNoLease() {
        let model = model(pieces: [64])
        var cluster = start(model)
        let leases = cluster.takeLeases("s1") + cluster.takeLeases("s2")
        #expect(cluster.takeLeases("p").isEmpty)
        let pieces = leases.flatMap(\.pieces)
        #expect(Set(pieces).count == pieces.count, "a piece is leased twice")
        #expect(leases.allSatisfy { $0.pieces.count == 4 && !$0.isWhole })
        // Two leases each: with 64 pieces no more may hang on one holder.
        #expect(leases.count == 4)
    }

    @Test func holderWaitsUntilOthersHaveItsPieces() {
        let model = model(pieces: [256])
        var cluster = start(model, seeds: ["s1"])
        let task = taskID(1)
        let first = cluster.takeLeases("s1")
        #expect(first.count == 2)
        for lease in first { cluster.read("s1", lease) }
        #expect(cluster.takeLeases("s1").isEmpty, "8 of 10 pieces hang on the seed")
        cluster.kept("p", task, first[0].pieces, digests: false)
        #expect(cluster.takeLeases("s1").count == 1)
        // At most a 24th of the model would be lost with the seed: less than 5 %.
        #expect(cluster.scheduler.models[model.model]!.exposed.values.max()! <= 10)
    }

    @Test func leasesAreNotCrumbled() {
        var cluster = start(model(pieces: [256]), seeds: ["s1"])
        let first = cluster.takeLeases("s1")
        // One piece at a time is read and taken: the next lease waits until it is a whole one again.
        for piece in 0..<3 as Range<UInt32> {
            cluster.kept("s1", taskID(1), [piece], digests: true)
            cluster.kept("p", taskID(1), [piece], digests: false)
            #expect(cluster.takeLeases("s1").isEmpty)
        }
        cluster.kept("s1", taskID(1), [3], digests: true)
        cluster.kept("p", taskID(1), [3], digests: false)
        #expect(cluster.takeLeases("s1").map(\.pieces) == [8..<12])
        #expect(first.map(\.pieces) == [0..<4, 4..<8])
    }

    @Test func stuckChildrenDoNotStopTheReader() {
        var cluster = start(model(pieces: [256]), seeds: ["s1"])
        for lease in cluster.takeLeases("s1") { cluster.read("s1", lease) }
        #expect(cluster.takeLeases("s1").isEmpty)
        cluster.pass(ms: 3_100)
        #expect(cluster.takeLeases("s1").count == 1)
    }

    @Test func loneReaderIsNotHeldBack() {
        var cluster = ScriptedCluster()
        let model = model(pieces: [40])
        cluster.attach("p")
        cluster.join("p", model)
        var read: Set<UInt32> = []
        for _ in 0..<20 {
            for lease in cluster.takeLeases("p") {
                read.formUnion(lease.pieces)
                cluster.read("p", lease)
            }
        }
        #expect(read.count == 40, "without a seed the peer reads the origin itself")
        #expect(cluster.scheduler.leases.isEmpty)
    }

    @Test func heldPiecesAreNotLeased() {
        var cluster = ScriptedCluster()
        let model = model(pieces: [8])
        cluster.attach("seed", .seed)
        cluster.attach("holder", tasks: inventory(model, 0..<5))
        cluster.attach("p")
        cluster.join("p", model)
        cluster.join("seed", model)
        #expect(Set(cluster.takeLeases("seed").flatMap(\.pieces)) == [5, 6, 7])
    }

    @Test func fullyHeldModelNeedsNoSeed() {
        var cluster = ScriptedCluster()
        cluster.attach("seed", .seed)
        cluster.attach("holder", tasks: inventory(model()))
        cluster.attach("p")
        _ = cluster.take("seed")
        cluster.join("p", model())
        #expect(cluster.take("seed").isEmpty)
        // With the holder gone for good it does.
        cluster.detach("holder")
        cluster.pass(ms: 2_900)
        #expect(cluster.take("seed").isEmpty)
        cluster.pass(ms: 200)
        #expect(cluster.take("seed") == [.fetchOrder(model().model, model().manifest)])
    }

    @Test func lostHoldersLeasesGoToOthersAfterGrace() {
        var cluster = start(model(pieces: [16]))
        let lost = Set(cluster.takeLeases("s1").flatMap(\.pieces))
        #expect(!lost.isEmpty)
        for lease in cluster.takeLeases("s2") { cluster.read("s2", lease) }
        cluster.kept("p", taskID(1), (0..<16).filter { !lost.contains($0) }, digests: false)
        _ = cluster.takeLeases("s2")
        cluster.detach("s1")
        cluster.pass(ms: 2_900)
        #expect(cluster.takeLeases("s2").isEmpty, "in grace the leases are its own")
        cluster.pass(ms: 200)
        #expect(Set(cluster.takeLeases("s2").flatMap(\.pieces)) == lost)
    }

    @Test func returningHostKeepsItsLeases() {
        let model = model(pieces: [16])
        var cluster = start(model, seeds: ["s1"])
        let held = cluster.takeLeases("s1")
        cluster.detach("s1")
        cluster.pass(ms: 1_000)
        let claims = held.map { HeldLease(lease: $0.id, task: $0.task, pieces: $0.pieces, whole: false) }
        cluster.attach("s1", .seed, leases: [claims[0]])
        cluster.join("s1", model)
        let granted = cluster.takeLeases("s1").flatMap(\.pieces)
        #expect(Set(granted).isDisjoint(with: held[0].pieces), "the lease it claimed is still out")
        #expect(Set(granted).isSuperset(of: held[1].pieces), "the one it did not is free again")
    }

    @Test func restartedSchedulerAdoptsLeasesAndRereadsNothing() {
        let model = model(pieces: [16])
        var cluster = ScriptedCluster(learning: true)
        let claim = HeldLease(lease: LeaseID(77), task: taskID(1), pieces: 4..<8, whole: false)
        cluster.attach("p")
        cluster.join("p", model)
        cluster.attach("s1", .seed, leases: [claim], tasks: inventory(model, 0..<4))
        cluster.join("s1", model)
        #expect(cluster.takeLeases("s1").isEmpty)
        cluster.pass(ms: 1_900)
        #expect(cluster.takeLeases("s1").isEmpty, "still learning")
        cluster.attach("late", tasks: inventory(model, 8..<12))
        cluster.pass(ms: 200)
        let granted = cluster.takeLeases("s1")
        #expect(Set(granted.flatMap(\.pieces)) == Set(12..<16))
        #expect(granted.allSatisfy { $0.id.value > 77 })
        #expect(cluster.scheduler.snapshot.leasesAdopted == 1)
    }

    @Test func learningWaitsForExpectedHostsAndInventories() {
        var cluster = ScriptedCluster(learning: true)
        cluster.do_(.expectedHosts(2))
        cluster.attach("a")
        cluster.pass(ms: 4_000)
        #expect(cluster.scheduler.snapshot.learning, "one of two hosts is missing")
        cluster.attach("b", reports: false)
        #expect(cluster.scheduler.snapshot.learning, "its inventory is missing")
        cluster.do_(.inventory(cluster.sessions["b"]!, models: [], tasks: [], last: true))
        #expect(!cluster.scheduler.snapshot.learning)
        var alone = ScriptedCluster(learning: true)
        alone.do_(.expectedHosts(2))
        alone.pass(ms: 6_100)
        #expect(!alone.scheduler.snapshot.learning, "it does not wait for ever")
    }

    @Test func retryableFailureBacksOffAndPrefersAnother() {
        let model = model(pieces: [4])
        var cluster = start(model)
        let first = cluster.takeLeases("s1")
        let holder = first.isEmpty ? "s2" : "s1"
        let other = first.isEmpty ? "s1" : "s2"
        let lease = first.first ?? cluster.takeLeases("s2")[0]
        cluster.giveBack(holder, lease.id, away)
        #expect(cluster.takeLeases(other).isEmpty, "not before the back-off")
        cluster.pass(ms: 700)
        #expect(cluster.takeLeases(other).count == 1)
        #expect(cluster.takeLeases(holder).isEmpty)
    }

    @Test func attemptsAreBounded() {
        var cluster = start(model(pieces: [4]), seeds: ["s1"])
        var attempts = 0
        for _ in 0..<20 {
            for lease in cluster.takeLeases("s1") {
                attempts += 1
                cluster.giveBack("s1", lease.id, away)
            }
            cluster.pass(ms: 20_000)
        }
        #expect(attempts == cluster.scheduler.settings.leaseAttemptsMax)
        #expect(cluster.take("p").contains(.refused(model().model, away)))
    }

    @Test func permanentFailureIsToldToAllAndRepeatedForAWhile() {
        let model = model(pieces: [8])
        var cluster = start(model, seeds: ["s1"], peers: ["p", "q"])
        cluster.giveBack("s1", cluster.takeLeases("s1")[0].id, missing)
        for name in ["s1", "p", "q"] { #expect(cluster.take(name).contains(.refused(model.model, missing))) }
        #expect(cluster.scheduler.leases.isEmpty)
        cluster.join("p", model)
        #expect(cluster.take("p") == [.refused(model.model, missing)])
        cluster.pass(ms: 5_100)
        cluster.join("p", model)
        #expect(!cluster.take("p").contains(.refused(model.model, missing)), "it is tried again")
        #expect(cluster.take("s1").contains(.fetchOrder(model.model, model.manifest)))
    }

    @Test func fullDiskOfOneSeedIsNotTheModelsFault() {
        let full = Failure(code: "disk_full", sentence: "the disk is full; free some", retryable: false)
        var cluster = start(model(pieces: [8]))
        let leases = cluster.takeLeases("s1")
        for lease in leases { cluster.giveBack("s1", lease.id, full) }
        let granted = Set(cluster.takeLeases("s2").flatMap(\.pieces))
        #expect(granted.isSuperset(of: leases.flatMap(\.pieces)))
        #expect(cluster.take("p").allSatisfy { if case .refused = $0 { false } else { true } })
    }

    @Test func originWithoutRangesIsReadAsOneStream() {
        let model = model(pieces: [64])
        var cluster = start(model)
        let first = cluster.takeLeases("s1")
        let second = cluster.takeLeases("s2")
        for lease in first { cluster.giveBack("s1", lease.id, needsWhole: true) }
        #expect(cluster.takeLeases("s1").isEmpty, "the other seed still reads")
        for lease in second { cluster.giveBack("s2", lease.id, needsWhole: true) }
        let whole = cluster.takeLeases("s1") + cluster.takeLeases("s2")
        #expect(whole.map(\.pieces) == [0..<64])
        #expect(whole.map(\.isWhole) == [true])
    }

    @Test func smallFilesAreLeasedWholeAndSeveralAtATime() {
        let model = model(pieces: Array(repeating: 1, count: 6) + [0])
        var cluster = start(model, seeds: ["s1"])
        let leases = cluster.takeLeases("s1")
        #expect(leases.count == 6)
        #expect(Set(leases.map(\.task)).count == 6)
    }

    @Test func returnedButUnannouncedPiecesAreWaitedFor() {
        var cluster = start(model(pieces: [4]), seeds: ["s1"])
        let lease = cluster.takeLeases("s1")[0]
        cluster.giveBack("s1", lease.id)
        cluster.pass(ms: 1_000)
        #expect(cluster.takeLeases("s1").isEmpty)
        cluster.kept("s1", taskID(1), 0..<2, digests: true)
        cluster.pass(ms: 10_000)
        #expect(cluster.takeLeases("s1").map(\.pieces) == [2..<4])
    }

    @Test func leavingEndsLeases() {
        var cluster = start(model(pieces: [8]))
        let held = cluster.takeLeases("s1")
        #expect(!held.isEmpty)
        _ = cluster.takeLeases("s2")
        cluster.do_(.leave(cluster.sessions["s1"]!, model().model, finished: false, failure: nil))
        #expect(Set(cluster.takeLeases("s2").flatMap(\.pieces)) == Set(held.flatMap(\.pieces)))
    }

    @Test func seedThatDoesNotJoinIsReplaced() {
        var cluster = ScriptedCluster { $0.seedsPerModel = 1 }
        cluster.attach("s1", .seed)
        cluster.attach("s2", .seed)
        cluster.attach("p")
        cluster.join("p", model())
        let order = SchedulerMessage.fetchOrder(model().model, model().manifest)
        let first = cluster.take("s1").contains(order) ? "s1" : "s2"
        cluster.pass(ms: 10_100)
        #expect(cluster.take(first == "s1" ? "s2" : "s1").contains(order))
    }
}
