import Artifacts
import Testing

@testable import Scheduling

@Suite struct DigestTests {
    func digests(_ messages: [SchedulerMessage]) -> [UInt32: Digest] {
        var known: [UInt32: Digest] = [:]
        for message in messages {
            switch message {
            case .digests(_, let pieces, let digests):
                for (piece, digest) in zip(pieces, digests) { known[piece.value] = digest }
            case .digestsWithdrawn: known = [:]
            default: break
            }
        }
        return known
    }

    func right(_ pieces: Range<UInt32>) -> [UInt32: Digest] {
        Dictionary(uniqueKeysWithValues: pieces.map { ($0, pieceDigest(taskID(1), $0)) })
    }

    @Test func readersDigestsArePushedInBatchesAndAtJoin() {
        var cluster = ScriptedCluster()
        cluster.attach("seed", .seed)
        cluster.attach("a")
        cluster.join("a", model())
        cluster.join("seed", model())
        cluster.kept("seed", taskID(1), 0..<2, digests: true)
        cluster.kept("seed", taskID(1), 2..<4, digests: true)
        _ = cluster.take("seed")
        cluster.pass(ms: 20)
        let messages = cluster.take("a")
        #expect(digests(messages) == right(0..<4))
        #expect(messages.filter { if case .digests = $0 { true } else { false } }.count == 1)
        cluster.attach("b")
        cluster.join("b", model())
        #expect(digests(cluster.take("b")) == right(0..<4))
    }

    @Test func peersInventoriesFillARestartedScheduler() {
        var cluster = ScriptedCluster()
        cluster.attach("holder", tasks: inventory(model()))
        cluster.attach("a")
        cluster.join("a", model())
        #expect(digests(cluster.take("a")) == right(0..<8))
    }

    @Test func seedWinsOverPeer() {
        var cluster = ScriptedCluster()
        cluster.attach("liar", tasks: inventory(model(), 0..<2, offset: 9_000))
        cluster.attach("a")
        cluster.join("a", model())
        #expect(digests(cluster.take("a")).count == 2)
        cluster.attach("seed", .seed, tasks: inventory(model(), 0..<2))
        #expect(digests(cluster.take("a")) == right(0..<2))
        // And a peer that says otherwise later is not believed, nor counted as a holder.
        cluster.attach("liar2", tasks: inventory(model(), 0..<2, offset: 9_000))
        cluster.pass(ms: 20)
        #expect(digests(cluster.take("a")).isEmpty)
        #expect(cluster.scheduler.hosts[cluster.scheduler.numbers[hostID("liar2")]!]!.held[taskID(1)] == nil)
    }

    @Test func disagreeingPeersMakeAPieceUnknownAndOpen() {
        var cluster = ScriptedCluster()
        cluster.attach("a")
        cluster.join("a", model())
        cluster.attach("x", tasks: inventory(model(), 0..<3))
        cluster.attach("y", tasks: inventory(model(), 2..<4, offset: 9_000))
        cluster.pass(ms: 20)
        let known = digests(cluster.take("a"))
        #expect(known[2] == nil && known[0] != nil && known[3] != nil)
        #expect(cluster.scheduler.tasks[taskID(1)]!.isHeld(PieceIndex(2)) == false)
    }

    @Test func mismatchIsReadAgainByAnotherThenRefused() {
        var cluster = ScriptedCluster { $0.seedsPerModel = 2 }
        let model = model(pieces: [4])
        cluster.attach("s1", .seed)
        cluster.attach("s2", .seed)
        cluster.attach("p")
        for name in ["p", "s1", "s2"] { cluster.join(name, model) }
        let first = cluster.takeLeases("s1")
        let (reader, other) = first.isEmpty ? ("s2", "s1") : ("s1", "s2")
        let lease = first.first ?? cluster.takeLeases("s2")[0]
        cluster.read(reader, lease)
        cluster.pass(ms: 20)
        _ = cluster.take("p")
        cluster.do_(.forgot(cluster.sessions[reader]!, taskID(1)))
        #expect(cluster.take("p").contains(.digestsWithdrawn(taskID(1))))
        let second = cluster.takeLeases(other)
        #expect(second.map(\.pieces) == [0..<4], "another seed reads it")
        cluster.read(other, second[0])
        cluster.kept("p", taskID(1), 0..<4, digests: false)
        _ = cluster.take("p")
        cluster.do_(.forgot(cluster.sessions["p"]!, taskID(1)))
        guard case .refused(_, let failure)? = cluster.take("p").last else {
            Issue.record("not refused")
            return
        }
        #expect(failure.code == "digest_mismatch")
        #expect(failure.sentence.contains("file-0 does not match its published digest"))
    }

    @Test func oneHostsBadDiskIsItsOwn() {
        var cluster = ScriptedCluster()
        let model = model(pieces: [4])
        cluster.attach("good", models: [complete(model)], tasks: inventory(model))
        cluster.attach("bad")
        cluster.join("bad", model)
        cluster.kept("bad", taskID(1), 0..<4, digests: false)
        _ = cluster.take("bad")
        cluster.do_(.forgot(cluster.sessions["bad"]!, taskID(1)))
        #expect(cluster.take("bad").isEmpty)
        #expect(cluster.scheduler.tasks[taskID(1)]!.unheld == 0)
    }

    @Test func malformedNewsIsDropped() {
        var cluster = ScriptedCluster()
        cluster.attach("a")
        cluster.join("a", model(pieces: [4]))
        let session = cluster.sessions["a"]!
        cluster.do_(.kept(session, taskID(1), pieces: [PieceIndex(4)], digests: []))
        cluster.do_(.kept(session, taskID(1), pieces: [PieceIndex(1)], digests: [digest(1), digest(2)]))
        cluster.do_(.kept(session, taskID(99), pieces: [PieceIndex(1)], digests: []))
        cluster.do_(.leaseReturned(session, LeaseID(4), failure: nil, needsWhole: false))
        #expect(cluster.scheduler.snapshot.dropped == 4)
        #expect(cluster.scheduler.tasks[taskID(1)]!.unheld == 4)
    }
}
