import Artifacts
import Foundation
import Testing
import Transport
import TransportVerbs
import Verbs
import VerbsDouble

extension VerbsScripts {
    /// Memory of posted reads is the device's until it has given them back, or is known to be done.
    @Suite struct Draining {
        static let leases: [VerbsConfiguration.Lease] = [.window, .region]

        @Test(arguments: leases)
        func nothingIsReportedBeforeTheDeviceIsDone(_ lease: VerbsConfiguration.Lease) throws {
            try Script.run(lease: lease) { script in
                let (bench, child, double) = (script.bench, script.child, script.double)
                let before = script.open
                let link = try bench.link(child, script.parent)
                let export = try script.parent.exportMemory(0, 1 << 20, to: link.parent)
                let mine = try child.exportMemory(0, 4096, to: link.child)
                #expect(script.awaitQuiet())
                let start = child.seen.events.count
                double.hold("double0")
                for tag in 0..<4 {
                    child.post(link.child, export.key, local: (tag + 1) << 20, length: 1 << 20, tag: UInt64(tag))
                }
                for _ in 0..<5 { bench.turn() }
                // Some bytes land, and nobody is told yet.
                double.release("double0", countMax: 3)
                child.transport.close(link.child)
                bench.settle()
                #expect(child.seen.events.count == start)
                #expect(double.heldCount("double0") > 0)
                double.release("double0")
                #expect(bench.pump { child.seen.down(link.child) != nil })
                let end = child.seen.events[start...]
                #expect(end.count == 6)
                #expect(
                    end.prefix(4).allSatisfy { event in
                        (0..<4).contains { event == .read(link.child, UInt64($0), .linkClosed) }
                    })
                #expect(Array(end.suffix(2)) == [.retired(mine.id), .down(link.child, .linkClosed)])
                #expect(double.census("double0").forgotten == 0)
                #expect(script.verbs(child).requestsOutstandingCount == 0)
                #expect(bench.pump { script.parent.seen.down(link.parent) != nil })
                #expect(script.awaitOpen(before))
            }
        }

        @Test(arguments: [VerbsDouble.Order.asMade, .reversed, .interleaved])
        func flushesMayComeInAnyOrderAcrossQueuePairs(_ order: VerbsDouble.Order) throws {
            try Script.run(adjust: { $0.lanes = 4 }) { script in
                let (bench, child, double) = (script.bench, script.child, script.double)
                let link = try bench.link(child, script.parent)
                let exports = try (0..<3).map { try script.parent.exportMemory($0 << 20, 1 << 20, to: link.parent) }
                #expect(script.awaitQuiet())
                let start = child.seen.events.count
                double.hold("double0")
                // Keys of windows lead to one lane, those of regions to all: both are mixed by their lengths.
                for (tag, export) in exports.enumerated() {
                    child.post(link.child, export.key, local: tag << 20, length: 1 << 20, tag: UInt64(tag))
                }
                for _ in 0..<5 { bench.turn() }
                child.transport.close(link.child)
                while double.heldCount("double0") > 0 {
                    #expect(child.seen.down(link.child) == nil)
                    double.release("double0", countMax: 1, order: order)
                    bench.turn()
                }
                #expect(bench.pump { child.seen.down(link.child) != nil })
                let end = child.seen.events[start...]
                #expect(end.count == 4)
                #expect(end.last == .down(link.child, .linkClosed))
                for tag in 0..<3 { #expect(child.seen.read(UInt64(tag)) == .some(.linkClosed)) }
                #expect(script.verbs(child).requestsOutstandingCount == 0)
                #expect(double.census("double0").forgotten == 0)
                double.release("double0")
            }
        }

        /// Two reads of 1 MiB are 32 requests; by windows they are on one lane, by regions on two.
        @Test(arguments: leases, Array(0..<5))
        func aPartlyTakenPostingEndsTheLinkAndLeaksNothing(_ lease: VerbsConfiguration.Lease, _ taken: Int) throws {
            for errorNumber in [ENOMEM, EINVAL] {
                try Script.run(lease: lease) { script in
                    let (bench, child, double) = (script.bench, script.child, script.double)
                    let before = script.open
                    let link = try bench.link(child, script.parent)
                    let export = try script.parent.exportMemory(0, 1 << 20, to: link.parent)
                    #expect(script.awaitQuiet())
                    double.failPosting(on: "double0", taken: taken, errorNumber: errorNumber)
                    for tag in 0..<2 {
                        child.post(link.child, export.key, local: tag << 20, length: 1 << 20, tag: UInt64(tag))
                    }
                    #expect(bench.pump { child.seen.down(link.child) != nil })
                    #expect(child.seen.events.last == .down(link.child, .system))
                    for tag in 0..<2 {
                        let end = child.seen.read(UInt64(tag))
                        #expect(end == .some(.linkClosed) || end == .some(nil))
                        guard end == .some(nil) else { continue }
                        let isRight = isSame(
                            child.contents((tag << 20)..<((tag + 1) << 20)), script.parent.contents(0..<(1 << 20)))
                        #expect(isRight)
                    }
                    #expect((0..<2).contains { child.seen.read(UInt64($0)) == .some(.linkClosed) })
                    #expect(script.verbs(child).requestsOutstandingCount == 0)
                    #expect(double.census("double0").forgotten == 0)
                    #expect(bench.pump { script.parent.seen.down(link.parent) != nil })
                    #expect(script.awaitOpen(before))
                    try script.checkReading(try bench.link(child, script.parent), tag: 9)
                }
            }
        }

        @Test(arguments: leases)
        func aStuckQueuePairIsDestroyedForItsReads(_ lease: VerbsConfiguration.Lease) throws {
            try Script.run(lease: lease, adjust: { $0.drainLimitNs = 30_000_000 }) { script in
                let (bench, child, double) = (script.bench, script.child, script.double)
                let other = try bench.link(child, script.parent)
                // A window in the parent's pool, as there will be one at the end.
                try script.checkReading(other, tag: 19)
                let before = script.open
                let link = try bench.link(child, script.parent)
                let export = try script.parent.exportMemory(0, 1 << 20, to: link.parent)
                let mine = try child.exportMemory(0, 4096, to: link.child)
                #expect(script.awaitQuiet())
                let pairs = double.census("double0").pairs
                let numbers = try #require(script.verbs(child).inspect(link.child)).fetchQueuePairs
                for number in numbers { double.stick(queuePair: number) }
                let start = child.seen.events.count
                for tag in 0..<3 {
                    child.post(link.child, export.key, local: (tag + 1) << 20, length: 1 << 20, tag: UInt64(tag))
                }
                for _ in 0..<3 { bench.turn() }
                // Destroying them takes its time, and nobody waits for it.
                double.keepQueuePairs("double0", true)
                child.transport.close(link.child)
                let deadlineNs = bench.nowNs + 60_000_000
                #expect(bench.pump { bench.nowNs > deadlineNs })
                try script.checkReading(other, tag: 20)
                #expect(child.seen.events[start...].allSatisfy { $0 == .read(other.child, 20, nil) })
                double.keepQueuePairs("double0", false)
                #expect(bench.pump { child.seen.isRead(0) })
                // Only when they are gone is memory given back.
                #expect(double.census("double0").pairs == pairs - numbers.count - 1)
                #expect(double.census("double0").forgotten > 0)
                #expect(bench.pump { child.seen.down(link.child) != nil })
                let end = child.seen.events[start...].filter { $0 != .read(other.child, 20, nil) }
                #expect(end.count == 5)
                for tag in 0..<3 { #expect(child.seen.read(UInt64(tag)) == .some(.linkClosed)) }
                #expect(Array(end.suffix(2)) == [.retired(mine.id), .down(link.child, .linkClosed)])
                #expect(script.verbs(child).requestsOutstandingCount == 0)
                #expect(bench.pump { script.parent.seen.down(link.parent) != nil })
                try script.checkReading(other, tag: 21)
                #expect(script.awaitOpen(before))
            }
        }
    }
}
