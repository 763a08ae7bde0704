import System
import Transport

/// A far side as the side that measures knows it.
final class FarSide {
    let host: String
    let connection: ControlConnection
    let hello: ControlFrame
    var limits = Limits()
    /// Why it cannot pin the memory that was prepared; nil when it can, or has no device for that.
    var pinningObjection: String?

    /// Connects and greets. `word` is what links will know each other by.
    init(_ host: String, word: String) throws(BenchError) {
        self.host = host
        connection = try ControlConnection.connect(to: host, limitMs: 5000)
        hello = try connection.ask(
            ControlFrame("hello", ["version": "\(BenchServerSession.version)", "word": word]), answer: "hello",
            limitMs: 5000)
    }

    /// Whether it runs on this machine.
    var isHere: Bool { hello["boot"].map { $0 == MachineCounts.bootID() && !$0.isEmpty } ?? false }

    /// Why it cannot use a transport; nil when it can.
    func objection(to kind: TransportKind) -> String? {
        switch hello["offer-\(kind)"] {
        case "ok": nil
        case let why?: why
        case nil: "the far side does not know it"
        }
    }

    func mark() throws(BenchError) -> Usage {
        try Usage(connection.ask(ControlFrame("mark"), answer: "marked"))
    }

    /// What a raw loop of the same shape reaches from there to here; nil when it cannot be made.
    func measureRaw(_ point: BenchPoint, into memory: BenchMemory, durationNs: UInt64) throws(BenchError) -> Double? {
        let fromFile = point.source != .memory
        let reply = try connection.ask(
            ControlFrame("raw", ["message": "\(point.messageBytes)", "source": fromFile ? "file" : "memory"]),
            answer: "raw")
        let port = try reply.number("port")
        let place = "\(host[..<(host.lastIndex(of: ":") ?? host.endIndex)]):\(port)"
        guard let address = SocketAddress(hostAndPort: place),
            let socket = try? Sockets.connect(to: address, kind: .stream),
            Sockets.waitReady(socket.raw, writing: true, limitMs: 5000)
        else { return nil }
        return RawLoop.receive(socket.raw, into: memory, messageBytes: point.messageBytes, durationNs: durationNs)
    }
}
