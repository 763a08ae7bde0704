import Transport

/// One setting of a sweep: what is moved how, in one measurement.
public struct BenchPoint: Sendable, Hashable {
    /// Which way the bytes go, seen from the side that was told to measure.
    public enum Direction: String, Sendable, Hashable, CaseIterable {
        /// The far side's memory is read: what a download does.
        case read
        /// The far side reads ours.
        case reverse
        /// Both at the same time.
        case both
        var clientReads: Bool { self != .reverse }
        var serverReads: Bool { self != .read }
    }

    /// Where the source's bytes come from.
    public enum Source: String, Sendable, Hashable, CaseIterable {
        /// What the transport is best served from: the page cache for TCP and the same host, registered memory for RDMA.
        case auto
        /// The page cache, as pieces on disk are served.
        case file
        /// Registered memory, as pieces in slots are served.
        case memory
    }

    /// The transport.
    public var transport = TransportKind.tcp
    /// The RDMA device of the measuring side; empty for the first usable.
    public var device = ""
    /// Bytes of a request: a piece.
    public var messageBytes = 4 << 20
    /// Requests under way on a link.
    public var depth = 8
    /// Links to each host.
    public var links = 1
    /// TCP connections of a link, or RDMA queue pairs.
    public var streams = 2
    /// Which way.
    public var direction = Direction.read
    /// Where the bytes come from.
    public var source = Source.auto
    /// Whether every piece's cryptographic digest is checked, as a download does.
    public var verifies = false
    /// Whether every byte is compared with what it has to be.
    public var validates = false
    /// SO_RCVBUF and SO_SNDBUF of TCP; 0 leaves them to the kernel.
    public var socketBufferBytes = 0

    /// The usual one.
    public init() {}

    static let messageBytesRange = 4096...(16 << 20)
    static let depthRange = 1...128
    static let linksRange = 1...16
    static let streamsRange = 1...16

    /// Refuses what is out of bounds; both sides ask, so that no far side can make the other take more than this.
    public func check(memoryBytes: Int) throws(BenchError) {
        func within(_ name: String, _ value: Int, _ range: ClosedRange<Int>) throws(BenchError) {
            guard range.contains(value) else {
                throw BenchError(.impossible, "\(name) is \(range.lowerBound) to \(range.upperBound), not \(value)")
            }
        }
        try within("--size", messageBytes, Self.messageBytesRange)
        guard messageBytes % 4096 == 0 else {
            throw BenchError(.impossible, "--size is a multiple of 4096 bytes, not \(messageBytes)")
        }
        try within("--depth", depth, Self.depthRange)
        try within("--links", links, Self.linksRange)
        try within("--streams", streams, Self.streamsRange)
        try within("--socket-buffer", socketBufferBytes, 0...(1 << 30))
        guard memoryBytes >= 2 * messageBytes * depth * links else {
            throw BenchError(
                .impossible,
                "\(links) x \(depth) requests of \(messageBytes) bytes need --memory of twice their bytes: at least "
                    + "\(2 * messageBytes * depth * links)")
        }
    }
}

extension BenchPoint {
    /// As it is sent to the far side.
    var fields: [String: String] {
        [
            "transport": "\(transport)", "device": device, "message": "\(messageBytes)", "depth": "\(depth)",
            "links": "\(links)", "streams": "\(streams)", "direction": direction.rawValue, "source": source.rawValue,
            "verify": verifies ? "1" : "0", "validate": validates ? "1" : "0", "socket-buffer": "\(socketBufferBytes)",
        ]
    }

    init(_ frame: ControlFrame) throws(BenchError) {
        guard let kind = TransportKind.allCases.first(where: { "\($0)" == frame["transport"] }),
            let direction = Direction(rawValue: frame["direction"] ?? ""),
            let source = Source(rawValue: frame["source"] ?? "")
        else { throw BenchError(.protocolBroken, "the far side asks for a transport or direction that is none") }
        transport = kind
        device = frame["device"] ?? ""
        messageBytes = try frame.number("message")
        depth = try frame.number("depth")
        links = try frame.number("links")
        streams = try frame.number("streams")
        self.direction = direction
        self.source = source
        verifies = frame["verify"] == "1"
        validates = frame["validate"] == "1"
        socketBufferBytes = try frame.number("socket-buffer")
    }
}
