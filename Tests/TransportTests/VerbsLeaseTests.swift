import Artifacts
import Foundation
import Testing
import Transport
import TransportVerbs
import Verbs
import VerbsDouble

extension VerbsScripts {
    /// Leases that end against their reader's will, and windows whose making and ending takes its time.
    @Suite struct Leases {
        static let leases: [VerbsConfiguration.Lease] = [.window, .region]

        @Test(arguments: leases)
        func aReaderThatNeverStopsIsCutOff(_ lease: VerbsConfiguration.Lease) throws {
            try Script.run(lease: lease, adjust: { $0.revokeLimitNs = 20_000_000 }) { script in
                let (bench, child, parent, double) = (script.bench, script.child, script.parent, script.double)
                let third = try bench.host("third")
                let link = try bench.link(child, parent)
                let other = try bench.link(child, parent)
                let others = try bench.link(third, parent)
                let export = try parent.exportMemory(0, 1 << 20, to: link.parent)
                #expect(script.awaitQuiet())
                double.hold("double0")
                child.post(link.child, export.key, local: 1 << 20, length: 1 << 20, tag: 1)
                bench.turn([child])
                bench.turn([child])
                #expect(double.heldCount("double0") > 0)
                parent.transport.revoke(export.id)
                // The reader is silent, whatever it is told.
                #expect(bench.pump([parent]) { parent.seen.isRetired(export.id) })
                #expect(parent.seen.down(link.parent) == nil)
                // The source may change now.
                parent.bytes[..<(1 << 20)].initializeMemory(as: UInt8.self, repeating: 0xAB)
                double.release("double0")
                #expect(bench.pump { child.seen.down(link.child) != nil && parent.seen.down(link.parent) != nil })
                #expect(child.seen.read(1) == .some(.accessDenied))
                #expect(child.seen.down(link.child) == .accessDenied)
                #expect(child.contents((1 << 20)..<(2 << 20)).allSatisfy { $0 == 0 })
                // Nobody else notices.
                bench.settle()
                #expect(child.seen.down(other.child) == nil && third.seen.down(others.child) == nil)
                try script.checkReading(other, tag: 2)
            }
        }

        /// One that has stopped says so, and nothing breaks.
        @Test(arguments: leases)
        func aReaderThatStopsKeepsItsLink(_ lease: VerbsConfiguration.Lease) throws {
            try Script.run(lease: lease) { script in
                let (bench, child, parent, double) = (script.bench, script.child, script.parent, script.double)
                let link = try bench.link(child, parent)
                let export = try parent.exportMemory(0, 1 << 20, to: link.parent)
                #expect(script.awaitQuiet())
                double.hold("double0")
                child.post(link.child, export.key, length: 1 << 20, tag: 1)
                bench.turn()
                parent.transport.revoke(export.id)
                bench.settle()
                #expect(!parent.seen.isRetired(export.id))
                // What is posted is finished; what is not is refused here, where it costs no link.
                child.post(link.child, export.key, local: 2 << 20, length: 4096, tag: 2)
                double.release("double0")
                #expect(bench.pump { parent.seen.isRetired(export.id) })
                #expect(child.seen.read(1) == .some(nil))
                #expect(child.seen.read(2) == .some(.accessDenied))
                #expect(isSame(child.contents(0..<(1 << 20)), parent.contents(0..<(1 << 20))))
                #expect(parent.transport.counters.sentBytes == 1 << 20)
                try script.checkReading(link, tag: 3)
            }
        }

        // MARK: Windows

        /// A key that travelled ahead of its window's binding would cost the link.
        @Test func wordsWaitForTheBindingOfAWindow() throws {
            try Script.run { script in
                let (bench, child, parent, double) = (script.bench, script.child, script.parent, script.double)
                let link = try bench.link(child, parent)
                #expect(parent.send([1], on: link.parent))
                #expect(bench.pump { child.seen.messages(link.child) == [[1]] })
                double.hold("double1")
                let exports = try (0..<2).map { try parent.exportMemory($0 * 4096, 4096, to: link.parent) }
                #expect(script.verbs(parent).inspect(link.parent)?.bindsPending == 2)
                #expect(parent.send([2], on: link.parent))
                bench.settle()
                #expect(child.seen.messages(link.child) == [[1]])
                double.release("double1", countMax: 1)
                bench.settle()
                #expect(child.seen.messages(link.child) == [[1]])
                double.release("double1")
                #expect(bench.pump { child.seen.messages(link.child) == [[1], [2]] })
                #expect(parent.send([3], on: link.parent))
                #expect(bench.pump { child.seen.messages(link.child).count == 3 })
                for (tag, export) in exports.enumerated() {
                    child.post(link.child, export.key, length: 4096, tag: UInt64(tag))
                    #expect(bench.pump { child.seen.isRead(UInt64(tag)) })
                    #expect(child.seen.read(UInt64(tag)) == .some(nil))
                }
            }
        }

        /// A binding that never ends takes the link with it, once what waits for it has waited long enough.
        @Test func aBindingThatNeverEndsEndsTheLink() throws {
            try Script.run(adjust: {
                $0.progressLimitNs = 40_000_000
                $0.drainLimitNs = 20_000_000
                $0.livenessIntervalNs = 10_000_000
            }) { script in
                let (bench, child, parent, double) = (script.bench, script.child, script.parent, script.double)
                let link = try bench.link(child, parent)
                for number in try #require(script.verbs(parent).inspect(link.parent)).serveQueuePairs {
                    double.stick(queuePair: number)
                }
                let export = try parent.exportMemory(0, 4096, to: link.parent)
                #expect(parent.send([2], on: link.parent))
                #expect(bench.pump { parent.seen.down(link.parent) != nil && child.seen.down(link.child) != nil })
                #expect(parent.seen.down(link.parent) == .timedOut)
                #expect(parent.seen.isRetired(export.id))
                #expect(child.seen.messages(link.child).isEmpty)
                #expect(script.verbs(parent).requestsOutstandingCount == 0)
                try script.checkReading(try bench.link(child, parent), tag: 1)
            }
        }

        @Test(arguments: [CompletionStatus.windowBind, .localProtection, .flushed])
        func aFailedBindingEndsTheLink(_ status: CompletionStatus) throws {
            try Script.run { script in
                let (bench, child, parent, double) = (script.bench, script.child, script.parent, script.double)
                let other = try bench.link(child, parent)
                let before = script.open
                let link = try bench.link(child, parent)
                for number in try #require(script.verbs(parent).inspect(link.parent)).serveQueuePairs {
                    double.endNext(queuePair: number, with: status)
                }
                let first = try parent.exportMemory(0, 4096, to: link.parent)
                let second = try parent.exportMemory(4096, 4096, to: link.parent)
                #expect(parent.send([7], on: link.parent))
                #expect(bench.pump { parent.seen.down(link.parent) != nil && child.seen.down(link.child) != nil })
                #expect(
                    Array(parent.seen.events.suffix(3)) == [
                        .retired(first.id), .retired(second.id), .down(link.parent, .system),
                    ])
                // No word that could have carried a key of it.
                #expect(child.seen.messages(link.child).isEmpty)
                #expect(script.awaitOpen(before))
                try script.checkReading(other, tag: 1)
            }
        }

        /// A posting of a binding that is not taken.
        @Test func anUntakenBindingIsNoExport() throws {
            try Script.run { script in
                let (bench, child, parent) = (script.bench, script.child, script.parent)
                let before = script.open
                let link = try bench.link(child, parent)
                let first = try parent.exportMemory(0, 4096, to: link.parent)
                script.double.failPosting(on: "double1", taken: 0)
                let error = #expect(throws: TransportError.self) {
                    _ = try parent.exportMemory(4096, 4096, to: link.parent)
                }
                #expect(error?.code == .linkClosed)
                #expect(bench.pump { parent.seen.down(link.parent) != nil && child.seen.down(link.child) != nil })
                #expect(
                    Array(parent.seen.events.suffix(2)) == [.retired(first.id), .down(link.parent, .system)])
                #expect(script.verbs(parent).requestsOutstandingCount == 0)
                #expect(script.awaitOpen(before))
                try script.checkReading(try bench.link(child, parent), tag: 1)
            }
        }

        /// Hundreds of exports on two links need no more windows than are bound at a time, and every use of one has a
        /// key of its own.
        @Test func windowsAreUsedAgain() throws {
            try Script.run { script in
                let (bench, child, parent, double) = (script.bench, script.child, script.parent, script.double)
                let third = try bench.host("third")
                let first = (reader: child, link: try bench.link(child, parent))
                let second = (reader: third, link: try bench.link(third, parent))
                var keys: Set<RemoteKey> = []
                var remoteKeys: Set<UInt32> = []
                for round in 0..<150 {
                    var alive: [Export] = []
                    for (index, (reader, link)) in [first, second].enumerated() {
                        for number in 0..<(1 + round % 3) {
                            let offset = (round * 7 + index * 3 + number) * 4096
                            let export = try parent.exportMemory(offset, 4096, to: link.parent)
                            alive.append(export)
                            #expect(keys.insert(export.key).inserted)
                            if let key = VerbsKey(export.key) { remoteKeys.insert(key.remoteKey) }
                            let tag = UInt64(round * 100 + index * 10 + number)
                            reader.post(link.child, export.key, local: number * 4096, length: 4096, tag: tag)
                        }
                    }
                    for export in alive { parent.transport.revoke(export.id) }
                    #expect(bench.pump { alive.allSatisfy { parent.seen.isRetired($0.id) } })
                    for (index, (reader, _)) in [first, second].enumerated() {
                        for number in 0..<(1 + round % 3) {
                            let end = reader.seen.read(UInt64(round * 100 + index * 10 + number))
                            // One that was revoked before its READ was posted is refused; it is none the worse.
                            #expect(end == .some(nil) || end == .some(.accessDenied))
                        }
                    }
                    // Each look goes through all of them.
                    parent.seen.events.removeAll { if case .retired = $0 { true } else { false } }
                }
                #expect(double.census("double1").windows <= 6)
                #expect(double.census("double1").pairs == 6)
                #expect(remoteKeys.count > 6)
                #expect(child.seen.down(first.link.child) == nil && third.seen.down(second.link.child) == nil)
            }
        }

        /// Until the device has ended a window it can be read: its source may not change, nor the window be used again.
        @Test func anExportLivesUntilItsWindowHasEnded() throws {
            try Script.run { script in
                let (bench, child, parent, double) = (script.bench, script.child, script.parent, script.double)
                let link = try bench.link(child, parent)
                let export = try parent.exportMemory(0, 4096, to: link.parent)
                #expect(script.awaitQuiet())
                double.hold("double1")
                parent.transport.revoke(export.id)
                #expect(bench.pump { double.heldCount("double1") == 1 })
                bench.settle()
                #expect(!parent.seen.isRetired(export.id))
                let next = try parent.exportMemory(4096, 4096, to: link.parent)
                #expect(double.census("double1").windows == 2)
                double.release("double1")
                #expect(bench.pump { parent.seen.isRetired(export.id) })
                child.post(link.child, next.key, length: 4096, tag: 1)
                #expect(bench.pump { child.seen.isRead(1) })
                #expect(child.seen.read(1) == .some(nil))
                try script.checkReading(link, tag: 2)
                #expect(double.census("double1").windows == 2)
            }
        }

        /// As many exports as a link may have, ended at once: more than its queue pair takes at a time.
        @Test func allExportsOfALinkMayEndAtOnce() throws {
            let count = 200
            try Script.run(bounds: ContractBounds(exportsPerLinkMax: count)) { script in
                let (bench, child, parent, double) = (script.bench, script.child, script.parent, script.double)
                let link = try bench.link(child, parent)
                double.hold("double1")
                var exports: [Export] = []
                // What is refused for now is taken later.
                while exports.count < count {
                    do {
                        exports.append(try parent.exportMemory(exports.count * 4096, 4096, to: link.parent))
                    } catch let error as TransportError {
                        #expect(error.code == .limit)
                        double.release("double1")
                        #expect(bench.pump { script.verbs(parent).requestsOutstandingCount == 0 })
                        double.hold("double1")
                    }
                }
                double.release("double1")
                #expect(script.awaitQuiet())
                double.hold("double1")
                for export in exports { parent.transport.revoke(export.id) }
                for _ in 0..<20 {
                    bench.turn()
                    bench.network.idle()
                }
                double.release("double1")
                #expect(bench.pump { exports.allSatisfy { parent.seen.isRetired($0.id) } })
                #expect(parent.seen.down(link.parent) == nil)
                try script.checkReading(link, tag: 1)
            }
        }
    }
}
