import Glibc
import System
import Transport
import TransportVerbs

/// The control stream in the hands of somebody who keeps no rule: any bytes go out, every wait has a limit.
final class HostileWire {
    /// What came in.
    enum Received {
        case frame(VerbsFrame)
        case said(String)
        case closed
        case silence
    }

    let socket: FileDescriptor
    private var inbox: [UInt8] = []
    /// Whether pings are answered.
    var isPolite = true

    static let patienceMs = 10_000

    init(_ socket: consuming FileDescriptor) { self.socket = socket }

    /// Connects to `host:port`.
    convenience init(to place: String) throws {
        guard let address = SocketAddress(hostAndPort: place) else {
            throw TransportError(.badAddress, "\(place) is no host:port")
        }
        self.init(try Sockets.connect(to: address, kind: .stream))
        guard wait(POLLOUT, limitMs: Self.patienceMs), Sockets.pendingError(of: socket.raw) == nil else {
            throw TransportError(.timedOut, "no connection to \(place)")
        }
    }

    private func wait(_ events: CInt, limitMs: Int) -> Bool {
        var entry = pollfd(fd: socket.raw, events: Int16(events), revents: 0)
        return poll(&entry, 1, CInt(clamping: limitMs)) > 0
    }

    /// Sends all of it; false when the far side has closed, or takes nothing for `limitMs`.
    @discardableResult
    func send(_ bytes: [UInt8], limitMs: Int = HostileWire.patienceMs) -> Bool {
        var sent = 0
        while sent < bytes.count {
            let result = bytes.withUnsafeBytes {
                Sockets.send(socket.raw, UnsafeRawBufferPointer(rebasing: $0[sent...]))
            }
            switch result {
            case .moved(let count): sent += count
            case .wouldBlock: guard wait(POLLOUT, limitMs: limitMs) else { return false }
            case .ended, .failed: return false
            }
        }
        return true
    }

    static func framed(_ body: [UInt8]) -> [UInt8] {
        withUnsafeBytes(of: UInt32(body.count).littleEndian) { Array($0) } + body
    }

    @discardableResult
    func send(_ frame: VerbsFrame) -> Bool { send(Self.framed(frame.bytes)) }

    @discardableResult
    func say(_ text: String) -> Bool { send(Self.framed([VerbsFrame.messageKind] + Array(text.utf8))) }

    /// Takes in what is there; false when the stream is over or nothing came in time.
    private func fill(limitMs: Int) -> Received? {
        guard wait(POLLIN, limitMs: limitMs) else { return .silence }
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        switch buffer.withUnsafeMutableBytes({ Sockets.receive(socket.raw, into: $0) }) {
        case .moved(let count):
            inbox += buffer[..<count]
            return nil
        case .wouldBlock: return nil
        case .ended, .failed: return .closed
        }
    }

    /// Until the far side closes, at most so long; what it says meanwhile is thrown away.
    func closes(limitMs: Int) -> Bool {
        let untilNs = MonotonicClock.nowNs() + UInt64(limitMs) * 1_000_000
        while MonotonicClock.nowNs() < untilNs {
            if case .closed = fill(limitMs: 50) { return true }
            inbox = []
        }
        return false
    }

    /// The next handshake frame; nil when none came.
    func handshake() -> HandshakeFrame? {
        let untilNs = MonotonicClock.nowNs() + UInt64(Self.patienceMs) * 1_000_000
        while MonotonicClock.nowNs() < untilNs {
            switch inbox.withUnsafeBytes({ HandshakeFrame.decode($0) }) {
            case .frame(let frame, let count):
                inbox.removeFirst(count)
                return frame
            case .broken: return nil
            case .incomplete: if case .closed = fill(limitMs: 50) { return nil }
            }
        }
        return nil
    }

    /// The next frame or message; pings are answered on the way, if polite.
    func next(limitMs: Int = HostileWire.patienceMs) -> Received {
        let untilNs = MonotonicClock.nowNs() + UInt64(limitMs) * 1_000_000
        while true {
            while inbox.count >= 4 {
                let length = inbox.withUnsafeBytes { Int(UInt32(littleEndian: $0.loadUnaligned(as: UInt32.self))) }
                guard inbox.count >= 4 + length else { break }
                let body = Array(inbox[4..<4 + length])
                inbox.removeFirst(4 + length)
                if body.first == VerbsFrame.messageKind {
                    return .said(String(decoding: body.dropFirst(), as: UTF8.self))
                }
                guard let frame = body.withUnsafeBytes({ VerbsFrame($0) }) else { return .closed }
                if frame == .ping {
                    if isPolite { send(.pong) }
                    continue
                }
                if frame == .pong { continue }
                return .frame(frame)
            }
            let nowNs = MonotonicClock.nowNs()
            guard nowNs < untilNs else { return .silence }
            switch fill(limitMs: Int((untilNs - nowNs) / 1_000_000) + 1) {
            case .closed: return .closed
            default: continue
            }
        }
    }
}
