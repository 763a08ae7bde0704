import Artifacts
import Glibc
import System
import Transport

/// One measuring side's conversation with the server. Used by one thread.
final class BenchServerSession {
    static let version = 1
    private static let limitMs = 30_000

    private let options: BenchServer.Options
    private let connection: ControlConnection
    private var memory: BenchMemory?
    private var side: BenchSide?
    private var point: BenchPoint?
    private var localPath: String?
    private var rawListener: FileDescriptor?
    private var cluster = ""
    private var farSeed: UInt64 = 0
    private var isGreeted = false

    init(_ options: BenchServer.Options, _ connection: ControlConnection) {
        self.options = options
        self.connection = connection
    }

    /// Gives back all that the session took.
    func end() {
        side?.shutdown()
        side = nil
        memory = nil
        if let localPath { removePrivatePath(localPath) }
        localPath = nil
    }

    /// Does what a frame asks for, and answers it.
    func answer(_ frame: ControlFrame) throws(BenchError) -> ControlFrame {
        guard isGreeted || frame.verb == "hello" else {
            throw BenchError(.protocolBroken, "a measurement begins with hello")
        }
        switch frame.verb {
        case "hello": return try greet(frame)
        case "prepare": return try prepare(frame)
        case "limits": return limits()
        case "raw": return try listenRaw()
        case "point": return try begin(frame)
        case "links":
            try current().awaitLinks(try frame.number("count"), limitMs: Self.limitMs)
            return ControlFrame("linked")
        case "begin":
            try current().beginReading()
            return ControlFrame("begun")
        case "mark": return ControlFrame("marked", Usage.now(try current().progress()).fields)
        case "end": return try finish()
        default: throw BenchError(.protocolBroken, "\(frame.verb) is nothing this version knows")
        }
    }

    /// Does what takes longer than an answer.
    func follow(_ frame: ControlFrame) throws(BenchError) {
        guard frame.verb == "raw", let listener = rawListener.take() else { return }
        let bytes = min(max(try frame.number("message"), 4096), 16 << 20)
        guard let memory, Sockets.waitReady(listener.raw, writing: false, limitMs: 5000),
            let socket = try? Sockets.accept(listener.raw)
        else { return }
        RawLoop.send(
            socket.raw, from: memory, messageBytes: bytes, fromFile: frame["source"] != "memory",
            limitNs: 20_000_000_000)
    }

    private func current() throws(BenchError) -> BenchSide {
        guard let side else { throw BenchError(.protocolBroken, "no point was begun") }
        return side
    }

    private func greet(_ frame: ControlFrame) throws(BenchError) -> ControlFrame {
        guard try frame.number("version") == Self.version else {
            throw BenchError(
                .impossible, "this side speaks version \(Self.version) of the measurement; use one martlet on both")
        }
        cluster = frame["word"] ?? ""
        guard (16...64).contains(cluster.utf8.count) else {
            throw BenchError(.protocolBroken, "hello lacks the word that links know each other by")
        }
        isGreeted = true
        var fields = [
            "version": "\(Self.version)", "boot": MachineCounts.bootID() ?? "",
            "memory-max": "\(options.memoryBytesMax)",
            "processors": "\((try? CPUSet.ofCallingThread().count) ?? 0)",
        ]
        for (kind, objection) in BenchRail.offers() { fields["offer-\(kind)"] = objection ?? "ok" }
        if let buffers = MachineCounts.tcpBufferBytesMax() {
            fields["receive-buffer"] = "\(buffers.receive)"
            fields["send-buffer"] = "\(buffers.send)"
        }
        return ControlFrame("hello", fields)
    }

    private func prepare(_ frame: ControlFrame) throws(BenchError) -> ControlFrame {
        let bytes = try frame.number("memory")
        guard bytes > 0, bytes <= options.memoryBytesMax else {
            throw BenchError(
                .impossible,
                "\(bytes) bytes of memory are more than this side gives (\(options.memoryBytesMax)); "
                    + "ask for less by --memory, or start it with --memory-max")
        }
        guard memory == nil else { throw BenchError(.protocolBroken, "memory was prepared already") }
        let pages: SharedMemory.Pages = frame["pages"] == "huge" ? .huge2MiB : .normal
        let node = frame["node"].flatMap { Int($0) }
        let taken = try BenchMemory(lengthBytes: bytes, pages: pages, node: node)
        taken.fill(seed: UInt64(try frame.number("seed")))
        farSeed = UInt64(try frame.number("far-seed"))
        memory = taken
        return ControlFrame("prepared", BenchRail.pinningObjection(bytes: bytes).map { ["pinning": $0] } ?? [:])
    }

    private func limits() -> ControlFrame {
        var fields: [String: String] = [:]
        let host = (try? Sockets.localHost(of: connection.raw)) ?? ""
        let limits = Limits.ofInterface(address: host)
        if let rate = limits.lineRate { fields["line-rate"] = "\(Int(rate))" }
        if let rate = limits.pcie { fields["pcie"] = "\(Int(rate))" }
        if let mtu = limits.mtuBytes { fields["mtu"] = "\(mtu)" }
        if let name = limits.interface { fields["interface"] = name }
        return ControlFrame("limits", fields)
    }

    private func listenRaw() throws(BenchError) -> ControlFrame {
        guard memory != nil else { throw BenchError(.protocolBroken, "memory was not prepared") }
        do throws(Errno) {
            let listener = try Sockets.listen(
                on: SocketAddress(hostAndPort: try here(port: 0))!, kind: .stream, backlog: 1)
            let port = try Sockets.port(of: listener.raw)
            rawListener = consume listener
            return ControlFrame("raw", ["port": "\(port)"])
        } catch {
            throw BenchError(.system, "cannot listen for the raw loop: \(error)")
        }
    }

    /// The address that the control connection came in at, with another port.
    private func here(port: Int) throws(Errno) -> String {
        let host = try Sockets.localHost(of: connection.raw)
        return host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    }

    private func begin(_ frame: ControlFrame) throws(BenchError) -> ControlFrame {
        guard let memory, side == nil else {
            throw BenchError(.protocolBroken, "a point is due after prepare, one at a time")
        }
        var point = try BenchPoint(frame)
        try point.check(memoryBytes: memory.lengthBytes)
        point.device = options.device
        let listen: String
        do throws(Errno) {
            if point.transport == .local {
                if let localPath { removePrivatePath(localPath) }
                localPath = makePrivatePath("bench.sock")
                guard let localPath else { throw Errno(EACCES, "mkdtemp") }
                listen = localPath
            } else {
                listen = try here(port: 0)
            }
        } catch {
            throw BenchError(.system, "cannot tell where to listen: \(error)")
        }
        let made = try BenchSide(
            point, memory: memory, reads: point.direction.serverReads, serves: point.direction.clientReads,
            seed: farSeed)
        do throws(BenchError) {
            let address = try made.start(
                BenchRail.Place(
                    name: "bench-server", cluster: cluster, listen: listen, linksMax: BenchPoint.linksRange.upperBound,
                    reads: point.direction.serverReads, serves: point.direction.clientReads))
            guard let address else { throw BenchError(.system, "the transport does not listen") }
            side = made
            self.point = point
            return ControlFrame("ready", ["address": "\(address)"])
        } catch {
            made.shutdown()
            throw error
        }
    }

    private func finish() throws(BenchError) -> ControlFrame {
        let side = try current()
        defer {
            side.shutdown()
            self.side = nil
        }
        try side.endReading(limitMs: Self.limitMs)
        let progress = try side.progress()
        let fields = [
            "requests": "\(progress.requests)", "histogram": String(progress.histogram.encoded.prefix(12_000)),
        ]
        return ControlFrame("ended", fields)
    }
}
