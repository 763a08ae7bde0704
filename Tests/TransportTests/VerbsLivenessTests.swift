import Artifacts
import Foundation
import Testing
import Transport
import TransportVerbs
import Verbs
import VerbsDouble

extension VerbsScripts {
    /// Links are proved on the data plane: a control stream that lives proves nothing.
    @Suite struct Liveness {
        private static let intervalNs: UInt64 = 1_000_000_000

        @Test func anotherGenerationInItsPlaceEndsTheLink() throws {
            try Script.run(adjust: { $0.livenessIntervalNs = Self.intervalNs }) { script in
                let (bench, child, parent) = (script.bench, script.child, script.parent)
                let other = try bench.link(child, parent)
                let link = try bench.link(child, parent)
                script.verbs(parent).forgeGeneration(of: link.parent)
                for _ in 0..<5 { bench.turn() }
                #expect(child.seen.down(link.child) == nil)
                bench.skewNs += Self.intervalNs
                #expect(bench.pump { child.seen.down(link.child) != nil && parent.seen.down(link.parent) != nil })
                #expect(child.seen.down(link.child) == .peerClosed)
                try script.checkReading(other, tag: 1)
            }
        }

        /// Before the link is up: the word in the handshake is not what is READ.
        @Test func aWordThatIsNotTheOfferedOneGivesNoLink() throws {
            try Script.run { script in
                let (bench, child, parent, double) = (script.bench, script.child, script.parent, script.double)
                double.hold("double0")
                let link = try bench.connect(child, to: parent)
                #expect(bench.pump { double.heldCount("double0") == 2 })
                script.verbs(parent).forgeGenerations()
                double.release("double0")
                #expect(bench.pump { child.seen.down(link) != nil })
                #expect(child.seen.events == [.down(link, .peerClosed)])
                #expect(bench.pump { parent.transport.counters.handshakesRefused == 1 })
                #expect(parent.seen.events.isEmpty)
            }
        }

        /// Nothing passes between the devices, and both processes talk on.
        @Test(arguments: ["double0", "double1"])
        func aSilentDataPlaneIsNoticed(_ device: String) throws {
            try Script.run(adjust: { $0.livenessIntervalNs = Self.intervalNs }) { script in
                let (bench, child, parent, double) = (script.bench, script.child, script.parent, script.double)
                let link = try bench.link(child, parent)
                double.setSilent(device, true)
                for _ in 0..<5 { bench.turn() }
                #expect(child.send([1], on: link.child))
                #expect(bench.pump { parent.seen.messages(link.parent) == [[1]] })
                #expect(child.seen.down(link.child) == nil && parent.seen.down(link.parent) == nil)
                bench.skewNs += Self.intervalNs
                #expect(bench.pump { child.seen.down(link.child) != nil && parent.seen.down(link.parent) != nil })
                // Who asks first knows it first, and tells the other by closing.
                let ends = [child.seen.down(link.child), parent.seen.down(link.parent)]
                #expect(ends.contains(.timedOut))
                #expect(ends.allSatisfy { $0 == .timedOut || $0 == .peerClosed })
                double.setSilent(device, false)
                try script.checkReading(try bench.link(child, parent), tag: 1)
            }
        }

        /// A device that takes requests and completes none: not the device's own retries, but we notice.
        @Test(arguments: [true, false], [VerbsConfiguration.Lease.window, .region])
        func aStuckQueuePairIsNoticed(_ isReading: Bool, _ lease: VerbsConfiguration.Lease) throws {
            try Script.run(
                lease: lease,
                adjust: {
                    $0.livenessIntervalNs = Self.intervalNs
                    $0.stallLimitNs = 5 * Self.intervalNs
                    $0.drainLimitNs = 10_000_000
                }
            ) { script in
                let (bench, child, parent, double) = (script.bench, script.child, script.parent, script.double)
                let other = try bench.link(child, parent)
                let link = try bench.link(child, parent)
                let export = try parent.exportMemory(0, 1 << 20, to: link.parent)
                #expect(script.awaitQuiet())
                for number in try #require(script.verbs(child).inspect(link.child)).fetchQueuePairs {
                    double.stick(queuePair: number)
                }
                if isReading { child.post(link.child, export.key, length: 1 << 20, tag: 1) }
                var passedNs: UInt64 = 0
                while child.seen.down(link.child) == nil, passedNs < 20 * Self.intervalNs {
                    bench.skewNs += Self.intervalNs / 2
                    passedNs += Self.intervalNs / 2
                    for _ in 0..<5 { bench.turn() }
                    if passedNs < 4 * Self.intervalNs { #expect(child.seen.down(link.child) == nil) }
                }
                #expect(bench.pump { child.seen.down(link.child) != nil && parent.seen.down(link.parent) != nil })
                #expect(child.seen.down(link.child) == .timedOut)
                if isReading { #expect(child.seen.read(1) == .some(.linkClosed)) }
                #expect(child.seen.down(other.child) == nil)
                try script.checkReading(other, tag: 2)
            }
        }

        /// Long reads that move on, however slowly, are no stall.
        @Test func aSlowLinkIsNoDeadOne() throws {
            try Script.run(adjust: {
                $0.livenessIntervalNs = Self.intervalNs
                $0.stallLimitNs = 3 * Self.intervalNs
            }) { script in
                let (bench, child, parent, double) = (script.bench, script.child, script.parent, script.double)
                let link = try bench.link(child, parent)
                let export = try parent.exportMemory(0, 1 << 20, to: link.parent)
                #expect(script.awaitQuiet())
                double.hold("double0")
                for tag in 0..<8 {
                    child.post(link.child, export.key, local: tag << 20, length: 65_536, tag: UInt64(tag))
                    // The last of what is posted together says when it is done.
                    bench.turn()
                }
                for tag in 0..<8 {
                    bench.skewNs += 2 * Self.intervalNs
                    double.release("double0", countMax: 1)
                    #expect(bench.pump { child.seen.isRead(UInt64(tag)) })
                    #expect(child.seen.read(UInt64(tag)) == .some(nil))
                }
                double.release("double0")
                #expect(child.seen.down(link.child) == nil)
                try script.checkReading(link, tag: 10)
            }
        }

        /// The process is asked as well: one whose device answers and which does not poll is no good parent.
        @Test func aProcessThatDoesNotAnswerIsNoticed() throws {
            try Script.run(adjust: {
                $0.livenessIntervalNs = Self.intervalNs
                $0.pingLimitNs = 4 * Self.intervalNs
            }) { script in
                let (bench, child, parent) = (script.bench, script.child, script.parent)
                let link = try bench.link(child, parent)
                var passedNs: UInt64 = 0
                while child.seen.down(link.child) == nil, passedNs < 20 * Self.intervalNs {
                    bench.skewNs += Self.intervalNs / 2
                    passedNs += Self.intervalNs / 2
                    for _ in 0..<5 { bench.turn([child]) }
                    if passedNs < 3 * Self.intervalNs { #expect(child.seen.down(link.child) == nil) }
                }
                #expect(child.seen.down(link.child) == .timedOut)
                #expect(bench.pump { parent.seen.down(link.parent) != nil })
            }
        }
    }
}
