import Glibc
import System

/// What the two sides of a measurement say to each other, apart from the measured bytes: a verb and named values.
///
/// On the wire: the length in four bytes, big-endian, at most `bytesMax`; then lines of UTF-8, the verb first, then
/// `name=value`. Anything else ends the conversation.
struct ControlFrame: Sendable, Equatable {
    static let bytesMax = 16 << 10
    static let fieldsMax = 128

    var verb: String
    var fields: [String: String] = [:]

    init(_ verb: String, _ fields: [String: String] = [:]) {
        self.verb = verb
        self.fields = fields
    }

    subscript(_ name: String) -> String? { fields[name] }

    /// A whole number that has to be there.
    func number(_ name: String) throws(BenchError) -> Int {
        guard let number = fields[name].flatMap({ Int($0) }), number >= 0 else {
            throw BenchError(.protocolBroken, "the far side's \(verb) lacks the number \(name)")
        }
        return number
    }

    /// The bytes with their length in front.
    func encoded() -> [UInt8] {
        func clean(_ text: String) -> String {
            String(text.map { $0.isNewline || $0 == "\0" ? " " : $0 })
        }
        var text = clean(verb)
        for (name, value) in fields.sorted(by: { $0.key < $1.key }) { text += "\n\(name)=\(clean(value))" }
        let body = Array(text.utf8)
        precondition(body.count <= Self.bytesMax, "a control frame has at most \(Self.bytesMax) bytes")
        let length = UInt32(body.count)
        return [UInt8(length >> 24), UInt8(length >> 16 & 255), UInt8(length >> 8 & 255), UInt8(length & 255)] + body
    }

    /// Reads a body; nil when it is none.
    static func decode(_ body: [UInt8]) -> ControlFrame? {
        guard body.count <= bytesMax, let text = String(validating: body, as: UTF8.self) else { return nil }
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false)[...]
        guard let verb = lines.popFirst(), !verb.isEmpty, lines.count <= fieldsMax else { return nil }
        var frame = ControlFrame(String(verb))
        for line in lines {
            guard let equals = line.firstIndex(of: "="), equals != line.startIndex else { return nil }
            let name = String(line[..<equals])
            guard frame.fields.updateValue(String(line[line.index(after: equals)...]), forKey: name) == nil else {
                return nil
            }
        }
        return frame
    }
}

/// A connection for control frames. One thread uses it; every wait has a limit.
final class ControlConnection: Sendable {
    private let socket: FileDescriptor

    init(_ socket: consuming FileDescriptor) { self.socket = socket }

    /// Connects to a numeric address.
    static func connect(to text: String, limitMs: Int) throws(BenchError) -> ControlConnection {
        guard let address = SocketAddress(hostAndPort: text) else {
            throw BenchError(.unreachable, "\(text) is no address of the form HOST:PORT")
        }
        do throws(Errno) {
            let socket = try Sockets.connect(to: address, kind: .stream)
            guard Sockets.waitReady(socket.raw, writing: true, limitMs: limitMs) else {
                throw Errno.unanswered
            }
            if let failure = Sockets.pendingError(of: socket.raw) { throw failure }
            try Sockets.tune(socket.raw, unacknowledgedLimitMs: 20_000, receiveBytes: 0, sendBytes: 0)
            return ControlConnection(socket)
        } catch {
            let remedy = "is `martlet bench serve` running there, and does the firewall let its port through?"
            throw BenchError(.unreachable, "\(text) cannot be reached (\(error)); \(remedy)")
        }
    }

    var raw: CInt { socket.raw }

    func send(_ frame: ControlFrame) throws(BenchError) {
        let bytes = frame.encoded()
        let deadlineNs = MonotonicClock.nowNs() + 10_000_000_000
        var sent = 0
        while sent < bytes.count {
            let result = bytes.withUnsafeBytes { Sockets.send(raw, UnsafeRawBufferPointer(rebasing: $0[sent...])) }
            switch result {
            case .moved(let count): sent += count
            case .wouldBlock:
                guard MonotonicClock.nowNs() < deadlineNs else {
                    throw BenchError(.timedOut, "the far side takes no control message")
                }
                _ = Sockets.waitReady(raw, writing: true, limitMs: 1000)
            case .ended, .failed: throw BenchError(.unreachable, "the far side ended the measurement")
            }
        }
    }

    /// The next frame; nil when none begins within the limit.
    func receive(limitMs: Int) throws(BenchError) -> ControlFrame? {
        guard Sockets.waitReady(raw, writing: false, limitMs: limitMs) else { return nil }
        let head = try receive(exactly: 4)
        let length = head.reduce(0) { $0 << 8 | Int($1) }
        guard length <= ControlFrame.bytesMax, let frame = ControlFrame.decode(try receive(exactly: length)) else {
            throw BenchError(.protocolBroken, "the far side does not speak as martlet bench does")
        }
        return frame
    }

    /// Asks, and gives the answer of that verb; a refusal is thrown.
    func ask(_ frame: ControlFrame, answer: String, limitMs: Int = 60_000) throws(BenchError) -> ControlFrame {
        try send(frame)
        guard let reply = try receive(limitMs: limitMs) else {
            throw BenchError(.timedOut, "the far side did not answer \(frame.verb) within \(limitMs / 1000) s")
        }
        if reply.verb == "refused" {
            let code: BenchError.Code = reply["code"] == "busy" ? .busy : .impossible
            throw BenchError(code, "the far side refused: \(reply["why"] ?? "no reason given")")
        }
        guard reply.verb == answer else {
            throw BenchError(.protocolBroken, "the far side answered \(reply.verb) to \(frame.verb)")
        }
        return reply
    }

    private func receive(exactly count: Int) throws(BenchError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        var filled = 0
        let deadlineNs = MonotonicClock.nowNs() + 10_000_000_000
        while filled < count {
            let result = bytes.withUnsafeMutableBytes {
                Sockets.receive(raw, into: UnsafeMutableRawBufferPointer(rebasing: $0[filled...]))
            }
            switch result {
            case .moved(let more): filled += more
            case .wouldBlock:
                guard MonotonicClock.nowNs() < deadlineNs else {
                    throw BenchError(.timedOut, "the far side sent half a control message")
                }
                _ = Sockets.waitReady(raw, writing: false, limitMs: 1000)
            case .ended, .failed: throw BenchError(.unreachable, "the far side ended the measurement")
            }
        }
        return bytes
    }
}

extension Errno {
    /// A host that says nothing at all.
    static var unanswered: Errno { Errno(ETIMEDOUT, "connect") }
}
