import Artifacts
import Foundation
import System
import Testing
import Transport

@testable import TransportTCP

/// Far sides that break the TCP transport's protocol: each loses its link or its connection, and nothing else happens.
@Suite(.serialized) struct TCPLiarTests {
    @Test func anHonestHandMadePeerGetsALink() throws {
        try withLiar { bench, host, liar in
            let link = try liar.linkUp()
            #expect(host.seen.events == [.up(link, liar.identity, inbound: true)])
            liar.control.write([3, 0, 0, 0, 1, 2, 3])
            #expect(bench.pump { host.seen.messages(link) == [[1, 2, 3]] })
        }
    }

    @Test(arguments: [
        [UInt8](repeating: 0x47, count: 64),
        [UInt8]("GET / HTTP/1.1\r\n\r\n".utf8),
        HandshakeFrame(.welcome).bytes,
        HandshakeFrame(.ready).bytes,
        HandshakeFrame(.stream, number: RandomNumber(high: 1, low: 2)).bytes,
        HandshakeFrame(.greeting, detail: 2).bytes,
        HandshakeFrame(.greeting, detail: 0, identity: TCPLiar.identity, readsPerLinkMax: 8).bytes,
        HandshakeFrame(.greeting, detail: 2, identity: TCPLiar.identity, readsPerLinkMax: 0).bytes,
        HandshakeFrame(.greeting, detail: 2, identity: TCPLiar.identity, readsPerLinkMax: 8).bytes + [0],
    ])
    func aBadHandshakeIsClosed(_ bytes: [UInt8]) throws {
        try withLiar { bench, host, liar in
            liar.control.write(bytes)
            #expect(bench.pump { liar.control.isClosed })
            #expect(host.seen.events == [])
            #expect(host.transport.counters.handshakesRefused == 1)
        }
    }

    @Test func aSlowHandshakeIsClosedInTime() throws {
        try withLiar { bench, host, liar in
            liar.control.write([0x4D, 0x52])
            bench.settle()
            #expect(!liar.control.isClosed)
            bench.skewNs += 20_000_000_000
            #expect(bench.pump { liar.control.isClosed })
            #expect(host.seen.events == [])
        }
    }

    @Test func aGreetingWithoutStreamsIsClosedInTime() throws {
        try withLiar { bench, host, liar in
            _ = try liar.greet()
            bench.settle()
            bench.skewNs += 20_000_000_000
            #expect(bench.pump { liar.control.isClosed })
            #expect(host.seen.events == [])
        }
    }

    @Test func aRepeatedGreetingIsRefused() throws {
        try withLiar { bench, host, liar in
            _ = try liar.linkUp()
            let copy = try liar.open()
            copy.write(liar.greeting.bytes)
            #expect(bench.pump { copy.isClosed })
            #expect(host.seen.events.count == 1)
        }
    }

    @Test func aTicketIsGoodOnceAStream() throws {
        try withLiar { bench, host, liar in
            let ticket = try liar.greet()
            let first = try liar.open()
            first.write(HandshakeFrame(.stream, detail: 0, number: ticket).bytes)
            bench.settle()
            let again = try liar.open()
            again.write(HandshakeFrame(.stream, detail: 0, number: ticket).bytes)
            #expect(bench.pump { again.isClosed })
            let beyond = try liar.open()
            beyond.write(HandshakeFrame(.stream, detail: 2, number: ticket).bytes)
            #expect(bench.pump { beyond.isClosed })
            #expect(!first.isClosed)
            let second = try liar.open()
            second.write(HandshakeFrame(.stream, detail: 1, number: ticket).bytes)
            #expect(bench.pump { host.seen.events.count == 1 })
            let late = try liar.open()
            late.write(HandshakeFrame(.stream, detail: 1, number: ticket).bytes)
            #expect(bench.pump { late.isClosed })
            #expect(host.seen.events.count == 1)
        }
    }

    @Test func pendingHandshakesAreBounded() throws {
        try withLiar { bench, host, liar in
            // 64 is the bound: with the liar's own, which came first, the 17 oldest make room.
            let waiting = try (0..<80).map { _ in try liar.open() }
            #expect(bench.pump { waiting.filter(\.isClosed).count >= 16 })
            bench.settle()
            #expect(liar.control.isClosed)
            #expect(waiting.map(\.isClosed) == waiting.indices.map { $0 < 16 })
            let last = try #require(waiting.last)
            last.write(liar.greeting.bytes)
            #expect(bench.pump { last.read().count >= HandshakeFrame.headBytes })
            bench.skewNs += 20_000_000_000
            #expect(bench.pump { waiting.allSatisfy(\.isClosed) })
        }
    }

    @Test func whoFloodsIsInHisOwnWayOnly() throws {
        try withLiar { bench, host, liar in
            let port = try #require(host.transport.address?.location.split(separator: ":").last.flatMap { UInt16($0) })
            let flood = try FloodingSockets(from: "127.0.0.2", to: port)
            let honest = try liar.open()
            // Fewer at a time than the kernel keeps waiting, so that each arrives.
            for opened in stride(from: 60, through: 300, by: 60) {
                try flood.open(60)
                #expect(bench.pump { Int(host.transport.counters.handshakesRefused) >= opened + 2 - 64 })
            }
            honest.write(liar.greeting.bytes)
            #expect(bench.pump { honest.read().count >= HandshakeFrame.headBytes })
            #expect(!honest.isClosed)
        }
    }

    @Test(arguments: [
        ("a message larger than allowed", [0x01, 0x00, 0x01, 0x00] as [UInt8]),
        ("a message of 4 GiB", [0xFF, 0xFF, 0xFF, 0xFF]),
    ])
    func anOversizeMessageEndsTheLink(_ name: String, _ bytes: [UInt8]) throws {
        try withLiar { bench, host, liar in
            let link = try liar.linkUp()
            liar.control.write(bytes)
            #expect(bench.pump { host.seen.down(link) != nil })
            #expect(host.seen.down(link) == .protocolBroken)
        }
    }

    private static let key = RandomNumber(high: 1, low: 2)

    @Test(arguments: [
        ("no frame", [UInt8](repeating: 9, count: 16)),
        ("an answer to nothing", response(.ok, length: 10, number: 0)),
        ("a refusal of nothing", response(.accessDenied, length: 0, number: 0)),
        ("a request of no byte", request(length: 0)),
        ("a request of more than a piece", request(length: 16 << 20 + 1)),
        ("more requests than agreed", (0..<100).flatMap { request(length: 1, number: $0) }),
    ])
    func aBrokenStreamEndsTheLink(_ name: String, _ bytes: [UInt8]) throws {
        try withLiar { bench, host, liar in
            let link = try liar.linkUp()
            liar.data[0].write(bytes)
            #expect(bench.pump { host.seen.down(link) != nil })
            #expect(host.seen.down(link) == .protocolBroken)
        }
    }

    @Test(arguments: [
        ("too long", response(.ok, length: 4097, number: 0)),
        ("too short", response(.ok, length: 4095, number: 0)),
        ("for another read", response(.ok, length: 4096, number: 1)),
        ("a refusal with bytes", response(.accessDenied, length: 16, number: 0)),
        ("an unknown status", [2, 9, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        (
            "two answers",
            response(.ok, length: 4096, number: 0) + [UInt8](repeating: 1, count: 4096)
                + response(.ok, length: 4096, number: 0)
        ),
    ])
    func aLyingAnswerEndsTheLinkAndWritesNowhereElse(_ name: String, _ bytes: [UInt8]) throws {
        try withLiar { bench, host, liar in
            let link = try liar.linkUp()
            host.post(link, Self.key.key, local: 8192, length: 4096, tag: 1)
            #expect(bench.pump { liar.data.contains { $0.read().count == TCPFrame.requestBytes } })
            // The read went out on the first stream: both are equally short.
            liar.data[0].write(bytes + [UInt8](repeating: 0xAB, count: 100_000))
            #expect(bench.pump { host.seen.down(link) != nil })
            #expect(host.seen.down(link) == .protocolBroken)
            #expect(host.seen.isRead(1))
            let before = host.contents(0..<8192).allSatisfy { $0 == 0 }
            let after = host.contents(12_288..<ContractHost.memoryBytes).allSatisfy { $0 == 0 }
            #expect(before && after)
        }
    }

    @Test func anAnswerInSmallPartsIsPutTogether() throws {
        try withLiar { bench, host, liar in
            let link = try liar.linkUp()
            host.post(link, Self.key.key, local: 100, length: 600, tag: 1)
            host.post(link, Self.key.key, local: 5000, length: 1, tag: 2)
            #expect(
                bench.pump {
                    liar.data[0].read().count + liar.data[1].read().count == 2 * TCPFrame.requestBytes
                })
            let payload = (0..<600).map { UInt8(truncatingIfNeeded: $0) }
            for byte in response(.ok, length: 600, number: 0) + payload {
                liar.data[0].write([byte])
                bench.turn()
            }
            #expect(bench.pump { host.seen.isRead(1) })
            #expect(host.seen.read(1) == .some(nil))
            #expect(isSame(host.contents(100..<700), payload))
            #expect(!host.seen.isRead(2))
        }
    }

    @Test func randomBytesOnAStreamNeverTrap() throws {
        var generator = SeededGenerator(seed: 21)
        for _ in 0..<30 {
            try withLiar { bench, host, liar in
                let link = try liar.linkUp()
                for tag in 0..<4 {
                    host.post(link, Self.key.key, local: 1 << 20, length: 4096, tag: UInt64(tag))
                }
                var bytes = (0..<400).map { _ in UInt8.random(in: 0...255, using: &generator) }
                if Bool.random(using: &generator) {
                    bytes =
                        response(.ok, length: UInt32.random(in: 0...5000, using: &generator), number: 0)
                        + bytes
                }
                liar.data[0].write(bytes)
                liar.data[1].write(bytes.reversed())
                liar.control.write(bytes)
                bench.settle()
                host.transport.close(link)
                #expect(bench.pump { host.seen.down(link) != nil })
                let isUntouched = host.contents(0..<(1 << 20)).allSatisfy { $0 == 0 }
                #expect(isUntouched)
            }
        }
    }

    @Test func aConnectorRefusesALyingAcceptor() throws {
        let answers: [[UInt8]] = [
            [UInt8](repeating: 0x55, count: 40), HandshakeFrame(.ready).bytes,
            HandshakeFrame(.welcome, detail: 2).bytes,
            HandshakeFrame(.welcome, detail: 0, identity: TCPLiar.identity, readsPerLinkMax: 8).bytes,
            HandshakeFrame(.welcome, detail: 9, identity: TCPLiar.identity, readsPerLinkMax: 8).bytes,
            HandshakeFrame(.refusal, detail: 200).bytes,
            HandshakeFrame(
                .welcome, detail: 2, identity: TCPLiar.identity, readsPerLinkMax: 8
            ).bytes + HandshakeFrame(.ready).bytes,
        ]
        for answer in answers {
            try withBench(.tcp) { bench in
                let host = try bench.host("host")
                let listener = try Sockets.listen(
                    on: SocketAddress(hostAndPort: "127.0.0.1:0")!, kind: .stream, backlog: 8)
                let port = try Sockets.port(of: listener.raw)
                let link = try host.transport.connect(
                    to: TransportAddress(kind: .tcp, location: "127.0.0.1:\(port)"),
                    deadlineNs: bench.nowNs + 20_000_000_000)
                var accepted: LiarSocket?
                for _ in 0..<10_000 where accepted == nil {
                    if let descriptor = try Sockets.accept(listener.raw) { accepted = LiarSocket(descriptor) }
                    bench.turn()
                }
                try #require(accepted).write(answer)
                #expect(bench.pump { host.seen.down(link) != nil })
                #expect(host.seen.events == [.down(link, .protocolBroken)])
            }
        }
    }

    private func withLiar(_ body: (ContractBench, ContractHost, TCPLiar) throws -> Void) throws {
        try withBench(.tcp) { bench in
            let host = try bench.host("host")
            try body(bench, host, try TCPLiar(bench, host))
        }
    }
}

private func response(_ status: TCPFrame.Status, length: UInt32, number: UInt64) -> [UInt8] {
    withUnsafeBytes(of: TCPFrame.responseHead(status, length: length, number: number)) { Array($0) }
}

private func request(length: UInt32, number: UInt64 = 0) -> [UInt8] {
    var bytes: [UInt8] = []
    TCPFrame.appendRequest(
        length: length, number: number, key: RandomNumber(high: 3, low: 4), offset: 0, to: &bytes)
    return bytes
}

/// A peer made of plain sockets, which says what a test wants it to say.
final class TCPLiar {
    static let identity = LinkIdentity(host: HostID("liar")!, incarnation: 1, cluster: "test")
    let identity = TCPLiar.identity
    let greeting = HandshakeFrame(
        .greeting, detail: 2, number: RandomNumber.make(), identity: TCPLiar.identity, readsPerLinkMax: 8)
    private let bench: ContractBench
    private let host: ContractHost
    private let address: SocketAddress
    let control: LiarSocket
    var data: [LiarSocket] = []

    init(_ bench: ContractBench, _ host: ContractHost) throws {
        self.bench = bench
        self.host = host
        address = SocketAddress(hostAndPort: host.transport.address!.location)!
        control = LiarSocket(try Sockets.connect(to: address, kind: .stream))
    }

    func open() throws -> LiarSocket { LiarSocket(try Sockets.connect(to: address, kind: .stream)) }

    /// Greets; the ticket of the answer.
    func greet() throws -> RandomNumber {
        control.write(greeting.bytes)
        _ = bench.pump { control.read().count >= HandshakeFrame.headBytes }
        let answer = control.read().withUnsafeBytes { HandshakeFrame.decode($0) }
        guard case .frame(let frame, let bytes) = answer, frame.kind == .welcome else {
            throw TransportError(.protocolBroken, "\(answer)")
        }
        control.consume(bytes)
        return frame.number
    }

    /// Makes a link of two data streams; the host's name for it.
    func linkUp() throws -> LinkID {
        let ticket = try greet()
        for index in 0..<2 {
            let stream = try open()
            stream.write(HandshakeFrame(.stream, detail: UInt8(index), number: ticket).bytes)
            data.append(stream)
        }
        try #require(bench.pump { !host.seen.up(inbound: true).isEmpty })
        return host.seen.up(inbound: true)[0].0
    }
}

/// A plain socket.
final class LiarSocket {
    private let descriptor: FileDescriptor
    private var received: [UInt8] = []
    private var hasEnded = false

    init(_ descriptor: consuming FileDescriptor) { self.descriptor = descriptor }

    func write(_ bytes: [UInt8]) {
        // What the far side does not take because it has closed is not needed.
        var rest = bytes[...]
        for _ in 0..<1000 where !rest.isEmpty {
            let result = rest.withUnsafeBytes { Sockets.send(descriptor.raw, $0) }
            switch result {
            case .moved(let count): rest = rest.dropFirst(count)
            case .wouldBlock: usleep(100)
            case .ended, .failed: return
            }
        }
    }

    /// Everything received and not consumed.
    func read() -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while !hasEnded {
            let result = buffer.withUnsafeMutableBytes { Sockets.receive(descriptor.raw, into: $0) }
            switch result {
            case .moved(let count): received += buffer[..<count]
            case .wouldBlock: return received
            case .ended, .failed: hasEnded = true
            }
        }
        return received
    }

    func consume(_ count: Int) { received.removeFirst(count) }

    var isClosed: Bool {
        _ = read()
        return hasEnded
    }
}
