import CLinux

/// What the kernel knows of a TCP connection: a part of `struct tcp_info`, tcp(7). Counts run from the connection's start.
public struct TCPState: Sendable, Hashable {
    /// Bytes of payload in a packet.
    public var segmentBytes = 0
    /// Smoothed round-trip time, in microseconds.
    public var roundTripUs = 0
    /// Packets that may be under way.
    public var congestionSegments = 0
    /// Packets sent again.
    public var retransmittedSegments: UInt64 = 0
    /// Bytes sent, those sent again included.
    public var sentBytes: UInt64 = 0
    /// Bytes received.
    public var receivedBytes: UInt64 = 0
    /// How long something was waiting to be sent or acknowledged, in microseconds.
    public var busyUs: UInt64 = 0
    /// How much of that the far side's receive window was full.
    public var windowLimitedUs: UInt64 = 0
    /// How much of it our send buffer was too small.
    public var bufferLimitedUs: UInt64 = 0

    /// How many connections it tells of.
    public var connections = 0

    /// All zero.
    public init() {}

    /// Of one connection; nil for a descriptor that is no TCP connection, or not any more.
    public static func of(_ descriptor: CInt) -> TCPState? {
        var raw = martlet_tcp_state()
        guard martlet_socket_tcp_state(descriptor, &raw) == 0, raw.is_established == 1 else { return nil }
        var state = TCPState()
        state.connections = 1
        state.segmentBytes = Int(raw.segment_bytes)
        state.roundTripUs = Int(raw.round_trip_us)
        state.congestionSegments = Int(raw.congestion_segments)
        state.retransmittedSegments = UInt64(raw.retransmitted_segments)
        state.sentBytes = raw.sent_bytes
        state.receivedBytes = raw.received_bytes
        state.busyUs = raw.busy_us
        state.windowLimitedUs = raw.window_limited_us
        state.bufferLimitedUs = raw.buffer_limited_us
        return state
    }

    /// All TCP connections of this process together that moved at least so many bytes: counts are summed, the segment's
    /// size is the smallest, the round-trip time the largest.
    ///
    /// Reads `/proc/self/fd`; a connection that closes meanwhile is left out.
    public static func ofProcess(movedBytesMin: UInt64, proc: String = "/proc") -> TCPState {
        var sum = TCPState()
        for name in SystemTree.entries("\(proc)/self/fd") {
            guard let number = CInt(name), let one = of(number), one.sentBytes + one.receivedBytes >= movedBytesMin
            else { continue }
            sum.segmentBytes = sum.segmentBytes == 0 ? one.segmentBytes : min(sum.segmentBytes, one.segmentBytes)
            sum.connections += 1
            sum.roundTripUs = max(sum.roundTripUs, one.roundTripUs)
            sum.congestionSegments += one.congestionSegments
            sum.retransmittedSegments += one.retransmittedSegments
            sum.sentBytes += one.sentBytes
            sum.receivedBytes += one.receivedBytes
            sum.busyUs += one.busyUs
            sum.windowLimitedUs += one.windowLimitedUs
            sum.bufferLimitedUs += one.bufferLimitedUs
        }
        return sum
    }
}

extension Sockets {
    /// Waits until a descriptor can be read (or written); false when the time is over. Blocks.
    public static func waitReady(_ descriptor: CInt, writing: Bool, limitMs: Int) -> Bool {
        martlet_wait_ready(descriptor, Int16(writing ? POLLOUT : POLLIN), CInt(clamping: limitMs)) > 0
    }

    /// The numeric address this end of a connection has, without its port.
    public static func localHost(of socket: CInt) throws(Errno) -> String {
        try text(64, "getsockname") { martlet_socket_local_host(socket, $0, $1) }
    }

    /// The numeric address of a host, which may be a name. Blocks for as long as the resolver takes.
    public static func resolve(_ host: String) throws(Errno) -> String {
        try text(64, "getaddrinfo(\(host))") { martlet_resolve(host, "0", $0, $1) }
    }

    /// The interface that has a numeric address; nil when none has.
    public static func interface(of address: String) -> String? {
        try? text(64, "getifaddrs") { martlet_interface_of(address, $0, $1) }
    }

    private static func text(
        _ bytes: Int, _ call: String, _ body: (UnsafeMutablePointer<CChar>, CInt) -> CInt
    ) throws(Errno) -> String {
        var text = [CChar](repeating: 0, count: bytes)
        let result = text.withUnsafeMutableBufferPointer { body($0.baseAddress!, CInt($0.count)) }
        guard result >= 0 else { throw Errno(-result, call) }
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

extension FileDescriptor {
    /// Lets the file's clean pages leave the page cache, so that the next reading comes from the disk.
    public func dropCached() throws(Errno) {
        let result = martlet_drop_cached(raw)
        guard result >= 0 else { throw Errno(-result, "posix_fadvise") }
    }
}
