import Artifacts
import Foundation
import Testing
import Transport
import TransportVerbs
import Verbs
import VerbsDouble

extension VerbsScripts {
    /// How READs fail, and how many completions there may be.
    @Suite struct Completions {
        static let failures: [(status: CompletionStatus, read: TransportError.Code, link: TransportError.Code)] = [
            (.retriesExceeded, .linkClosed, .timedOut), (.remoteAccess, .accessDenied, .accessDenied),
            (.remoteOperation, .linkClosed, .system), (.localProtection, .linkClosed, .system),
            (.remoteInvalidRequest, .linkClosed, .system), (.localOperation, .linkClosed, .system),
            (.localLength, .linkClosed, .system), (.receiverNotReady, .linkClosed, .system),
            (.remoteAbort, .linkClosed, .system), (.flushed, .linkClosed, .system), (.fatal, .linkClosed, .system),
            (.general, .linkClosed, .system), (CompletionStatus(rawValue: 99), .linkClosed, .system),
        ]

        @Test(arguments: Array(failures.indices))
        func aFailedReadEndsItsLinkAlone(_ number: Int) throws {
            let (status, readCode, linkCode) = Self.failures[number]
            try Script.run(lease: .region) { script in
                let (bench, child, parent, double) = (script.bench, script.child, script.parent, script.double)
                let other = try bench.link(child, parent)
                let before = script.open
                let link = try bench.link(child, parent)
                let export = try parent.exportMemory(0, 3 << 20, to: link.parent)
                let lane = try #require(script.verbs(child).inspect(link.child)).fetchQueuePairs[1]
                // Across both lanes, then on one.
                double.endNext(queuePair: lane, with: status)
                child.post(link.child, export.key, local: 1 << 20, length: 1 << 20, tag: 1)
                child.post(link.child, export.key, local: 2 << 20, length: 1 << 20, tag: 2)
                #expect(bench.pump { child.seen.down(link.child) != nil && parent.seen.down(link.parent) != nil })
                #expect(child.seen.read(1) == .some(readCode))
                #expect(child.seen.read(2) == .some(.linkClosed))
                #expect(child.seen.down(link.child) == linkCode)
                #expect(child.seen.events.last == .down(link.child, linkCode))
                #expect(parent.seen.down(link.parent) == .peerClosed)
                #expect(child.transport.counters.readsFailed == 2)
                #expect(script.verbs(child).requestsOutstandingCount == 0)
                try script.checkReading(other, tag: 3)
                #expect(script.awaitOpen(before))
            }
        }

        /// Each failure takes the requests before it for done, and none behind it.
        @Test(arguments: [1, 3, 8, 15])
        func whatCameBeforeAFailureHasSucceeded(_ failing: Int) throws {
            try Script.run { script in
                let (bench, child, parent, double) = (script.bench, script.child, script.parent, script.double)
                let link = try bench.link(child, parent)
                let export = try parent.exportMemory(0, 1 << 20, to: link.parent)
                #expect(script.awaitQuiet())
                double.hold("double0")
                // By a window's key all go over one lane.
                for tag in 0..<16 {
                    let taken = child.post(
                        link.child, export.key, remote: UInt64(tag) << 16, local: tag << 16, length: 1 << 16,
                        tag: UInt64(tag))
                    if tag < 8 { #expect(taken == 1) }
                }
                bench.turn()
                let count = double.heldCount("double0")
                double.release("double0", countMax: min(failing, count - 1))
                script.verbs(child).failQueuePairs()
                double.release("double0")
                #expect(bench.pump { child.seen.down(link.child) != nil })
                for tag in 0..<count {
                    let end = child.seen.read(UInt64(tag))
                    #expect(end == .some(tag < min(failing, count - 1) ? nil : .linkClosed))
                }
            }
        }

        @Test func aQueuePairThatBreaksEndsItsLinkAlone() throws {
            try Script.run { script in
                let (bench, child, parent, double) = (script.bench, script.child, script.parent, script.double)
                let other = try bench.link(child, parent)
                let link = try bench.link(child, parent)
                let serving = try #require(script.verbs(parent).inspect(link.parent)).serveQueuePairs[0]
                double.breakQueuePair(serving)
                #expect(bench.pump { child.seen.down(link.child) != nil && parent.seen.down(link.parent) != nil })
                #expect(parent.seen.down(link.parent) == .system)
                #expect(child.seen.down(link.child) == .peerClosed)
                try script.checkReading(other, tag: 1)
            }
        }

        // MARK: Bounds

        private static let entries = 48

        private static func smallQueues() -> [DoubleDevice] {
            (0..<2).map {
                var device = DoubleDevice("double\($0)", host: UInt8($0 + 1))
                device.completionEntriesMax = entries
                return device
            }
        }

        /// More reads than the completion queue holds the completions of: `post` takes fewer, and all of them flushing
        /// at once do not overrun it. Bindings of windows count as well.
        @Test(arguments: [VerbsConfiguration.Lease.window, .region], [true, false])
        func noMoreIsPostedThanTheCompletionQueueHolds(_ lease: VerbsConfiguration.Lease, _ fails: Bool) throws {
            try Script.run(
                lease: lease, devices: Self.smallQueues(),
                bounds: ContractBounds(readsPerLinkMax: 64, exportsPerLinkMax: 64)
            ) { script in
                let (bench, child, parent, double) = (script.bench, script.child, script.parent, script.double)
                let links = try (0..<2).map { _ in try bench.link(child, parent) }
                // The child serves as well: its bindings share the queue.
                let back = try bench.link(parent, child)
                let exports = try links.map { try parent.exportMemory(0, 1 << 20, to: $0.parent) }
                #expect(script.awaitQuiet())
                double.hold("double0")
                var taken: [UInt64] = []
                for tag in 0..<60 {
                    let one = tag % 2
                    let count = child.post(
                        links[one].child, exports[one].key, local: tag << 16, length: 1 << 16, tag: UInt64(tag))
                    if count == 1 { taken.append(UInt64(tag)) }
                }
                bench.turn()
                #expect(taken.count <= Self.entries)
                #expect(taken.count > Self.entries / 2)
                var mine: [Export] = []
                for number in 0..<30 {
                    do {
                        mine.append(try child.exportMemory(number * 4096, 4096, to: back.parent))
                    } catch let error as TransportError {
                        #expect(error.code == .limit)
                    }
                }
                bench.turn()
                #expect(double.heldCount("double0") <= Self.entries)
                if fails { script.verbs(child).failQueuePairs() }
                double.release("double0")
                #expect(double.census("double0").overruns == 0)
                #expect(bench.pump { taken.allSatisfy { child.seen.isRead($0) } })
                for tag in taken { #expect(child.seen.read(tag) == .some(fails ? .linkClosed : nil)) }
                #expect(script.awaitQuiet())
                #expect(double.census("double0").overruns == 0)
                guard !fails else { return }
                // And all of them are ended with the queue full of reads.
                double.hold("double0")
                for tag in 100..<160 {
                    child.post(links[0].child, exports[0].key, local: 0, length: 1 << 16, tag: UInt64(tag))
                }
                for export in mine { child.transport.revoke(export.id) }
                bench.settle()
                #expect(double.heldCount("double0") <= Self.entries)
                double.release("double0")
                #expect(bench.pump { mine.allSatisfy { child.seen.isRetired($0.id) } })
                #expect(double.census("double0").overruns == 0)
                #expect(child.seen.down(links[0].child) == nil)
            }
        }

        /// A link is proved by a READ on each of its queue pairs, even if the completion queue is full just then.
        @Test func aLinkIsProvedOnceThereIsRoom() throws {
            try Script.run(
                lease: .region, devices: Self.smallQueues(), bounds: ContractBounds(readsPerLinkMax: 64)
            ) { script in
                let (bench, child, parent, double) = (script.bench, script.child, script.parent, script.double)
                let link = try bench.link(child, parent)
                let export = try parent.exportMemory(0, 1 << 20, to: link.parent)
                double.hold("double0")
                var taken: [UInt64] = []
                for tag in 0..<64 {
                    if child.post(link.child, export.key, local: 0, length: 4096, tag: UInt64(tag)) == 1 {
                        taken.append(UInt64(tag))
                    }
                }
                bench.turn()
                let second = try bench.connect(child, to: parent)
                bench.settle()
                #expect(!child.seen.up(inbound: false).contains { $0.0 == second })
                double.release("double0")
                #expect(bench.pump { taken.allSatisfy { child.seen.isRead($0) } })
                #expect(bench.pump { child.seen.up(inbound: false).contains { $0.0 == second } })
                #expect(double.census("double0").overruns == 0)
            }
        }
    }
}
