import Artifacts
import Digests
import Memory
import Rails
import Storage
import Swarm
import Testing
import Transport

@testable import Engine

private let piece = 1 << 20

/// Children that are served from memory.
@Suite struct MemoryServingTests {
    private func stage(
        arenaBytes: Int = 64 << 20, seed: UInt64 = 1, _ change: (inout EngineConfiguration) -> Void = { _ in }
    ) throws -> Stage {
        try Stage(seed: seed, arenaBytes: arenaBytes, servesFrom: .memory, change)
    }

    /// A model of one file that the stage has brought from the origin.
    private func serving(_ stage: Stage, pieces: Int = 3, mark: UInt8 = 3) throws -> TaskID {
        let model = try stage.model("held\(mark)", ["a": Stage.bytes((pieces - 1) * piece + 5, mark: mark)])
        let task = model.1.files[0].task
        let (_, ends) = stage.start(model)
        stage.tell(stage.lease(UInt64(mark) + 1000, model.0, task))
        #expect(ends.outcome == .finished)
        return task
    }

    private func open(_ stage: Stage, _ task: TaskID, pieces: UInt32 = 3, session: UInt32 = 1) -> LinkID {
        let link = stage.childLink()
        stage.tell(rail: .message(link, .open(session: session, task: task, pieceCount: pieces)))
        return link
    }

    private func want(_ stage: Stage, _ link: LinkID, _ piece: UInt32) {
        stage.tell(rail: .message(link, .want(session: 1, piece: PieceIndex(piece))))
    }

    private func release(_ stage: Stage, _ link: LinkID, _ piece: UInt32) {
        stage.tell(rail: .message(link, .release(session: 1, piece: PieceIndex(piece))))
    }

    /// What a piece is, by the bytes everybody has.
    private func bytes(_ stage: Stage, _ task: TaskID, _ index: UInt32) -> [UInt8] {
        let range = PieceLayout(fileBytes: UInt64(stage.content[task]!.count)).range(of: PieceIndex(index))
        return Array(stage.content[task]![Int(range.offset)..<Int(range.end)])
    }

    private func dropAll(_ stage: Stage) {
        for slot in stage.interpreter.resident.forget(nil) { stage.arena.give(back: slot) }
    }

    private func busy(_ stage: Stage) -> Int {
        stage.toChildren.count { if case .busy = $0.1 { true } else { false } }
    }

    @Test func aPieceThatHasJustArrivedIsServedWhereItLies() throws {
        let stage = try stage()
        let task = try serving(stage)
        #expect(stage.interpreter.resident.count == 3 && stage.arena.usage.takenSlots == 3)
        let link = open(stage, task)
        for index in UInt32(0)..<3 { want(stage, link, index) }
        #expect(stage.exported.count == 3)
        for index in UInt32(0)..<3 { #expect(stage.isExported(ExportID(UInt64(index) + 1), task, index)) }
        stage.pass(200_000_000)
        #expect(stage.totals.value.residentKept == 3 && stage.totals.value.residentLoaded == 0)
        stage.takeDown(link)
        stage.expectNoChildren()
    }

    @Test func aStoredPieceIsReadOnceForAllChildrenThatWantIt() throws {
        let stage = try stage()
        let task = try serving(stage)
        dropAll(stage)
        let links = (0..<3).map { _ in open(stage, task) }
        stage.holdsWorkers = true
        for link in links { want(stage, link, 2) }
        #expect(stage.exportCount == 0 && stage.interpreter.resident.count == 1)
        stage.holdsWorkers = false
        stage.settle()
        #expect(stage.exportCount == 3 && stage.exported.count == 3)
        for id in stage.exported.keys { #expect(stage.isExported(id, task, 2)) }
        want(stage, links[0], 0)
        stage.pass(200_000_000)
        #expect(stage.totals.value.residentLoaded == 2)
        for link in links { stage.takeDown(link) }
        stage.expectNoChildren()
        #expect(stage.interpreter.loading.isEmpty && stage.interpreter.residentExports.isEmpty)
    }

    @Test func aSlotIsNotTouchedBeforeItsExportIsRetired() throws {
        // Room for sixteen pieces, two of them ready.
        let stage = try stage(arenaBytes: 16 << 20)
        let task = try serving(stage, pieces: 2)
        stage.holdsRetirement = true
        let link = open(stage, task, pieces: 2)
        want(stage, link, 0)
        release(stage, link, 0)
        #expect(stage.revoked == [ExportID(1)])
        // Revoked, but somebody may still read it: whoever needs slots gets the others.
        var taken: [Slot] = []
        while let slot = stage.interpreter.takeSlot(lengthBytes: piece) { taken.append(slot) }
        #expect(taken.count == 15 && stage.isExported(ExportID(1), task, 0))
        stage.retire(ExportID(1))
        stage.settle()
        #expect(stage.interpreter.takeSlot(lengthBytes: piece).map { taken.append($0) } != nil)
        for slot in taken { stage.arena.give(back: slot) }
        #expect(stage.arena.usage.takenSlots == 0 && stage.interpreter.resident.isEmpty)
    }

    @Test func exportsWaitForMemoryInOrderAndAreBusyAfterAWhileOrBeyondTheBound() throws {
        let stage = try stage(arenaBytes: 16 << 20) { $0.exportsWaitingMax = 1 }
        let task = try serving(stage)
        dropAll(stage)
        var taken = (0..<16).map { _ in stage.arena.take(lengthBytes: piece)! }
        let link = open(stage, task)
        want(stage, link, 0)
        #expect(stage.interpreter.exportsWaiting.count == 1 && busy(stage) == 0)
        want(stage, link, 1)
        #expect(stage.interpreter.exportsWaiting.count == 1 && busy(stage) == 1)
        // A slot comes: the one that waits has it.
        stage.arena.give(back: taken.removeLast())
        stage.tell(.originEnded(LeaseID(77), nil))
        #expect(stage.interpreter.exportsWaiting.isEmpty && stage.isExported(ExportID(1), task, 0))
        // None comes: busy, and no word of a piece that is not there.
        want(stage, link, 1)
        stage.pass(2_000_000_000)
        #expect(stage.interpreter.exportsWaiting.isEmpty && busy(stage) == 2)
        #expect(!stage.toChildren.contains { if case .absent = $0.1 { true } else { false } })
        for slot in taken { stage.arena.give(back: slot) }
        stage.takeDown(link)
        stage.expectNoChildren()
    }

    @Test func whatLiesReadyMakesRoomForDownloadsAndOriginsAtOnce() throws {
        let stage = try stage(arenaBytes: 16 << 20) { $0.residentPercentMax = 100 }
        _ = try serving(stage, pieces: 17)
        #expect(stage.interpreter.resident.count == 16, "the arena is full of what lies ready")
        // By the origin.
        _ = try serving(stage, pieces: 20, mark: 5)
        // By a parent.
        let model = try stage.model("m", ["a": Stage.bytes(20 * piece, mark: 8)])
        let task = model.1.files[0].task
        stage.addParent("p")
        let (_, ends) = stage.start(model)
        stage.tell([stage.neighbourhood(of: model.0), .scheduler(.digests(task, stage.digests(of: task)))])
        #expect(stage.wait { ends.outcome != nil } && ends.outcome == .finished)
        #expect(stage.arena.usage.takenSlots == stage.interpreter.resident.count)
    }

    @Test func moreThanItsShareNeverLiesReady() throws {
        let stage = try stage(arenaBytes: 64 << 20) { $0.residentPercentMax = 25 }
        _ = try serving(stage, pieces: 20)
        #expect(stage.interpreter.resident.bytes <= 16 << 20 && stage.interpreter.resident.count == 16)
    }

    @Test func aForgottenTaskIsNotServedFromMemoryAnyMore() throws {
        let stage = try stage()
        let task = try serving(stage)
        let link = open(stage, task)
        want(stage, link, 0)
        stage.holdsRetirement = true
        // Evicted: what is read keeps its bytes, the rest is gone.
        stage.tell(.gone([task]))
        #expect(stage.interpreter.resident.find(task, PieceIndex(0)) == nil)
        #expect(stage.arena.usage.takenSlots == 1 && stage.isExported(ExportID(1), task, 0))
        #expect(stage.toChildren.last?.1 == .unknown(session: 1))
        stage.retire(ExportID(1))
        stage.settle()
        #expect(stage.arena.usage.takenSlots == 0)
    }

    @Test func aPieceThatCannotBeReadIsAbsent() throws {
        let stage = try stage()
        let task = try serving(stage)
        dropAll(stage)
        let link = open(stage, task)
        stage.holdsWorkers = true
        want(stage, link, 1)
        // Its job is taken away and answered as a worker with a broken disk would.
        _ = stage.workers.take()
        let number = try #require(stage.interpreter.loading.keys.first)
        stage.holdsWorkers = false
        stage.tell(.pieceLoaded(number, StorageError(.io, "the disk is broken")))
        #expect(stage.toChildren.last?.1 == .absent(session: 1, piece: PieceIndex(1)))
        #expect(stage.arena.usage.takenSlots == 0)
        stage.takeDown(link)
        stage.expectNoChildren()
    }

    @Test func aRailThatEndsAndAStopGiveEverySlotBack() throws {
        let stage = try stage()
        let task = try serving(stage)
        let link = open(stage, task)
        stage.holdsRetirement = true
        want(stage, link, 0)
        stage.tell(.stop(limitNs: 1_000_000_000))
        #expect(stage.arena.usage.takenSlots == 1 && !stage.interpreter.isDrained)
        stage.tell(rail: .linkDown(link, TransportError(.linkClosed, "over")), .shutDown)
        #expect(stage.arena.usage.takenSlots == 0 && stage.interpreter.isDrained)
    }

    @Test func aStoredFileIsReadWithItsOddEnd() throws {
        let stage = try stage()
        let task = try serving(stage)
        let source = try #require(stage.store.task(task)).use()
        defer { source.unuse() }
        #expect(stage.isPublished(task))
        let slot = try #require(stage.arena.take(lengthBytes: piece))
        defer { stage.arena.give(back: slot) }
        for index in UInt32(0)..<3 {
            let expected = bytes(stage, task, index)
            let range = ByteRange(offset: UInt64(Int(index) * piece), length: UInt64(expected.count))
            try source.read(range, into: stage.arena.bytes(of: slot))
            #expect(Array(stage.arena.bytes(of: slot)[..<expected.count]) == expected)
        }
        #expect(throws: StorageError.self) {
            try source.read(ByteRange(offset: UInt64(2 * piece), length: 6), into: stage.arena.bytes(of: slot))
        }
    }

    /// Children, downloads and evictions at random in an arena that is always too small.
    @Test(arguments: 1...4) func everythingIsServedRightAndNothingIsLeft(seed: UInt64) throws {
        let stage = try stage(arenaBytes: 32 << 20, seed: seed) {
            $0.residentPercentMax = 50
            $0.exportsWaitingMax = 3
        }
        stage.addParent("p")
        let tasks = try (1...3).map { try serving(stage, pieces: 4, mark: UInt8($0)) }
        var links: [LinkID] = []
        var mark: UInt8 = 10
        for _ in 0..<120 {
            switch Int.random(in: 0..<10, using: &stage.random) {
            case 0: links.append(open(stage, tasks.randomElement(using: &stage.random)!, pieces: 4))
            case 1: if let link = links.randomElement(using: &stage.random) { stage.takeDown(link) }
            case 2...5: if let link = links.last { want(stage, link, UInt32.random(in: 0..<4, using: &stage.random)) }
            case 6: if let link = links.last { release(stage, link, UInt32.random(in: 0..<4, using: &stage.random)) }
            case 7: stage.holdsRetirement.toggle()
            case 8: stage.holdsWorkers.toggle()
            default:
                mark += 1
                let model = try stage.model("n\(mark)", ["a": Stage.bytes(2 * piece, mark: mark)])
                _ = stage.start(model)
                let task = model.1.files[0].task
                stage.tell([stage.neighbourhood(of: model.0), .scheduler(.digests(task, stage.digests(of: task)))])
            }
            for id in stage.exported.keys {
                #expect(tasks.contains { task in (0..<4).contains { stage.isExported(id, task, $0) } })
            }
            stage.pass(UInt64.random(in: 0..<300_000_000, using: &stage.random))
        }
        stage.holdsWorkers = false
        stage.holdsRetirement = false
        for id in Array(stage.exported.keys) where stage.revoked.contains(id) { stage.retire(id) }
        for link in links { stage.takeDown(link) }
        stage.wait { stage.interpreter.downloads.isEmpty && stage.interpreter.exportsWaiting.isEmpty }
        stage.expectNoChildren()
        #expect(stage.interpreter.residentExports.isEmpty && stage.interpreter.loading.isEmpty)
        #expect(stage.arena.usage.takenSlots == stage.interpreter.resident.count)
        dropAll(stage)
        #expect(stage.arena.usage.takenSlots == 0)
    }
}
