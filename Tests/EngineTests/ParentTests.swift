import Artifacts
import Digests
import Memory
import Rails
import Swarm
import Testing
import Transport

@testable import Engine

private let piece = 1 << 20

/// Pieces from parents, good and bad.
@Suite struct ParentTests {
    /// A download of one file that everybody but us has.
    private func begin(_ stage: Stage, sizeBytes: Int) throws -> (task: TaskID, ends: Ends, ticket: DownloadTicket) {
        let model = try stage.model("m", ["a": Stage.bytes(sizeBytes, mark: 8)])
        let task = model.1.files[0].task
        let (ticket, ends) = stage.start(model)
        stage.tell([stage.neighbourhood(of: model.0), .scheduler(.digests(task, stage.digests(of: task)))])
        return (task, ends, ticket)
    }

    @Test func piecesOfParentsAreVerifiedKeptAndReleased() throws {
        let stage = try Stage()
        let parents = ["p", "q"].map { stage.addParent($0) }
        let (task, ends, _) = try begin(stage, sizeBytes: 5 * piece + 77)
        #expect(stage.wait { ends.outcome != nil })
        #expect(ends.outcome == .finished && stage.isPublished(task))
        #expect(ends.all.first?.traffic.peerBytes == UInt64(5 * piece + 77))
        #expect(ends.all.first?.traffic.byTransport == [.simulated: UInt64(5 * piece + 77)])
        #expect(parents.reduce(0) { $0 + $1.readsServed } == 6)
        #expect(parents.reduce(0) { $0 + $1.releases } >= 6)
        // Digests come from origin readers only.
        #expect(stage.said { if case .kept(task, _, nil) = $0 { true } else { false } } == 6)
        stage.expectNothingLeft()
    }

    @Test func wrongBytesAreNeverStoredAndTheirSenderIsBlamedAndLeft() throws {
        let stage = try Stage()
        let liar = stage.addParent("liar") { $0.isCorrupt = true }
        let (task, ends, _) = try begin(stage, sizeBytes: 3 * piece)
        #expect(stage.said { if case .blame(HostID("liar")!, task, _) = $0 { true } else { false } } == 1)
        #expect(stage.store.task(task)?.held.isEmpty == true)
        #expect(stage.link(to: liar) == nil && stage.closed.count == 1)
        #expect(ends.all.isEmpty)
        // An honest one is named besides: the liar is not asked again.
        let served = liar.readsServed
        let honest = stage.addParent("honest")
        stage.tell(stage.neighbourhood(of: stage.interpreter.attachment().downloads[0].model))
        #expect(stage.wait { ends.outcome != nil })
        #expect(ends.outcome == .finished && stage.isPublished(task))
        #expect(honest.readsServed == 3 && liar.readsServed == served)
        #expect(ends.all.first?.traffic.byHost.keys.map { $0.name } == ["honest"])
        stage.expectNothingLeft()
    }

    @Test func aSlotIsFreeOnlyOnceItsReadHasCompleted() throws {
        let stage = try Stage()
        let parent = stage.addParent("p") {
            $0.holdsReads = true
            $0.ignoresClose = true
        }
        let (_, ends, ticket) = try begin(stage, sizeBytes: piece)
        #expect(parent.heldReads.count == 1 && stage.arena.usage.takenSlots == 1)
        // The read's time is over: its link is closed, but the memory is the far side's until the rail says otherwise.
        #expect(stage.wait { !stage.closed.isEmpty })
        #expect(stage.arena.usage.takenSlots == 1)
        stage.interpreter.abandon(ticket)
        stage.tell([])
        stage.pass(60_000_000_000)
        #expect(stage.arena.usage.takenSlots == 1 && ends.outcome == .cancelled)
        stage.takeDown(stage.link(to: parent)!)
        stage.expectNothingLeft()
    }

    @Test func aLinkThatGoesDownIsDialledAgain() throws {
        let stage = try Stage()
        let parent = stage.addParent("p") { $0.holdsReads = true }
        let (task, ends, _) = try begin(stage, sizeBytes: 2 * piece)
        #expect(parent.heldReads.count == 2)
        stage.takeDown(stage.link(to: parent)!)
        #expect(stage.arena.usage.takenSlots == 0)
        parent.holdsReads = false
        #expect(stage.wait { ends.outcome != nil })
        #expect(ends.outcome == .finished && stage.isPublished(task))
        stage.expectNothingLeft()
    }

    @Test func deadAndSilentParentsHoldNothingUp() throws {
        let stage = try Stage()
        stage.addParent("dead") { $0.isDead = true }
        stage.addParent("silent") { $0.isSilent = true }
        let (_, ends, _) = try begin(stage, sizeBytes: 2 * piece)
        stage.pass(120_000_000_000)
        #expect(ends.all.isEmpty)
        stage.addParent("good")
        stage.tell(stage.neighbourhood(of: stage.interpreter.attachment().downloads[0].model))
        #expect(stage.wait { ends.outcome != nil })
        #expect(ends.outcome == .finished)
        stage.expectNothingLeft()
    }

    @Test func aGrantWaitsForASlotAndStartsWhenOneIsFree() throws {
        let stage = try Stage()
        let parent = stage.addParent("p")
        // Somebody else has every slot.
        var taken: [Slot] = []
        while let slot = stage.arena.take(lengthBytes: piece) { taken.append(slot) }
        let (task, ends, _) = try begin(stage, sizeBytes: piece)
        #expect(stage.interpreter.readsWaiting.count == 1 && parent.readsServed == 0)
        // The origin's reader gives one back unfilled, which the engine hears of with the end of its fetch.
        stage.arena.give(back: taken.removeLast())
        stage.tell(.originEnded(LeaseID(9), nil))
        #expect(parent.readsServed == 1 && ends.outcome == .finished && stage.isPublished(task))
        for slot in taken { stage.arena.give(back: slot) }
        stage.expectNothingLeft()
    }

    @Test func aWaitingReadEndsWithItsLinkOrItsDownload() throws {
        let stage = try Stage()
        let parent = stage.addParent("p")
        var taken: [Slot] = []
        while let slot = stage.arena.take(lengthBytes: piece) { taken.append(slot) }
        let (_, _, ticket) = try begin(stage, sizeBytes: piece)
        #expect(stage.interpreter.readsWaiting.count == 1)
        stage.takeDown(stage.link(to: parent)!)
        #expect(stage.interpreter.readsWaiting.isEmpty && stage.interpreter.grants.isEmpty)
        #expect(stage.wait { !stage.interpreter.readsWaiting.isEmpty })
        stage.interpreter.abandon(ticket)
        stage.tell([])
        // It waits for the read's limit at most, then for the link.
        #expect(stage.wait { stage.interpreter.downloads.isEmpty })
        for slot in taken { stage.arena.give(back: slot) }
        stage.expectNothingLeft()
    }

    @Test func grantsNobodyAskedForAreNotKept() throws {
        let stage = try Stage()
        let parent = stage.addParent("p") { $0.isSilent = true }
        let (_, _, ticket) = try begin(stage, sizeBytes: 2 * piece)
        let link = stage.link(to: parent)!
        for number in 0..<1000 {
            let grant = PeerMessage.grant(
                session: 1, piece: PieceIndex(number % 2), key: Stage.key(UInt64(number)),
                lengthBytes: UInt32(piece), leaseMs: 30_000)
            stage.tell(rail: .message(link, grant))
        }
        #expect(stage.interpreter.grants.count <= 2)
        stage.interpreter.abandon(ticket)
        stage.tell([])
        stage.wait { stage.interpreter.downloads.isEmpty }
        stage.expectNothingLeft()
    }

    @Test func anIdleLinkIsClosedAfterAWhile() throws {
        let stage = try Stage()
        let parent = stage.addParent("p")
        let (_, ends, _) = try begin(stage, sizeBytes: 10)
        #expect(ends.outcome == .finished)
        #expect(stage.link(to: parent) != nil)
        stage.pass(59_000_000_000)
        #expect(stage.link(to: parent) != nil)
        stage.pass(2_000_000_000)
        #expect(stage.link(to: parent) == nil)
        #expect(stage.interpreter.links.isEmpty && stage.interpreter.linkNumbers.isEmpty)
        #expect(stage.interpreter.dials.isEmpty && stage.interpreter.idlePeers.isEmpty)
    }

    @Test func aRailThatIsFullGetsItsCommandsLaterAndInBatches() throws {
        let stage = try Stage()
        stage.addParent("p")
        stage.rail.isFull = true
        let (_, ends, _) = try begin(stage, sizeBytes: piece)
        #expect(stage.rail.batchSizes.isEmpty)
        // Far more than a batch waits by then.
        for number in 0..<10_000 { stage.interpreter.command(.revoke(ExportID(UInt64(1_000_000 + number))), on: 0) }
        stage.tell([])
        stage.rail.isFull = false
        #expect(stage.wait { ends.outcome != nil })
        #expect(ends.outcome == .finished)
        #expect(stage.rail.batchSizes.max()! <= 4096)
        stage.expectNothingLeft()
    }

    @Test func aRailThatEndedRefusesAndNothingHangs() throws {
        let stage = try Stage()
        let parent = stage.addParent("p") { $0.holdsReads = true }
        let (_, ends, ticket) = try begin(stage, sizeBytes: 2 * piece)
        let link = stage.link(to: parent)!
        stage.rail.isFull = true
        stage.takeDown(link)
        stage.tell(rail: .shutDown)
        stage.pass(10_000_000_000)
        #expect(ends.all.isEmpty && stage.arena.usage.takenSlots == 0)
        stage.interpreter.abandon(ticket)
        stage.tell([])
        #expect(ends.outcome == .cancelled)
        stage.expectNothingLeft()
    }

    @Test func aHostThatAnswersUnderAnotherNameIsNotRead() throws {
        let stage = try Stage()
        let impostor = stage.addParent("impostor")
        stage.parents["p"] = impostor
        stage.parents["impostor"] = nil
        let (task, ends, ticket) = try begin(stage, sizeBytes: piece)
        stage.pass(30_000_000_000)
        #expect(impostor.readsServed == 0 && ends.all.isEmpty)
        #expect(stage.store.task(task)?.held.isEmpty == true)
        stage.interpreter.abandon(ticket)
        stage.tell([])
        stage.expectNothingLeft()
    }
}
