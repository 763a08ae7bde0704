import Artifacts
import Testing

@testable import Scheduling

@Suite struct MoveTests {
    private func moveHere(_ cluster: inout ScriptedCluster, _ name: String, _ model: ResolvedModel, _ leases: [HeldLease] = []) {
        cluster.do_(.moved(cluster.sessions[name]!, model.model, .here(leases)))
        cluster.join(name, model)
    }

    @Test func modelThatComesIsNotLeasedBeforeItsHostsHadTime() {
        var cluster = ScriptedCluster { $0.originPiecesMin = 64 }
        let model = model(pieces: [64])
        for seed in ["s1", "s2"] { cluster.attach(seed, .seed) }
        cluster.attach("p")
        moveHere(&cluster, "p", model)
        moveHere(&cluster, "s1", model)
        cluster.pass(ms: 1_000)
        #expect(cluster.takeLeases("s1").isEmpty)
        // The other one comes late: it reads under a lease of the scheduler before, and has a part.
        cluster.do_(.inventory(cluster.sessions["s2"]!, models: [], tasks: inventory(model, 0..<4), last: false))
        let held = HeldLease(lease: LeaseID(77_777), task: taskID(1), pieces: 4..<8, whole: false)
        moveHere(&cluster, "s2", model, [held])
        cluster.pass(ms: 5_000)
        let leases = cluster.takeLeases("s1") + cluster.takeLeases("s2")
        let pieces = leases.flatMap(\.pieces)
        #expect(!pieces.isEmpty)
        #expect(pieces.allSatisfy { $0 >= 8 }, "held or leased elsewhere: \(pieces)")
        #expect(leases.allSatisfy { $0.id.value > 77_777 }, "the number of a lease comes again")
    }

    @Test func modelThatGoesIsNotLeasedToThoseWhoStay() {
        var cluster = ScriptedCluster { $0.originPiecesMin = 64 }
        let model = model(pieces: [64])
        for seed in ["s1", "s2"] { cluster.attach(seed, .seed) }
        cluster.attach("p")
        cluster.join("p", model)
        for seed in ["s1", "s2"] { cluster.join(seed, model) }
        #expect(!cluster.takeLeases("s1").isEmpty)
        _ = cluster.take("s2")
        cluster.do_(.moved(cluster.sessions["s1"]!, model.model, .away))
        cluster.pass(ms: 1_000)
        #expect(cluster.takeLeases("s2").isEmpty, "what the first one still reads was leased again")
        #expect(cluster.scheduler.snapshot.modelsMoved == 1)
    }

    @Test func embargoIsNotBegunAnewByLatecomers() {
        var cluster = ScriptedCluster { $0.originPiecesMin = 64 }
        let model = model(pieces: [64])
        cluster.attach("s1", .seed)
        cluster.attach("p")
        moveHere(&cluster, "p", model)
        moveHere(&cluster, "s1", model)
        cluster.pass(ms: 3_000)
        #expect(!cluster.takeLeases("s1").isEmpty)
        let before = cluster.scheduler.snapshot.modelsMoved
        cluster.attach("q")
        moveHere(&cluster, "q", model)
        #expect(cluster.scheduler.snapshot.modelsMoved == before)
    }

    @Test func newsAfterTheReportAddsToIt() {
        var cluster = ScriptedCluster { $0.originPiecesMin = 64 }
        let model = model(pieces: [8])
        cluster.attach("a", models: [], tasks: [])
        cluster.join("a", model)
        cluster.kept("a", taskID(1), 0..<2, digests: true)
        // A snapshot of the store that was made before the second piece was kept arrives after it.
        cluster.do_(.inventory(cluster.sessions["a"]!, models: [], tasks: inventory(model, 0..<1), last: false))
        #expect(cluster.scheduler.tasks[taskID(1)]!.isHeld(PieceIndex(1)))
    }

    @Test func lateMessagesOfAnEarlierLifeAreDropped() {
        var cluster = ScriptedCluster { $0.originPiecesMin = 64 }
        let model = model(pieces: [8])
        let old = cluster.attach("a", incarnation: 5)
        cluster.attach("a", incarnation: 6)
        #expect(cluster.closed == [old])
        let before = cluster.scheduler.snapshot.dropped
        cluster.do_(.join(old, model.model, model.manifest))
        cluster.do_(.moved(old, model.model, .here([])))
        #expect(cluster.scheduler.snapshot.dropped == before + 2)
        #expect(cluster.scheduler.snapshot.models == 0)
        // An earlier life that comes back is refused.
        let late = cluster.attach("a", incarnation: 4, reports: false)
        #expect(cluster.closed.last == late)
    }
}
