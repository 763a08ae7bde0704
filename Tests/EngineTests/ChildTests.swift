import Artifacts
import Digests
import Rails
import Swarm
import Testing
import Transport

@testable import Engine

private let piece = 1 << 20

/// Serving children, honest and hostile.
@Suite struct ChildTests {
    /// A stage whose store has one model, and its only task.
    private func serving(_ stage: Stage, mark: UInt8 = 3) throws -> TaskID {
        let model = try stage.model("held\(mark)", ["a": Stage.bytes(2 * piece + 5, mark: mark)])
        let task = model.1.files[0].task
        let (_, ends) = stage.start(model)
        stage.tell(stage.lease(UInt64(mark) + 1000, model.0, task))
        #expect(ends.outcome == .finished)
        return task
    }

    @Test func aChildGetsAMapAnExportAGrantAndARevocationOnce() throws {
        let stage = try Stage()
        let task = try serving(stage)
        let link = stage.childLink()
        stage.tell(rail: .message(link, .open(session: 4, task: task, pieceCount: 3)))
        #expect(stage.toChildren.map { $0.1 } == [.map(session: 4, base: 0, bits: [7], last: true)])
        stage.tell(rail: .message(link, .want(session: 4, piece: PieceIndex(2))))
        #expect(stage.exportCount == 1)
        guard case .grant(4, PieceIndex(2), Stage.key(1), 5, _)? = stage.toChildren.last?.1 else {
            Issue.record("\(String(describing: stage.toChildren.last))")
            return
        }
        #expect(stage.revoked.isEmpty)
        stage.tell(rail: .message(link, .release(session: 4, piece: PieceIndex(2))))
        #expect(stage.revoked == [ExportID(1)])
        // Again, and this time the link goes with the grant: the rail retires the export, nobody revokes it.
        stage.tell(rail: .message(link, .want(session: 4, piece: PieceIndex(2))))
        #expect(stage.exportCount == 2)
        stage.takeDown(link)
        #expect(stage.revoked == [ExportID(1)])
        stage.expectNoChildren()
        #expect(stage.store.model(stage.store.models()[0].id)?.isInUse == false)
    }

    @Test func anExportThatNobodyWaitsForAnyMoreEnds() throws {
        let stage = try Stage()
        let task = try serving(stage)
        stage.holdsExports = true
        // Released, closed, and gone with the link, each while the rail makes the export.
        let link = stage.childLink("one")
        let other = stage.childLink("two")
        stage.tell(rail: .message(link, .open(session: 1, task: task, pieceCount: 3)))
        stage.tell(rail: .message(link, .open(session: 2, task: task, pieceCount: 3)))
        stage.tell(rail: .message(other, .open(session: 1, task: task, pieceCount: 3)))
        stage.tell(rail: .message(link, .want(session: 1, piece: PieceIndex(0))))
        stage.tell(rail: .message(link, .want(session: 2, piece: PieceIndex(1))))
        stage.tell(rail: .message(other, .want(session: 1, piece: PieceIndex(2))))
        #expect(stage.exports.count == 3)
        stage.tell(rail: .message(link, .release(session: 1, piece: PieceIndex(0))))
        stage.tell(rail: .message(link, .close(session: 2)))
        stage.takeDown(other)
        stage.answerExports()
        #expect(stage.revoked.count == 2)
        #expect(!stage.toChildren.contains { if case .grant = $0.1 { true } else { false } })
        stage.takeDown(link)
        stage.expectNoChildren()
    }

    @Test func whatIsNotHereOrCutOtherwiseIsUnknown() throws {
        let stage = try Stage()
        let task = try serving(stage)
        let link = stage.childLink()
        stage.tell(rail: .message(link, .open(session: 1, task: TaskID(Digests.sha256([1])), pieceCount: 3)))
        stage.tell(rail: .message(link, .open(session: 2, task: task, pieceCount: 4)))
        #expect(stage.toChildren.map { $0.1 } == [.unknown(session: 1), .unknown(session: 2)])
        // Several at once while a worker opens the task: an answer to one does not take it from the others.
        stage.holdsWorkers = true
        for session in UInt32(10)..<13 {
            let pieceCount: UInt32 = session == 12 ? 3 : 4
            stage.tell(rail: .message(link, .open(session: session, task: task, pieceCount: pieceCount)))
        }
        stage.holdsWorkers = false
        stage.settle()
        #expect(
            stage.toChildren.suffix(3).map { $0.1 } == [
                .unknown(session: 10), .unknown(session: 11), .map(session: 12, base: 0, bits: [7], last: true),
            ])
        stage.takeDown(link)
        stage.expectNoChildren()
    }

    @Test func aChildsSessionsAreBoundedWhileWorkersAreBusyToo() throws {
        let stage = try Stage { $0.upload.sessionsPerLinkMax = 10 }
        stage.holdsWorkers = true
        let link = stage.childLink()
        // Opened and closed at once: nothing but the worker's job would count them.
        for number in UInt32(0)..<1000 {
            let task = TaskID(Digests.sha256(withUnsafeBytes(of: number) { Array($0) }))
            stage.tell(rail: .message(link, .open(session: number, task: task, pieceCount: 1)))
            stage.tell(rail: .message(link, .close(session: number)))
        }
        #expect(stage.workers.take().count == 10)
    }

    @Test func aForgottenTaskIsServedFromItsNewFileOnly() throws {
        let stage = try Stage()
        let model = try stage.model("m", ["a": Stage.bytes(2 * piece + 5, mark: 3)])
        let task = model.1.files[0].task
        let (ticket, _) = stage.start(model)
        stage.tell(.scheduler(.lease(LeaseID(1), model.0, task, 0..<1, whole: false)))
        let link = stage.childLink()
        stage.tell(rail: .message(link, .open(session: 1, task: task, pieceCount: 3)))
        #expect(stage.toChildren.last?.1 == .map(session: 1, base: 0, bits: [1], last: true))
        let old = stage.interpreter.served[task]?.served.source
        #expect(old != nil)
        stage.holdsWorkers = true
        stage.tell(.scheduler(.digestsWithdrawn(task)))
        #expect(stage.toChildren.last?.1 == .unknown(session: 1))
        // While it is thrown away nobody gets it.
        stage.tell(rail: .message(link, .open(session: 2, task: task, pieceCount: 3)))
        #expect(stage.toChildren.last?.1 == .unknown(session: 2))
        stage.holdsWorkers = false
        stage.settle()
        stage.tell(rail: .message(link, .open(session: 3, task: task, pieceCount: 3)))
        #expect(stage.toChildren.last?.1 == .map(session: 3, base: 0, bits: [0], last: true))
        #expect(stage.interpreter.served[task]!.served.source !== old)
        stage.takeDown(link)
        stage.interpreter.abandon(ticket)
        stage.tell([])
        stage.expectNoChildren()
        stage.expectNothingLeft()
    }

    @Test func aParentThatSpeaksAsAChildLosesItsLink() throws {
        let stage = try Stage()
        let task = try serving(stage)
        let parent = stage.addParent("p") { $0.isSilent = true }
        let model = try stage.model("m", ["a": Stage.bytes(piece, mark: 8)])
        let (ticket, _) = stage.start(model)
        stage.tell(stage.neighbourhood(of: model.0))
        let link = stage.link(to: parent)!
        stage.tell(rail: .message(link, .open(session: 1, task: task, pieceCount: 3)))
        #expect(stage.closed == [link])
        stage.expectNoChildren()
        stage.interpreter.abandon(ticket)
        stage.tell([])
        stage.expectNothingLeft()
    }

    /// A message that a peer may send, sensible or not.
    private func anyMessage(_ tasks: [TaskID], _ random: inout SeededGenerator) -> PeerMessage<RemoteKey> {
        let session = UInt32.random(in: 0..<6, using: &random)
        let pieces: [UInt32] = [0, 1, 2, 3, 64, 1_000_000, .max]
        let piece = PieceIndex(pieces.randomElement(using: &random)!)
        let number = [0, 1, 3, 7, 1 << 20, UInt32.max].randomElement(using: &random)!
        switch Int.random(in: 0..<14, using: &random) {
        case 0, 1: return .open(session: session, task: tasks.randomElement(using: &random)!, pieceCount: 3)
        case 2: return .open(session: session, task: tasks.randomElement(using: &random)!, pieceCount: number)
        case 3, 4: return .want(session: session, piece: piece)
        case 5: return .release(session: session, piece: piece)
        case 6: return .close(session: session)
        case 7:
            let bits = (0..<Int.random(in: 0..<4, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random)
            }
            return .map(session: session, base: number, bits: bits, last: .random(using: &random))
        case 8: return .have(session: session, pieces: [piece, PieceIndex(number)])
        case 9: return .unknown(session: session)
        case 10:
            let lengths: [UInt32] = [0, 5, UInt32(4 << 20), .max]
            return .grant(
                session: session, piece: piece, key: Stage.key(UInt64(number)),
                lengthBytes: lengths.randomElement(using: &random)!, leaseMs: number)
        case 11: return .busy(session: session, piece: piece, retryAfterMs: number)
        case 12: return .absent(session: session, piece: piece)
        default: return .ping(nonce: UInt64(number))
        }
    }

    @Test(arguments: 1...4) func nothingAPeerSaysTraps(seed: UInt64) throws {
        let stage = try Stage(seed: seed)
        let held = try serving(stage)
        let parent = stage.addParent("p")
        let model = try stage.model("m", ["a": Stage.bytes(2 * piece + 5, mark: 8)])
        let wanted = model.1.files[0].task
        let tasks = [held, wanted, TaskID(Digests.sha256([9]))]
        let (ticket, _) = stage.start(model)
        var children: [LinkID] = []
        for turn in 0..<2500 {
            stage.holdsExports = stage.random.next() % 3 == 0
            stage.holdsWorkers = stage.random.next() % 3 == 0
            parent.holdsReads = stage.random.next() % 2 == 0
            if children.count < 3 { children.append(stage.childLink("child\(turn)")) }
            if turn % 50 == 0 {
                stage.tell([stage.neighbourhood(of: model.0), .scheduler(.digests(wanted, [:]))])
            }
            if turn % 100 == 99, let child = children.randomElement(using: &stage.random) {
                children.removeAll { $0 == child }
                stage.takeDown(child)
            }
            let links = children + (stage.link(to: parent).map { [$0] } ?? [])
            let link = links.randomElement(using: &stage.random)!
            let message = anyMessage(tasks, &stage.random)
            stage.tell(rail: .message(link, message))
            // Closed by the engine for what it said.
            for link in stage.closed { children.removeAll { $0 == link } }
            if turn % 7 == 0 { stage.answerExports() }
            if turn % 20 == 0 { stage.pass(100_000_000) }
        }
        stage.holdsExports = false
        stage.holdsWorkers = false
        stage.answerExports()
        for child in children { stage.takeDown(child) }
        stage.interpreter.abandon(ticket)
        stage.tell([])
        if let link = stage.link(to: parent) { stage.takeDown(link) }
        stage.wait { stage.interpreter.downloads.isEmpty }
        stage.expectNoChildren()
        stage.expectNothingLeft()
        #expect(stage.interpreter.links.isEmpty && stage.interpreter.linkNumbers.isEmpty)
        #expect(stage.isPublished(held) && stage.store.task(wanted)?.held.isEmpty == true)
    }
}
