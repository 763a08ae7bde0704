import Artifacts
import Rails
import Swarm
import Testing
import Transport

@testable import Engine

private let piece = 1 << 20
private let second: UInt64 = 1_000_000_000

/// Reads that move from one transport to another, and back.
@Suite struct FallbackTests {
    private func stage(_ change: (inout EngineConfiguration) -> Void = { _ in }) throws -> Stage {
        try Stage(kinds: [.rdma, .tcp], change)
    }

    private func begin(_ stage: Stage, pieces: Int) throws -> (task: TaskID, ends: Ends, model: ModelID) {
        let model = try stage.model("m", ["a": Stage.bytes(pieces * piece, mark: 8)])
        let task = model.1.files[0].task
        let (_, ends) = stage.start(model)
        stage.tell([stage.neighbourhood(of: model.0), .scheduler(.digests(task, stage.digests(of: task)))])
        return (task, ends, model.0)
    }

    private func changes(_ stage: Stage, _ from: TransportKind, _ to: TransportKind) -> UInt64 {
        stage.pass(200_000_000)
        return stage.totals.value.transportChanges[TransportChange(from: from, to: to)] ?? 0
    }

    @Test func aLinkThatFailsIsReplacedAtOnceByTheNextTransportAndWhatWasVerifiedStays() throws {
        let stage = try stage()
        let parent = stage.addParent("p")
        parent.readsHeldAfter = 3
        let (task, ends, _) = try begin(stage, pieces: 8)
        #expect(parent.dials == [.rdma] && parent.readsServed == 3)
        let held = stage.store.task(task)!.held
        #expect(held.members.count == 3)
        // Dead for RDMA from here on.
        parent.deadKinds = [.rdma]
        parent.readsHeldAfter = nil
        let atNs = stage.nowNs
        stage.takeDown(stage.links(to: parent, over: .rdma)[0])
        #expect(stage.nowNs == atNs && parent.dials == [.rdma, .tcp], "no time passes before the next way is taken")
        #expect(stage.wait(limitNs: second) { ends.outcome != nil })
        #expect(ends.outcome == .finished && parent.readsServed == 8, "nothing is read twice")
        let traffic = ends.all[0].traffic
        #expect(traffic.byTransport == [.rdma: UInt64(3 * piece), .tcp: UInt64(5 * piece)])
        let fallback = traffic.fallbacks[TransportChange(from: .rdma, to: .tcp)]
        #expect(fallback?.bytes == UInt64(5 * piece) && fallback?.why == "taken down by the test")
        #expect(stage.lines.all.filter { $0.hasPrefix("reads from p: rdma → tcp: taken down") }.count == 1)
        #expect(changes(stage, .rdma, .tcp) == 1)
        stage.expectNothingLeft()
    }

    @Test func whereTheBestTransportDoesNotAnswerTheNextIsTakenWithoutWaiting() throws {
        let stage = try stage()
        let parent = stage.addParent("p") { $0.deadKinds = [.rdma] }
        let atNs = stage.nowNs
        let (_, ends, _) = try begin(stage, pieces: 2)
        #expect(ends.outcome == .finished && stage.nowNs == atNs)
        #expect(parent.dials == [.tcp])
        #expect(stage.lines.all.contains { $0 == "reads from p: rdma → tcp: nobody listens there" })
        stage.expectNothingLeft()
    }

    @Test func readsComeBackToTheBetterTransportWhileThoseUnderWayEnd() throws {
        let stage = try stage()
        let parent = stage.addParent("p") { $0.deadKinds = [.rdma] }
        parent.holdsReads = true
        let (_, ends, _) = try begin(stage, pieces: 12)
        let old = stage.links(to: parent, over: .tcp)[0]
        #expect(parent.heldReads.count == 4 && parent.heldReads.allSatisfy { $0.link == old })
        // A first probe still fails, the one after it does not.
        stage.pass(second)
        #expect(parent.dials == [.tcp] && stage.links(to: parent, over: .rdma).isEmpty)
        parent.deadKinds = []
        stage.pass(2 * second)
        #expect(parent.dials == [.tcp, .rdma])
        let new = try #require(stage.links(to: parent, over: .rdma).first)
        // The old link's reads go on; nothing was thrown away or asked twice.
        #expect(parent.heldReads.count == 4 && stage.links(to: parent, over: .tcp) == [old])
        parent.serveHeld(stage, keeping: 1)
        #expect(parent.heldReads.filter { $0.link == new }.count == 3, "new reads go over the new link")
        #expect(stage.links(to: parent, over: .tcp) == [old])
        parent.holdsReads = false
        parent.serveHeld(stage, keeping: 0)
        #expect(stage.wait { ends.outcome != nil } && ends.outcome == .finished)
        #expect(stage.links(to: parent, over: .tcp).isEmpty, "the old link is closed once nothing runs on it")
        #expect(parent.readsServed == 12)
        #expect(stage.lines.all.contains { $0 == "reads from p: tcp → rdma: it answers again" })
        #expect(changes(stage, .tcp, .rdma) == 1)
        stage.expectNothingLeft()
    }

    @Test func anOldLinkThatNeverEndsItsReadsIsClosedInTime() throws {
        let stage = try stage { $0.drainLimitNs = 2 * second }
        let parent = stage.addParent("p") { $0.deadKinds = [.rdma] }
        parent.holdsReads = true
        let (_, ends, _) = try begin(stage, pieces: 3)
        parent.deadKinds = []
        stage.pass(second)
        #expect(parent.dials == [.tcp, .rdma] && parent.heldReads.count == 3)
        parent.holdsReads = false
        stage.pass(3 * second)
        #expect(ends.outcome == .finished && stage.links(to: parent, over: .tcp).isEmpty)
        stage.expectNothingLeft()
    }

    @Test func aBetterWayThatBreaksWhileTheOldOneDrainsCostsNothingButTheReadsUnderWay() throws {
        let stage = try stage()
        let parent = stage.addParent("p") { $0.deadKinds = [.rdma] }
        parent.holdsReads = true
        let (_, ends, _) = try begin(stage, pieces: 6)
        parent.deadKinds = []
        stage.pass(second)
        let new = try #require(stage.links(to: parent, over: .rdma).first)
        parent.deadKinds = [.rdma]
        parent.holdsReads = false
        stage.takeDown(new)
        #expect(stage.wait(limitNs: 5 * second) { ends.outcome != nil } && ends.outcome == .finished)
        #expect(parent.dials.last == .tcp)
        stage.expectNothingLeft()
    }

    @Test func theLinkInUseThatBreaksWhileABetterOneComesUpWaitsForThat() throws {
        let stage = try stage()
        let parent = stage.addParent("p") { $0.deadKinds = [.rdma] }
        parent.holdsReads = true
        let (_, ends, _) = try begin(stage, pieces: 2)
        parent.deadKinds = []
        stage.holdsDials = true
        stage.pass(second)
        stage.takeDown(stage.links(to: parent, over: .tcp)[0])
        parent.holdsReads = false
        stage.holdsDials = false
        stage.answerDials()
        #expect(stage.wait(limitNs: second) { ends.outcome != nil } && ends.outcome == .finished)
        #expect(parent.dials == [.tcp, .rdma])
        stage.expectNothingLeft()
    }

    @Test func aTransportWhoseReadsStandStillIsLeftForTheOther() throws {
        let stage = try stage { $0.download.readTimeoutNs = 3 * second }
        let parent = stage.addParent("p") { $0.stuckKinds = [.rdma] }
        let (_, ends, _) = try begin(stage, pieces: 3)
        #expect(parent.heldReads.count == 3)
        #expect(stage.wait(limitNs: 4 * second) { ends.outcome != nil } && ends.outcome == .finished)
        #expect(ends.all[0].traffic.byTransport.keys.sorted { $0.rawValue < $1.rawValue } == [.tcp])
        #expect(stage.lines.all.contains { $0.hasPrefix("reads from p: rdma → tcp: reading") })
        stage.expectNothingLeft()
    }

    @Test func wrongBytesAreThePeersDoingAndNoTransportIsBlamedForThem() throws {
        let stage = try stage()
        let liar = stage.addParent("liar") { $0.isCorrupt = true }
        _ = try begin(stage, pieces: 2)
        #expect(liar.dials == [.rdma])
        stage.pass(30 * second)
        #expect(liar.dials == [.rdma] && stage.link(to: liar) == nil)
    }

    @Test func aTransportAnnouncedLaterIsTaken() throws {
        let stage = try stage()
        let parent = stage.addParent("p") { $0.hiddenKinds = [.rdma] }
        parent.holdsReads = true
        let (_, ends, model) = try begin(stage, pieces: 6)
        #expect(parent.dials == [.tcp])
        parent.hiddenKinds = []
        stage.tell(stage.neighbourhood(of: model))
        #expect(parent.dials == [.tcp, .rdma])
        parent.holdsReads = false
        parent.serveHeld(stage, keeping: 0)
        #expect(stage.wait { ends.outcome != nil } && ends.all[0].traffic.byTransport[.rdma] != nil)
        #expect(ends.all[0].traffic.fallbacks.isEmpty)
        stage.expectNothingLeft()
    }

    /// Transports come and go at random while models are brought; everything comes, nothing is left.
    @Test(arguments: 1...12) func transportsComeAndGo(seed: UInt64) throws {
        let stage = try Stage(seed: seed, arenaBytes: 16 << 20, kinds: [.rdma, .tcp])
        let model = try stage.model(
            "m", ["a": Stage.bytes(9 * piece + 3, mark: 1), "b": Stage.bytes(2 * piece, mark: 2)])
        for name in ["p0", "p1", "p2"] { stage.addParent(name) }
        let (_, ends) = stage.start(model)
        let news = model.1.files.map { EngineEvent.scheduler(.digests($0.task, stage.digests(of: $0.task))) }
        stage.tell([stage.neighbourhood(of: model.0)] + news)
        for _ in 0..<120 where ends.outcome == nil {
            let parent = stage.parents["p\(Int.random(in: 0..<3, using: &stage.random))"]!
            let kind: TransportKind = stage.random.next() % 2 == 0 ? .rdma : .tcp
            switch Int.random(in: 0..<10, using: &stage.random) {
            case 0...1: parent.deadKinds.formSymmetricDifference([kind])
            case 2: parent.hiddenKinds.formSymmetricDifference([kind])
            case 3...4: if let link = stage.links(to: parent, over: kind).first { stage.takeDown(link) }
            case 5: parent.holdsReads.toggle()
            case 6: parent.serveHeld(stage, keeping: 1)
            case 7: parent.isSilent.toggle()
            case 8: stage.holdsDials.toggle()
            default: stage.tell(stage.neighbourhood(of: model.0))
            }
            if !stage.holdsDials { stage.answerDials() }
            stage.pass(UInt64.random(in: 0..<second, using: &stage.random))
        }
        stage.holdsDials = false
        for parent in stage.parents.values {
            (parent.deadKinds, parent.hiddenKinds, parent.holdsReads, parent.isSilent) = ([], [], false, false)
        }
        stage.answerDials()
        for parent in stage.parents.values { parent.serveHeld(stage, keeping: 0) }
        stage.tell([stage.neighbourhood(of: model.0)] + news)
        #expect(stage.wait { ends.outcome != nil } && ends.outcome == .finished)
        stage.wait { stage.interpreter.downloads.isEmpty }
        stage.expectNothingLeft()
        // With nobody reading, every link ends, and nothing is tried any more.
        stage.pass(200 * second)
        #expect(stage.interpreter.links.isEmpty && stage.interpreter.dials.isEmpty)
        #expect(stage.interpreter.climbing.isEmpty && stage.interpreter.drainingLinks.isEmpty)
    }
}
