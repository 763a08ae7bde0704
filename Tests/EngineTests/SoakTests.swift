import Artifacts
import Rails
import Storage
import Swarm
import Testing
import Transport

@testable import Engine

private let piece = 1 << 20

/// Everything at once, from a seed: whatever happens on the way, the model comes and nothing is left.
///
/// The seeds named one by one once found a lease that ended before its download had opened its files.
@Suite struct SoakTests {
    @Test(arguments: Array(1...8) + [30, 31, 38, 46, 71]) func aModelComesThroughFaultsOfEveryKind(seed: UInt64) throws
    {
        // Four slots of a piece for everything: somebody always waits for one.
        let stage = try Stage(seed: seed, arenaBytes: 16 << 20)
        let model = try stage.model(
            "m",
            [
                "a": Stage.bytes(5 * piece + 3, mark: 1), "b": Stage.bytes(2 * piece, mark: 2),
                "c": Stage.bytes(17, mark: 3), "d": Stage.bytes(17, mark: 3), "e": [],
            ])
        let other = try stage.model("n", ["b": Stage.bytes(2 * piece, mark: 2), "x": Stage.bytes(99, mark: 4)])
        let tasks = model.1.files.map { $0.task }
        for name in ["p0", "p1", "p2", "p3"] { stage.addParent(name) }
        var lease: UInt64 = 0
        var children: [LinkID] = []
        var (ticket, ends) = stage.start(model)
        var (otherTicket, otherEnds) = stage.start(other)
        for _ in 0..<150 {
            let parent = stage.parents["p\(Int.random(in: 0..<3, using: &stage.random))"]!
            let task = tasks.randomElement(using: &stage.random)!
            switch Int.random(in: 0..<16, using: &stage.random) {
            case 0: parent.isDead.toggle()
            case 1: parent.isSilent.toggle()
            case 2: parent.holdsReads.toggle()
            case 3: parent.isCorrupt = stage.random.next() % 4 == 0
            case 4: if let link = stage.link(to: parent) { stage.takeDown(link) }
            case 5: stage.tell(stage.neighbourhood(of: model.0))
            case 6: stage.tell(stage.neighbourhood(of: other.0))
            case 7: stage.tell(.scheduler(.digests(task, stage.digests(of: task))))
            case 8:
                lease += 1
                stage.tell(stage.lease(lease, [model.0, other.0].randomElement(using: &stage.random)!, task))
            case 9: stage.tell(.scheduler(.leaseEnded(LeaseID(UInt64.random(in: 0...lease, using: &stage.random)))))
            case 10: stage.originServes.toggle()
            case 11: stage.holdsWorkers.toggle()
            case 12:
                stage.interpreter.abandon(ticket)
                (ticket, ends) = stage.start(model)
            case 13:
                stage.interpreter.abandon(otherTicket)
                (otherTicket, otherEnds) = stage.start(other)
            case 14:
                let child = stage.childLink("child\(children.count)")
                children.append(child)
                stage.tell(rail: .message(child, .open(session: 1, task: task, pieceCount: 2)))
                stage.tell(rail: .message(child, .want(session: 1, piece: PieceIndex(0))))
            default: stage.tell(.scheduler(.digestsWithdrawn(task)))
            }
            stage.pass(UInt64.random(in: 0..<500_000_000, using: &stage.random))
        }
        // The weather clears. One parent never lied.
        stage.holdsWorkers = false
        stage.originServes = true
        for parent in stage.parents.values {
            (parent.isDead, parent.isSilent, parent.holdsReads, parent.isCorrupt) = (false, false, false, false)
            if let link = stage.link(to: parent) { stage.takeDown(link) }
        }
        for _ in 0..<20 where ends.outcome == nil || otherEnds.outcome == nil {
            for (id, manifest) in [model, other] {
                stage.tell(stage.neighbourhood(of: id))
                for file in manifest.files {
                    stage.tell(.scheduler(.digests(file.task, stage.digests(of: file.task))))
                }
            }
            stage.wait(limitNs: 60_000_000_000) { ends.outcome != nil && otherEnds.outcome != nil }
        }
        #expect(ends.outcome == .finished, "\(String(describing: ends.outcome))")
        #expect(otherEnds.outcome == .finished, "\(String(describing: otherEnds.outcome))")
        for task in tasks { #expect(stage.isPublished(task)) }
        for child in children { stage.takeDown(child) }
        stage.wait { stage.interpreter.downloads.isEmpty }
        stage.expectNoChildren()
        stage.expectNothingLeft()
    }
}
