import System

/// What one side had used and counted at some moment; differences of two are what a window cost.
public struct Usage: Sendable, Hashable {
    /// Processor time of all threads of the process, in nanoseconds.
    public var processorNs: UInt64 = 0
    /// The busiest threads: by name, time on a processor and time waiting for one.
    public var threads: [ThreadUsage] = []
    /// Calls into the kernel on the data path, as the transport counts its own.
    public var syscalls: UInt64 = 0
    /// Bytes that a processor copied, as far as the transport knows.
    public var copiedBytes: UInt64 = 0
    /// Bytes of pieces received.
    public var receivedBytes: UInt64 = 0
    /// Requests that were read.
    public var requests: UInt64 = 0
    /// What the kernel knows of this process's TCP connections.
    public var tcp = TCPState()
    /// TCP packets sent again on this machine.
    public var retransmittedSegments: UInt64 = 0
    /// When it was taken, on this machine's clock.
    public var atNs: UInt64 = 0
    /// Processors the process may use.
    public var cpuCount = 1

    /// The threads that are told of.
    static let threadsMax = 8

    /// All zero.
    public init() {}

    /// Takes one now.
    static func now(_ progress: BenchSide.Progress?) -> Usage {
        var usage = Usage()
        usage.atNs = MonotonicClock.nowNs()
        let time = ProcessUsage.processorTimeNs()
        usage.processorNs = time.userNs + time.systemNs
        usage.threads = ThreadUsage.ofProcess()
        usage.tcp = TCPState.ofProcess(movedBytesMin: 1 << 20)
        usage.retransmittedSegments = MachineCounts.retransmittedSegments() ?? 0
        usage.cpuCount = (try? CPUSet.ofCallingThread().count) ?? 1
        if let progress {
            usage.syscalls = progress.counters.transport.syscalls
            usage.copiedBytes = progress.counters.transport.copiedBytes
            usage.receivedBytes = progress.counters.transport.receivedBytes
            usage.requests = progress.requests
        }
        return usage
    }

    /// What was used since an earlier one of the same side.
    public func since(_ earlier: Usage) -> Usage {
        func less(_ one: UInt64, _ other: UInt64) -> UInt64 { one >= other ? one - other : 0 }
        var use = self
        use.processorNs = less(processorNs, earlier.processorNs)
        use.syscalls = less(syscalls, earlier.syscalls)
        use.copiedBytes = less(copiedBytes, earlier.copiedBytes)
        use.receivedBytes = less(receivedBytes, earlier.receivedBytes)
        use.requests = less(requests, earlier.requests)
        use.retransmittedSegments = less(retransmittedSegments, earlier.retransmittedSegments)
        use.atNs = less(atNs, earlier.atNs)
        use.tcp.busyUs = less(tcp.busyUs, earlier.tcp.busyUs)
        use.tcp.windowLimitedUs = less(tcp.windowLimitedUs, earlier.tcp.windowLimitedUs)
        use.tcp.bufferLimitedUs = less(tcp.bufferLimitedUs, earlier.tcp.bufferLimitedUs)
        use.tcp.retransmittedSegments = less(tcp.retransmittedSegments, earlier.tcp.retransmittedSegments)
        use.threads = threads.map { thread in
            var used = thread
            if let before = earlier.threads.first(where: { $0.id == thread.id }) {
                used.runNs = less(thread.runNs, before.runNs)
                used.waitNs = less(thread.waitNs, before.waitNs)
            }
            return used
        }
        use.threads.sort { ($0.runNs, $0.id) > ($1.runNs, $1.id) }
        use.threads = Array(use.threads.prefix(Self.threadsMax))
        return use
    }

    /// The share of the time that the busiest thread was on a processor, and what part of it it waited for one.
    public var busiest: (name: String, run: Double, wait: Double)? {
        guard let thread = threads.max(by: { $0.runNs < $1.runNs }), atNs > 0 else { return nil }
        return (thread.name, Double(thread.runNs) / Double(atNs), Double(thread.waitNs) / Double(atNs))
    }
}

extension Usage {
    /// A moment as it is sent: all threads, so that differences can be taken.
    var fields: [String: String] {
        var fields = [
            "cpu": "\(processorNs)", "syscalls": "\(syscalls)", "copied": "\(copiedBytes)",
            "received": "\(receivedBytes)", "requests": "\(requests)", "retransmitted": "\(retransmittedSegments)",
            "at": "\(atNs)", "cpus": "\(cpuCount)", "mss": "\(tcp.segmentBytes)", "rtt": "\(tcp.roundTripUs)",
            "busy": "\(tcp.busyUs)", "window-limited": "\(tcp.windowLimitedUs)",
            "buffer-limited": "\(tcp.bufferLimitedUs)", "tcp-retransmitted": "\(tcp.retransmittedSegments)",
            "connections": "\(tcp.connections)",
        ]
        let busiest = threads.sorted { $0.runNs > $1.runNs }.prefix(Self.threadsMax)
        for (place, thread) in busiest.enumerated() {
            fields["thread\(place)"] = "\(thread.id) \(thread.runNs) \(thread.waitNs) \(thread.name)"
        }
        return fields
    }

    init(_ frame: ControlFrame) throws(BenchError) {
        func count(_ name: String) throws(BenchError) -> UInt64 { UInt64(try frame.number(name)) }
        processorNs = try count("cpu")
        syscalls = try count("syscalls")
        copiedBytes = try count("copied")
        receivedBytes = try count("received")
        requests = try count("requests")
        retransmittedSegments = try count("retransmitted")
        atNs = try count("at")
        cpuCount = try frame.number("cpus")
        tcp.segmentBytes = try frame.number("mss")
        tcp.connections = try frame.number("connections")
        tcp.roundTripUs = try frame.number("rtt")
        tcp.busyUs = try count("busy")
        tcp.windowLimitedUs = try count("window-limited")
        tcp.bufferLimitedUs = try count("buffer-limited")
        tcp.retransmittedSegments = try count("tcp-retransmitted")
        for place in 0..<Self.threadsMax {
            guard let text = frame["thread\(place)"] else { break }
            let parts = text.split(separator: " ", maxSplits: 3)
            guard parts.count == 4, let id = Int(parts[0]), let run = UInt64(parts[1]), let wait = UInt64(parts[2])
            else { throw BenchError(.protocolBroken, "the far side describes a thread as none is") }
            threads.append(ThreadUsage(id: id, name: String(parts[3].prefix(32)), runNs: run, waitNs: wait))
        }
    }
}
