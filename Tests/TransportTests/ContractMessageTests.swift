import Testing
import Transport

/// The contract of `PieceTransport`: messages.
@Suite(.serialized) struct ContractMessageTests {
    @Test(arguments: ContractSubject.all)
    func messagesArriveWholeAndInOrder(_ subject: ContractSubject) throws {
        try withBench(subject) { bench in
            let child = try bench.host("child")
            let parent = try bench.host("parent")
            let link = try bench.link(child, parent)
            let most = child.transport.capabilities.messageBytesMax
            var generator = SeededGenerator(seed: 2)
            let sizes = [0, 1, 2, 100, 4096, most - 1, most, 3, most, 0]
            let up = sizes.map { size in (0..<size).map { _ in UInt8.random(in: 0...255, using: &generator) }
            }
            let down = Array(up.reversed())
            for (one, other) in zip(up, down) {
                #expect(bench.pump { child.send(one, on: link.child) })
                #expect(bench.pump { parent.send(other, on: link.parent) })
            }
            #expect(
                bench.pump {
                    parent.seen.messages(link.parent).count == up.count
                        && child.seen.messages(link.child).count == down.count
                })
            let isUpSame = parent.seen.messages(link.parent) == up
            let isDownSame = child.seen.messages(link.child) == down
            #expect(isUpSame && isDownSame)
        }
    }

    @Test(arguments: ContractSubject.all)
    func backPressureIsAReturnValueAndLosesNothing(_ subject: ContractSubject) throws {
        try withBench(subject) { bench in
            let child = try bench.host("child")
            let parent = try bench.host("parent")
            let link = try bench.link(child, parent)
            var sent = 0
            // The parent does not poll: a bounded number goes out, then `send` says no. 256 MiB would be no bound.
            while child.send(message(sent), on: link.child) {
                sent += 1
                bench.turn([child])
                if sent > 16_384 { break }
            }
            let first = sent
            #expect(first <= 16_384)
            #expect(!child.send(message(first), on: link.child))
            #expect(bench.pump { parent.seen.messages(link.parent).count == first })
            #expect(child.send(message(first), on: link.child))
            #expect(bench.pump { parent.seen.messages(link.parent).count == first + 1 })
            let isWhole = parent.seen.messages(link.parent) == (0...first).map(message)
            #expect(isWhole)
        }
    }

    private func message(_ number: Int) -> [UInt8] {
        withUnsafeBytes(of: UInt32(number)) { Array($0) }
            + Array(repeating: UInt8(truncatingIfNeeded: number), count: 16_000)
    }

    @Test(arguments: ContractSubject.all)
    func aPollHandsOverNoMoreThanItsLimit(_ subject: ContractSubject) throws {
        try withBench(subject) { bench in
            let child = try bench.host("child")
            let parent = try bench.host("parent")
            let link = try bench.link(child, parent)
            for number in 0..<100 { #expect(bench.pump { child.send([UInt8(number)], on: link.child) }) }
            var most = 0
            for _ in 0..<100_000 where parent.seen.messages(link.parent).count < 100 {
                bench.turn([child])
                let before = parent.seen.events.count
                bench.turn([parent], limit: 1)
                most = max(most, parent.seen.events.count - before)
                if parent.seen.events.count == before { bench.network.idle() }
            }
            #expect(most == 1)
            #expect(parent.seen.messages(link.parent) == (0..<100).map { [UInt8($0)] })
        }
    }
}
