import Artifacts
import Rails
import Swarm
import Testing
import Transport

@testable import Engine

private let piece = 1 << 20
private let second: UInt64 = 1_000_000_000

/// One model read over several rails of one kind at the same time.
@Suite struct LaneTests {
    private func begin(_ stage: Stage, pieces: Int) throws -> (task: TaskID, ends: Ends, model: ModelID) {
        let model = try stage.model("m", ["a": Stage.bytes(pieces * piece, mark: 8)])
        let task = model.1.files[0].task
        let (_, ends) = stage.start(model)
        stage.tell([stage.neighbourhood(of: model.0), .scheduler(.digests(task, stage.digests(of: task)))])
        return (task, ends, model.0)
    }

    @Test func everyRailHasALinkOfItsOwnAndReads() throws {
        let stage = try Stage(kinds: [.rdma, .rdma, .tcp])
        let parent = stage.addParent("p") { $0.holdsReads = true }
        let (task, ends, _) = try begin(stage, pieces: 9)
        #expect(parent.dials == [.rdma, .rdma])
        #expect(parent.heldReads.count == 8 && Set(parent.heldReads.map(\.link)).count == 2)
        #expect(Set(stage.links(to: parent, over: .rdma).map { stage.rail(of: $0) }) == [0, 1])
        parent.holdsReads = false
        parent.serveHeld(stage, keeping: 0)
        #expect(stage.wait { ends.outcome != nil } && ends.outcome == .finished && stage.isPublished(task))
        #expect(parent.readsServed == 9 && ends.all[0].traffic.byHost.count == 1)
        stage.expectNothingLeft()
    }

    @Test func aRailThatFailsLosesItsOwnLinksOnly() throws {
        let stage = try Stage(kinds: [.rdma, .rdma, .tcp])
        let parent = stage.addParent("p") { $0.holdsReads = true }
        let (_, ends, _) = try begin(stage, pieces: 12)
        let links = stage.links(to: parent, over: .rdma)
        let lost = try #require(links.first { stage.rail(of: $0) == 1 })
        stage.takeDown(lost)
        #expect(stage.links(to: parent, over: .tcp).isEmpty, "the other rail goes on; TCP is not needed")
        #expect(parent.heldReads.contains { $0.link != lost })
        parent.holdsReads = false
        parent.serveHeld(stage, keeping: 0)
        #expect(stage.wait { ends.outcome != nil } && ends.outcome == .finished)
        #expect(ends.all[0].traffic.byTransport.keys.map { $0 } == [.rdma])
        stage.expectNothingLeft()
    }

    @Test func withoutAnyRDMATheHostIsReadOverOneLinkByTCP() throws {
        let stage = try Stage(kinds: [.rdma, .rdma, .tcp])
        let parent = stage.addParent("p") { $0.deadKinds = [.rdma] }
        let (_, ends, _) = try begin(stage, pieces: 3)
        #expect(stage.wait { ends.outcome != nil } && ends.outcome == .finished)
        #expect(parent.dials == [.tcp] && ends.all[0].traffic.byTransport.keys.map { $0 } == [.tcp])
        stage.expectNothingLeft()
    }

    @Test func aHostThatSendsWrongBytesIsLeftOnAllItsLinksAndBlamedOnce() throws {
        let stage = try Stage(kinds: [.rdma, .rdma])
        let liar = stage.addParent("liar") { $0.isCorrupt = true }
        liar.readsHeldAfter = 1
        let (task, ends, model) = try begin(stage, pieces: 6)
        #expect(liar.readsServed == 1 && stage.link(to: liar) == nil && stage.closed.count == 2)
        #expect(stage.said { if case .blame(HostID("liar")!, task, _) = $0 { true } else { false } } == 1)
        stage.tell(stage.neighbourhood(of: model))
        stage.pass(60 * second)
        #expect(stage.link(to: liar) == nil && liar.dials.count == 2, "it is not dialled again")
        stage.addParent("honest")
        stage.tell(stage.neighbourhood(of: model))
        #expect(stage.wait { ends.outcome != nil } && ends.outcome == .finished && liar.readsServed == 1)
        stage.expectNothingLeft()
    }
}
