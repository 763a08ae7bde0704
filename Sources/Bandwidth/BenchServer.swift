import Artifacts
import Synchronization
import System
import Transport

/// The far side of measurements: waits for one side that measures at a time, and does as it asks within its own bounds.
///
/// It listens where it is told and nowhere else; data is exchanged at the address that the control connection came in at,
/// with links that know a word made for the occasion. Memory is taken once a session, at most `memoryBytesMax`.
public final class BenchServer: Sendable {
    /// Its bounds.
    public struct Options: Sendable {
        /// `host:port`, numeric.
        public var listen = "127.0.0.1:7790"
        /// The most memory a session may ask for.
        public var memoryBytesMax = 8 << 30
        /// It ends itself when nobody has asked for anything for so long.
        public var idleNs: UInt64 = 600_000_000_000
        /// Whether it ends after the first session.
        public var isForOneSession = false
        /// The RDMA device; empty for the first usable.
        public var device = ""
        /// A file that may be read end to end; nil for none.
        public var file: String?
        /// The usual ones.
        public init() {}
    }

    private let options: Options
    private let listener: FileDescriptor
    /// Where it listens.
    public let address: String
    private let stopping = Atomic(false)

    /// Listens.
    public init(_ options: Options) throws(BenchError) {
        self.options = options
        guard let address = SocketAddress(hostAndPort: options.listen) else {
            throw BenchError(.impossible, "--listen \(options.listen): write it as 10.0.0.5:7790, numeric")
        }
        do throws(Errno) {
            listener = try Sockets.listen(on: address, kind: .stream, backlog: 16)
            let host = options.listen[..<options.listen.lastIndex(of: ":")!]
            self.address = "\(host):\(try Sockets.port(of: listener.raw))"
        } catch {
            throw BenchError(.impossible, "cannot listen at \(options.listen): \(error)")
        }
    }

    /// Asks it to end, from any thread.
    public func stop() { stopping.store(true, ordering: .relaxed) }

    /// Serves until it is stopped, nobody has come for `idleNs`, or the one session has ended. Blocks.
    public func run(log: (String) -> Void) {
        var idleSinceNs = MonotonicClock.nowNs()
        while !isStopping, MonotonicClock.nowNs() - idleSinceNs < options.idleNs {
            guard Sockets.waitReady(listener.raw, writing: false, limitMs: 200), let connection = accept() else {
                continue
            }
            do throws(BenchError) {
                try serve(connection)
                log("a measurement has ended")
            } catch {
                log("a measurement has ended: \(error)")
            }
            if options.isForOneSession { return }
            idleSinceNs = MonotonicClock.nowNs()
        }
    }

    private var isStopping: Bool { stopping.load(ordering: .relaxed) }

    private func accept() -> ControlConnection? {
        guard let socket = try? Sockets.accept(listener.raw) else { return nil }
        try? Sockets.tune(socket.raw, unacknowledgedLimitMs: 20_000, receiveBytes: 0, sendBytes: 0)
        return ControlConnection(socket)
    }

    /// The next frame; nil when the session is over. Others that come meanwhile are told to wait.
    private func next(_ connection: ControlConnection) throws(BenchError) -> ControlFrame? {
        let deadlineNs = MonotonicClock.nowNs() + options.idleNs
        while !isStopping, MonotonicClock.nowNs() < deadlineNs {
            if let frame = try connection.receive(limitMs: 200) { return frame }
            if Sockets.waitReady(listener.raw, writing: false, limitMs: 0), let other = accept() {
                try? other.send(ControlFrame("refused", ["code": "busy", "why": "another measurement is running"]))
            }
        }
        return nil
    }

    private func serve(_ connection: ControlConnection) throws(BenchError) {
        let session = BenchServerSession(options, connection)
        defer { session.end() }
        while let frame = try next(connection) {
            if frame.verb == "bye" { return }
            do throws(BenchError) {
                try connection.send(try session.answer(frame))
                try session.follow(frame)
            } catch {
                try connection.send(ControlFrame("refused", ["code": "\(error.code)", "why": error.description]))
                // What was refused leaves nothing behind: the far side may ask for something else.
                guard error.code == .impossible || error.code == .wrongBytes else { throw error }
            }
        }
    }
}
