import Artifacts
import Foundation
import Testing
import Transport

/// Each fault does what its name says, over each transport.
@Suite(.serialized) struct FaultyTransportTests {
    static let subjects: [ContractSubject] = [.tcp, .local, .simulated]

    private struct Pair {
        let bench: ContractBench
        let child: ContractHost
        let parent: ContractHost
        let link: (child: LinkID, parent: LinkID)
    }

    /// A linked pair; the plan is the child's or the parent's.
    private func withPair(
        _ subject: ContractSubject, child childPlan: FaultPlan? = nil, parent parentPlan: FaultPlan? = nil,
        progressLimitNs: UInt64 = 30_000_000_000, _ body: (Pair) throws -> Void
    ) throws {
        let make = subject.makeNetwork
        let plans = ["child": childPlan, "parent": parentPlan]
        let faulty = ContractSubject(name: subject.name) { WrappedNetwork(make()) { plans[$0.name] ?? nil } }
        try withBench(faulty) { bench in
            let bounds = ContractBounds(progressLimitNs: progressLimitNs)
            let child = try bench.host("child", bounds: bounds)
            let parent = try bench.host("parent", bounds: bounds)
            parent.fill(seed: 9)
            try body(Pair(bench: bench, child: child, parent: parent, link: bench.link(child, parent)))
        }
    }

    private func differences(_ one: [UInt8], _ other: [UInt8]) -> Int {
        zip(one, other).reduce(0) { $0 + ($1.0 ^ $1.1).nonzeroBitCount }
    }

    @Test(arguments: subjects)
    func aParentThatFlipsBits(_ subject: ContractSubject) throws {
        let plan = FaultPlan(text: "corrupt-exports=2")!
        try withPair(subject, parent: plan) { pair in
            let memory = try pair.parent.exportMemory(0, 100_000, to: pair.link.parent)
            let corrupt = try pair.parent.exportMemory(0, 100_000, to: pair.link.parent)
            let file = try TemporaryFile(pair.parent.contents(0..<200_000))
            let fine = try pair.parent.transport.export(
                .file(descriptor: file.descriptor, range: ByteRange(offset: 1000, length: 100_000)),
                to: pair.link.parent)
            let corruptFile = try pair.parent.transport.export(
                .file(descriptor: file.descriptor, range: ByteRange(offset: 1000, length: 100_000)),
                to: pair.link.parent)
            for (tag, export) in [memory, corrupt, fine, corruptFile].enumerated() {
                pair.child.post(
                    pair.link.child, export.key, local: tag * 100_000, length: 100_000, tag: UInt64(tag))
            }
            #expect(pair.bench.pump { (0..<4).allSatisfy { pair.child.seen.isRead(UInt64($0)) } })
            for tag in 0..<4 {
                #expect(pair.child.seen.read(UInt64(tag)) == .some(nil))
                let start = tag < 2 ? 0 : 1000
                let flipped = differences(
                    pair.child.contents((tag * 100_000)..<((tag + 1) * 100_000)),
                    pair.parent.contents(start..<(start + 100_000)))
                #expect(flipped == tag % 2)
            }
            #expect(plan.tally.exportsCorrupted == 2)
        }
    }

    @Test(arguments: subjects)
    func aReaderWhoseMemoryFlipsBits(_ subject: ContractSubject) throws {
        let plan = FaultPlan(text: "corrupt-reads=2")!
        try withPair(subject, child: plan) { pair in
            let export = try pair.parent.exportMemory(0, 100_000, to: pair.link.parent)
            for tag in 0..<2 {
                pair.child.post(
                    pair.link.child, export.key, local: tag * 100_000, length: 100_000, tag: UInt64(tag))
                #expect(pair.bench.pump { pair.child.seen.isRead(UInt64(tag)) })
                #expect(
                    differences(
                        pair.child.contents((tag * 100_000)..<((tag + 1) * 100_000)),
                        pair.parent.contents(0..<100_000)) == tag)
            }
            #expect(plan.tally.readsCorrupted == 1)
        }
    }

    @Test(arguments: subjects)
    func aParentThatAcceptsAndGoesSilent(_ subject: ContractSubject) throws {
        try withPair(
            subject, parent: FaultPlan(text: "freeze-after-exports=1")!, progressLimitNs: 4_000_000_000
        ) { pair in
            let export = try pair.parent.exportMemory(0, 4096, to: pair.link.parent)
            #expect(pair.parent.send([1], on: pair.link.parent))
            #expect(pair.parent.transport.wakeAtNs == nil)
            _ = pair.child.send([2], on: pair.link.child)
            pair.child.post(pair.link.child, export.key, length: 4096, tag: 1)
            pair.bench.settle()
            #expect(pair.child.seen.messages(pair.link.child) == [])
            #expect(pair.parent.seen.messages(pair.link.parent) == [])
            #expect(pair.child.seen.down(pair.link.child) == nil)
            guard subject.serves else { return }
            #expect(!pair.child.seen.isRead(1))
            pair.bench.skewNs += 4_000_000_000
            #expect(pair.bench.pump { pair.child.seen.down(pair.link.child) != nil })
            #expect(pair.child.seen.down(pair.link.child) == .timedOut)
        }
    }

    @Test(arguments: subjects)
    func aParentThatSwallowsWhatItSends(_ subject: ContractSubject) throws {
        let plan = FaultPlan(text: "swallow-sends")!
        try withPair(subject, parent: plan) { pair in
            #expect(pair.parent.send([1], on: pair.link.parent))
            #expect(pair.child.send([2], on: pair.link.child))
            #expect(pair.bench.pump { pair.parent.seen.messages(pair.link.parent) == [[2]] })
            pair.bench.settle()
            #expect(pair.child.seen.messages(pair.link.child) == [])
            #expect(plan.tally.messagesLost == 1)
            plan.change { $0.swallowsSends = false }
            #expect(pair.parent.send([3], on: pair.link.parent))
            #expect(pair.bench.pump { pair.child.seen.messages(pair.link.child) == [[3]] })
        }
    }

    @Test(arguments: subjects)
    func messagesOfAKindAreLost(_ subject: ContractSubject) throws {
        let plan = FaultPlan()
        plan.change { $0.losesMessage = { direction, bytes in direction == .receiving && bytes.first == 7 } }
        try withPair(subject, parent: plan) { pair in
            for kind in [7, 8, 7, 9] as [UInt8] { #expect(pair.child.send([kind], on: pair.link.child)) }
            #expect(pair.bench.pump { pair.parent.seen.messages(pair.link.parent).count == 2 })
            #expect(pair.parent.seen.messages(pair.link.parent) == [[8], [9]])
        }
    }

    @Test(arguments: subjects)
    func completionsAreWithheldUntilTheLinkEnds(_ subject: ContractSubject) throws {
        let plan = FaultPlan(text: "withhold-reads")!
        try withPair(subject, child: plan) { pair in
            let export = try pair.parent.exportMemory(0, 4096, to: pair.link.parent)
            pair.child.post(pair.link.child, export.key, length: 4096, tag: 1)
            #expect(pair.bench.pump { pair.child.transport.counters.readsCompleted == 1 })
            pair.bench.settle()
            #expect(!pair.child.seen.isRead(1))
            pair.child.transport.close(pair.link.child)
            #expect(pair.bench.pump { pair.child.seen.down(pair.link.child) != nil })
            #expect(
                pair.child.seen.events.suffix(2) == [
                    .read(pair.link.child, 1, nil), .down(pair.link.child, .linkClosed),
                ])
        }
    }

    @Test(arguments: subjects)
    func completionsComeLate(_ subject: ContractSubject) throws {
        try withPair(subject, child: FaultPlan(text: "delay-reads-ms=1000000")!) { pair in
            let export = try pair.parent.exportMemory(0, 4096, to: pair.link.parent)
            pair.child.post(pair.link.child, export.key, length: 4096, tag: 1)
            #expect(pair.bench.pump { pair.child.transport.counters.readsCompleted == 1 })
            pair.bench.settle()
            #expect(!pair.child.seen.isRead(1))
            #expect(pair.child.transport.wakeAtNs != nil)
            pair.bench.skewNs += 1_000_000_000_000
            #expect(pair.bench.pump { pair.child.seen.isRead(1) })
        }
    }

    @Test(arguments: subjects)
    func everyNthReadFails(_ subject: ContractSubject) throws {
        try withPair(subject, child: FaultPlan(text: "fail-posts=3")!) { pair in
            let export = try pair.parent.exportMemory(0, 4096, to: pair.link.parent)
            for tag in 0..<6 {
                #expect(pair.child.post(pair.link.child, export.key, length: 4096, tag: UInt64(tag)) == 1)
            }
            #expect(pair.bench.pump { (0..<6).allSatisfy { pair.child.seen.isRead(UInt64($0)) } })
            for tag in 0..<6 {
                #expect(pair.child.seen.read(UInt64(tag)) == .some(tag % 3 == 2 ? .sourceFailed : nil))
            }
        }
    }

    @Test(arguments: subjects)
    func linksAreKilled(_ subject: ContractSubject) throws {
        let plan = FaultPlan()
        try withPair(subject, parent: plan) { pair in
            plan.killLinks()
            #expect(pair.bench.pump { pair.child.seen.down(pair.link.child) != nil })
            #expect(pair.child.seen.down(pair.link.child) == .peerClosed)
            #expect(pair.parent.seen.down(pair.link.parent) == .linkClosed)
        }
    }

    @Test func plansAreReadFromTexts() {
        #expect(
            FaultPlan(text: "corrupt-exports,freeze-after-links=2,swallow-sends,freeze,corrupt-reads=9")
                != nil)
        for text in [
            "corrupt", "fail-posts", "freeze=1=2", "swallow-sends=0", "freeze-after-exports=x",
            "corrupt-exports=-1",
        ] {
            #expect(FaultPlan(text: text) == nil, "\(text)")
        }
        #expect(FaultPlan.fromEnvironment([:]) == nil)
        #expect(FaultPlan.fromEnvironment(["MARTLET_FAULT_TRANSPORT": "freeze"]) != nil)
    }
}
