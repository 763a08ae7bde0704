import Artifacts
import Digests
import Storage
import Swarm
import Testing

@testable import Engine

private let piece = 1 << 20

/// Downloads from the origin and between several downloads.
@Suite struct DownloadTests {
    @Test func anOriginLeaseBringsTheModelAndEverySlotBack() throws {
        let stage = try Stage(isSeed: true)
        let big = Stage.bytes(2 * piece + 1000, mark: 7)
        // The same content twice, and an empty file: two tasks to bring, one of them with nothing in it.
        let model = try stage.model("m", ["a": big, "b/a": big, "empty": []])
        let task = TaskID(Digests.sha256(big))
        let (_, ends) = stage.start(model)
        #expect(stage.said { if case .join(model.0, model.1) = $0 { true } else { false } } == 1)
        stage.tell(stage.lease(5, model.0, task))
        #expect(ends.all.count == 1 && ends.outcome == .finished)
        #expect(stage.isPublished(task))
        #expect(stage.store.model(model.0)?.isComplete == true)
        // Each piece was announced with its digest before the lease went back.
        var announced: [PieceIndex: Digest?] = [:]
        var isReturned = false
        for message in stage.scheduler.said {
            switch message {
            case .kept(task, let piece, let digest):
                #expect(!isReturned)
                announced[piece] = digest
            case .leaseReturn(LeaseID(5), nil): isReturned = true
            default: break
            }
        }
        #expect(isReturned)
        #expect(announced.count == 3)
        for (piece, digest) in stage.digests(of: task) { #expect(announced[piece] == digest) }
        #expect(stage.said { if case .leave(model.0, nil) = $0 { true } else { false } } == 1)
        #expect(stage.originPieces[task] == 3)
        #expect(ends.all.first?.traffic.originBytes == UInt64(big.count))
        stage.expectNothingLeft()
    }

    @Test func anOriginThatFailsEndsTheDownloadWithItsWords() throws {
        let stage = try Stage()
        let model = try stage.model("m", ["a": Stage.bytes(piece + 1, mark: 1)])
        stage.originFailure = OriginFailure(code: "forbidden", description: "no entry", retryable: false)
        let (_, ends) = stage.start(model)
        stage.tell(stage.lease(1, model.0, model.1.files[0].task))
        guard case .failed(_, let sentence)? = ends.outcome else {
            Issue.record("\(String(describing: ends.outcome))")
            return
        }
        #expect(sentence.contains("no entry"))
        #expect(
            stage.said { if case .leaseReturn(LeaseID(1), stage.originFailure) = $0 { true } else { false } } == 1)
        stage.expectNothingLeft()
    }

    @Test func aFullDiskEndsTheDownloadWithItsCode() throws {
        let stage = try Stage()
        // More than any disk has: the store cannot open it.
        let digest = Digests.sha256([1, 2, 3])
        let manifest = try Manifest(
            reference: "file:///huge", revision: "1",
            files: [ManifestFile(path: "a", sizeBytes: 8 << 40, publishedDigest: digest, task: TaskID(digest))])
        let (_, ends) = stage.start((manifest.model, manifest))
        guard case .failed("noSpace", _)? = ends.outcome else {
            Issue.record("\(String(describing: ends.outcome))")
            return
        }
        stage.expectNothingLeft()
    }

    @Test func aLaterDownloadWaitsForTheTasksItShares() throws {
        let stage = try Stage()
        let shared = Stage.bytes(2 * piece + 5, mark: 3)
        let sharedTask = TaskID(Digests.sha256(shared))
        let one = try stage.model("one", ["shared": shared, "own": Stage.bytes(100, mark: 4)])
        let two = try stage.model("two", ["other/shared": shared, "mine": Stage.bytes(200, mark: 5)])
        stage.originServes = false
        let (_, oneEnds) = stage.start(one)
        stage.tell(stage.lease(1, one.0, sharedTask))
        let (_, twoEnds) = stage.start(two)
        // It has not begun: no join, and a lease for it goes back.
        #expect(stage.said { if case .join(two.0, _) = $0 { true } else { false } } == 0)
        #expect(stage.interpreter.attachment().downloads.map { $0.model } == [one.0])
        stage.tell(stage.lease(2, two.0, sharedTask))
        #expect(stage.said { if case .leaseReturn(LeaseID(2), .some) = $0 { true } else { false } } == 1)
        // The shared file is published though the first download is not over: the second begins.
        stage.originServes = true
        stage.settle()
        #expect(stage.isPublished(sharedTask))
        #expect(oneEnds.all.isEmpty)
        #expect(stage.said { if case .join(two.0, _) = $0 { true } else { false } } == 1)
        stage.tell([
            stage.lease(3, two.0, TaskID(Digests.sha256(Stage.bytes(200, mark: 5)))),
            stage.lease(4, one.0, TaskID(Digests.sha256(Stage.bytes(100, mark: 4)))),
        ])
        #expect(oneEnds.outcome == .finished && twoEnds.outcome == .finished)
        #expect(stage.originPieces[sharedTask] == 3)
        #expect(twoEnds.all.first?.progress.resumedBytes == UInt64(shared.count))
        stage.expectNothingLeft()
    }

    @Test func whoeverAsksRightAfterACancelIsServedAndResumes() throws {
        let stage = try Stage()
        let bytes = Stage.bytes(3 * piece, mark: 9)
        let model = try stage.model("m", ["a": bytes])
        let task = model.1.files[0].task
        let (ticket, first) = stage.start(model)
        stage.originServes = false
        let lease = EngineEvent.scheduler(.lease(LeaseID(1), model.0, task, 0..<2, whole: false))
        stage.tell(lease)
        stage.originServes = true
        stage.settle()
        #expect(stage.store.task(task)?.held.count == 2)
        // Cancelled and asked for in one breath, while a lease is being read.
        stage.originServes = false
        stage.tell(.scheduler(.lease(LeaseID(2), model.0, task, 2..<3, whole: false)))
        let second = Ends()
        stage.tell(
            .ask { interpreter in
                interpreter.abandon(ticket)
                _ = interpreter.start(model.0, model.1, done: second.put)
            })
        #expect(first.outcome == .cancelled && first.all.count == 1)
        #expect(second.all.isEmpty)
        stage.originServes = true
        stage.settle()
        stage.tell(.scheduler(.lease(LeaseID(3), model.0, task, 2..<3, whole: false)))
        #expect(second.outcome == .finished && second.all.count == 1)
        #expect(second.all.first?.progress.resumedBytes == UInt64(2 * piece))
        #expect(first.all.count == 1)
        stage.expectNothingLeft()
    }

    @Test func aCancelWhileItsFilesAreOpenedEndsOnceTheyAre() throws {
        let stage = try Stage()
        let model = try stage.model("m", ["a": Stage.bytes(piece, mark: 2)])
        stage.holdsWorkers = true
        let (ticket, ends) = stage.start(model)
        stage.interpreter.abandon(ticket)
        stage.tell([])
        #expect(ends.outcome == .cancelled)
        #expect(!stage.interpreter.downloads.isEmpty)
        stage.holdsWorkers = false
        stage.settle()
        #expect(stage.said { if case .leave(model.0, "cancelled") = $0 { true } else { false } } == 1)
        #expect(stage.store.model(model.0)?.isInUse == false)
        stage.expectNothingLeft()
    }

    @Test func anOrderedDownloadGoesOnWithoutCallers() throws {
        let stage = try Stage(isSeed: true)
        let model = try stage.model("m", ["a": Stage.bytes(10, mark: 2)])
        stage.tell(.scheduler(.fetch(model.0, model.1)))
        let (ticket, ends) = stage.start(model)
        stage.interpreter.abandon(ticket)
        stage.tell(stage.lease(1, model.0, model.1.files[0].task))
        #expect(ends.outcome == .cancelled && ends.all.count == 1)
        #expect(stage.isPublished(model.1.files[0].task))
        // Ordered again: it is here, which is said.
        stage.tell(.scheduler(.fetch(model.0, model.1)))
        #expect(stage.said { if case .leave(model.0, nil) = $0 { true } else { false } } == 2)
        stage.expectNothingLeft()
    }

    @Test func aNewSchedulerHearsOfLeasesHeldAndDownloadsAndOfNothingElse() throws {
        let stage = try Stage()
        let model = try stage.model("m", ["a": Stage.bytes(3 * piece, mark: 1)])
        let task = model.1.files[0].task
        let (ticket, _) = stage.start(model)
        stage.originServes = false
        stage.tell([
            .scheduler(.lease(LeaseID(1), model.0, task, 0..<2, whole: false)),
            .scheduler(.lease(LeaseID(2), model.0, task, 2..<3, whole: false)),
        ])
        stage.tell([.scheduler(.detached), .scheduler(.attached)])
        var attachment = stage.interpreter.attachment()
        #expect(Set(attachment.leases.map { $0.lease.value }) == [1, 2])
        #expect(attachment.leases.first { $0.lease.value == 1 }?.pieces == 0..<2)
        #expect(attachment.downloads.map { $0.model } == [model.0])
        // A lease taken back is not ours any more, though its reading has not ended.
        stage.tell(.scheduler(.leaseEnded(LeaseID(1))))
        #expect(stage.interpreter.attachment().leases.map { $0.lease.value } == [2])
        // The same lease offered again while it is still being stopped is late news.
        stage.tell(.scheduler(.lease(LeaseID(1), model.0, task, 0..<2, whole: false)))
        stage.interpreter.abandon(ticket)
        stage.tell([])
        attachment = stage.interpreter.attachment()
        #expect(attachment.leases.isEmpty && attachment.downloads.isEmpty)
        stage.expectNothingLeft()
    }

    @Test func aLeaseThatComesAndGoesWhileFilesAreOpenedHoldsNothingUp() throws {
        let stage = try Stage()
        let model = try stage.model("m", ["a": Stage.bytes(piece + 1, mark: 1)])
        let task = model.1.files[0].task
        stage.holdsWorkers = true
        let (_, ends) = stage.start(model)
        stage.tell([stage.lease(1, model.0, task), .scheduler(.leaseEnded(LeaseID(1)))])
        stage.holdsWorkers = false
        stage.settle()
        #expect(stage.interpreter.downloadOfLease.isEmpty)
        stage.tell(stage.lease(2, model.0, task))
        #expect(ends.outcome == .finished)
        stage.expectNothingLeft()
    }

    @Test func leasesThatMakeNoSenseGoBack() throws {
        let stage = try Stage()
        let model = try stage.model("m", ["a": Stage.bytes(piece + 1, mark: 1)])
        let other = try stage.model("n", ["b": Stage.bytes(10, mark: 2)])
        let (ticket, _) = stage.start(model)
        stage.tell([
            .scheduler(.lease(LeaseID(1), model.0, model.1.files[0].task, 0..<3, whole: false)),
            .scheduler(.lease(LeaseID(2), model.0, other.1.files[0].task, 0..<1, whole: false)),
            .scheduler(.lease(LeaseID(3), other.0, other.1.files[0].task, 0..<1, whole: false)),
            .scheduler(.leaseEnded(LeaseID(77))),
            .scheduler(
                .digests(
                    model.1.files[0].task, [PieceIndex(9): Digests.piece(UnsafeRawBufferPointer(start: nil, count: 0))])
            ),
            .scheduler(.digestsWithdrawn(other.1.files[0].task)),
            .scheduler(.refused(other.0, OriginFailure(code: "x", description: "y", retryable: false))),
            .originEnded(LeaseID(78), nil),
        ])
        for number in UInt64(1)...3 {
            #expect(stage.said { if case .leaseReturn(LeaseID(number), .some) = $0 { true } else { false } } == 1)
        }
        stage.interpreter.abandon(ticket)
        stage.tell([])
        stage.expectNothingLeft()
    }

    @Test(arguments: 1...8) func withdrawnDigestsLoseNothingKeptAnew(seed: UInt64) throws {
        let stage = try Stage(seed: seed)
        let bytes = Stage.bytes(2 * piece + 9, mark: 6)
        let model = try stage.model("m", ["a": bytes])
        let task = model.1.files[0].task
        let (_, ends) = stage.start(model)
        // Two of three pieces are kept, then their digests are withdrawn and we are to read them anew, at once: the
        // workers, which take jobs in any order, must not throw away what is new.
        stage.tell(.scheduler(.lease(LeaseID(1), model.0, task, 0..<2, whole: false)))
        #expect(stage.store.task(task)?.held.count == 2)
        stage.holdsWorkers = true
        stage.tell([.scheduler(.digestsWithdrawn(task)), stage.lease(2, model.0, task)])
        #expect(stage.originPieces[task] == 5)
        stage.holdsWorkers = false
        stage.settle()
        #expect(ends.outcome == .finished)
        #expect(stage.said { if case .forgot(task) = $0 { true } else { false } } == 1)
        #expect(stage.isPublished(task))
        stage.expectNothingLeft()
    }

    @Test func stoppingTellsCallersAndBringsEverySlotBack() throws {
        let stage = try Stage()
        let model = try stage.model("m", ["a": Stage.bytes(4 * piece, mark: 1)])
        let task = model.1.files[0].task
        let parent = stage.addParent("p") { $0.holdsReads = true }
        let (_, ends) = stage.start(model)
        stage.tell([stage.neighbourhood(of: model.0), .scheduler(.digests(task, stage.digests(of: task)))])
        #expect(!parent.heldReads.isEmpty)
        let waiting = try stage.model("n", ["b": Stage.bytes(4 * piece, mark: 1)])
        let (_, waitingEnds) = stage.start(waiting)
        stage.tell(.stop(limitNs: 1_000_000_000))
        #expect(ends.outcome == .cancelled && waitingEnds.outcome == .cancelled)
        #expect(!stage.interpreter.isDrained && stage.arena.usage.takenSlots > 0)
        let (_, late) = stage.start(model)
        #expect(late.outcome == .cancelled)
        stage.takeDown(stage.link(to: parent)!)
        #expect(stage.interpreter.isDrained)
        #expect(ends.all.count == 1 && waitingEnds.all.count == 1 && late.all.count == 1)
        stage.expectNothingLeft()
    }
}
