import System
import Transport

/// What holds a path back, as a word for programs and a sentence for people.
public struct Finding: Sendable, Hashable {
    /// The closed set of words.
    public enum Code: String, Sendable, Hashable, CaseIterable {
        /// Both sides, or several threads of one, share one processor.
        case sharedProcessor = "shared-processor"
        /// One core is filled by receiving.
        case readingCore = "reading-core"
        /// One core is filled by sending.
        case servingCore = "serving-core"
        /// Verification takes all the processor time it can get.
        case verification
        /// The kernel's socket buffers are too small for the path.
        case socketBuffers = "socket-buffers"
        /// The port's rate is reached.
        case lineRate = "line-rate"
        /// Packets get lost.
        case losses
        /// Neither side is busy: what is between them is the limit.
        case network
        /// Too few bytes are under way to hide the time of a request.
        case tooFewRequests = "too-few-requests"
        /// The path's packets are small.
        case smallPackets = "small-packets"
        /// RDMA is there and cannot be used, since memory cannot be pinned.
        case lockedMemory = "locked-memory"
        /// The disk takes bytes more slowly than they come.
        case disk
        /// Memory copies are at what the machine's memory gives.
        case memoryBandwidth = "memory-bandwidth"
        /// Nothing measured stands out.
        case unclear
    }

    /// The word.
    public let code: Code
    /// The sentence, with what would help.
    public let sentence: String

    /// Describes a finding.
    public init(_ code: Code, _ sentence: String) {
        self.code = code
        self.sentence = sentence
    }
}

/// All that a verdict is made from. A value, so that it can be tested without any network.
public struct Observation: Sendable {
    /// What was measured.
    public var point = BenchPoint()
    /// Bytes a second.
    public var bytesPerSecond = 0.0
    /// What the side that read used during it.
    public var reading = Usage()
    /// What the side that was read used during it.
    public var serving = Usage()
    /// What the path could do.
    public var limits = Limits()
    /// The smaller of both sides' largest socket buffers; nil when not known.
    public var socketBufferBytesMax: UInt64?
    /// Why a side that has an RDMA device cannot pin the memory for it; nil when it can, or has none.
    public var pinningObjection: String?
    /// Share of the time in which the reader waited for its disk; 0 where none is written.
    public var diskShare = 0.0

    /// Nothing observed.
    public init() {}

    /// A time of the source's TCP connections as a share of theirs all.
    func senderShare(_ us: KeyPath<TCPState, UInt64>) -> Double {
        let connections = Double(max(serving.tcp.connections, 1))
        return serving.atNs == 0
            ? 0 : min(1, Double(serving.tcp[keyPath: us]) * 1000 / Double(serving.atNs) / connections)
    }
}

/// Says in words what bounds a path: the strongest first.
public enum Verdict {
    private static let full = 0.85
    private static let idle = 0.7

    /// What an observation shows; never empty.
    public static func findings(_ seen: Observation) -> [Finding] {
        var found: [Finding] = []
        if let locked = lockedMemory(seen) { found.append(locked) }
        if let bound = bound(seen) { found.append(bound) }
        if let packets = smallPackets(seen) { found.append(packets) }
        if found.isEmpty { found.append(unclear(seen)) }
        return found
    }

    private static func bound(_ seen: Observation) -> Finding? {
        let reading = seen.reading.busiest ?? ("", 0, 0)
        let serving = seen.serving.busiest ?? ("", 0, 0)
        if seen.diskShare > 0.5 {
            return Finding(
                .disk,
                "the disk: writing takes \(percent(seen.diskShare)) of the time; a faster disk or tmpfs would help, "
                    + "the network would not")
        }
        if max(reading.wait, serving.wait) > 0.2, min(seen.reading.cpuCount, seen.serving.cpuCount) == 1 {
            return Finding(
                .sharedProcessor,
                "one processor for everything: threads wait \(percent(max(reading.wait, serving.wait))) of the time for "
                    + "it; give the process more CPUs (its affinity allows one)")
        }
        if let buffers = socketBuffers(seen) { return buffers }
        if let line = seen.limits.lineRate, seen.bytesPerSecond > 0.9 * line {
            return Finding(
                .lineRate, "the port: \(percent(seen.bytesPerSecond / line)) of its rate; only more ports would help")
        }
        let isNetworkBusy = seen.point.transport == .tcp && seen.senderShare(\.busyUs) > 0.5
        let lossPerGiB = Double(seen.serving.tcp.retransmittedSegments) / max(gibibytes(seen), 1e-9)
        if isNetworkBusy, reading.run < idle, serving.run < idle, lossPerGiB > 50 {
            return Finding(
                .losses,
                "the network loses packets: \(Int(lossPerGiB)) sent again a GiB while both processors wait; look at "
                    + "rate limits, switch buffers, cables and duplex")
        }
        if let core = core(seen, reading, serving) { return core }
        let isIdle = reading.run < idle && serving.run < idle
        let isUnderWay = seen.point.depth * seen.point.links * seen.point.messageBytes > 256 << 10
        // The source's sockets always hold bytes that nothing but the path keeps them from sending.
        let limited = seen.senderShare(\.windowLimitedUs) + seen.senderShare(\.bufferLimitedUs)
        let isPathFull = seen.point.transport == .tcp && seen.senderShare(\.busyUs) > 0.9 && limited < 0.2
        if isIdle, isPathFull, isUnderWay { return network(seen) }
        if max(reading.wait, serving.wait) > 0.25 {
            return Finding(
                .sharedProcessor,
                "threads wait \(percent(max(reading.wait, serving.wait))) of the time for a processor that others use; "
                    + "leave the machine to the measurement, or pin others elsewhere")
        }
        guard isIdle else { return nil }
        guard isUnderWay else {
            return Finding(
                .tooFewRequests,
                "too little under way: \(seen.point.depth * seen.point.links) requests of "
                    + "\(seen.point.messageBytes >> 10) KiB; give a larger --depth or --size")
        }
        return seen.point.transport == .local ? nil : network(seen)
    }

    private static func network(_ seen: Observation) -> Finding {
        Finding(
            .network,
            "the network: both processors are idle, and what is between them gives no more"
                + (seen.limits.lineRate.map { ", although the port's rate is \(gigabits($0)) Gb/s" } ?? "")
                + "; look for a rate limit, a slower hop or a shared link")
    }

    private static func core(
        _ seen: Observation, _ reading: (name: String, run: Double, wait: Double),
        _ serving: (name: String, run: Double, wait: Double)
    ) -> Finding? {
        let checkers = seen.reading.threads.filter { $0.name.hasPrefix("bench-verify") }
        let checked = checkers.map { Double($0.runNs) }.reduce(0, +) / max(Double(seen.reading.atNs), 1)
        if seen.point.verifies, !checkers.isEmpty, checked / Double(checkers.count) > full {
            return Finding(
                .verification,
                "verification: \(checkers.count) thread\(checkers.count == 1 ? " hashes" : "s hash") all the time; more "
                    + "processors would help")
        }
        if reading.run > full, reading.run >= serving.run {
            let copy =
                seen.limits.memoryCopy.map { seen.bytesPerSecond > 0.6 * $0 } ?? false
                ? ", at what this memory copies at best" : ""
            let remedy =
                switch seen.point.transport {
                case .tcp: "a second process or link on another core would add to it, and RDMA would need no copy"
                case .local: "that is the copy itself; mapping instead of copying is what a peer's reader does next"
                default: "more queue pairs or a larger --size would help"
                }
            return Finding(
                .readingCore,
                "one core is filled by receiving (\(percent(reading.run)) of \(reading.name))\(copy); \(remedy)")
        }
        if serving.run > full {
            return Finding(
                .servingCore,
                "one core of the source is filled by sending (\(percent(serving.run)) of \(serving.name)); sending from "
                    + "the page cache (--source file) costs it least, several sources would add up")
        }
        return nil
    }

    private static func socketBuffers(_ seen: Observation) -> Finding? {
        guard seen.point.transport == .tcp else { return nil }
        let asked = seen.point.socketBufferBytes > 0 ? UInt64(seen.point.socketBufferBytes) : UInt64.max
        let cap = min(asked, seen.socketBufferBytesMax ?? .max)
        let window = seen.senderShare(\.windowLimitedUs)
        let buffer = seen.senderShare(\.bufferLimitedUs)
        let isCapped = cap < 512 << 10
        let isIdle = (seen.reading.busiest?.run ?? 0) < full
        // Of small buffers the wait counts as a share of the time in which there was something to send.
        let busy = seen.senderShare(\.busyUs)
        let waits = max(window, buffer) / (isCapped && busy > 0 ? busy : 1)
        guard waits > 0.2, isCapped || (isIdle && window > 0.5) else { return nil }
        let size = cap == .max ? "" : " (at most \(cap >> 10) KiB)"
        return Finding(
            .socketBuffers,
            "the socket buffers\(size): the sender waits \(percent(max(window, buffer))) of the time for room; raise "
                + "net.ipv4.tcp_rmem, tcp_wmem and net.core.rmem_max, or drop --socket-buffer")
    }

    private static func smallPackets(_ seen: Observation) -> Finding? {
        let mtu = seen.limits.mtuBytes ?? 0
        let segment = seen.serving.tcp.segmentBytes
        let isSmall = (mtu > 0 && mtu < 1500) || (seen.point.transport == .tcp && segment > 0 && segment < 1400)
        guard isSmall else { return nil }
        let what = mtu > 0 ? "MTU \(mtu)" : "segments of \(segment) bytes"
        return Finding(
            .smallPackets, "\(what): each packet carries little; 9000 on all of the path means fewer interrupts a byte")
    }

    private static func lockedMemory(_ seen: Observation) -> Finding? {
        guard let objection = seen.pinningObjection, seen.point.transport != .rdma else { return nil }
        return Finding(.lockedMemory, "RDMA is not used, which is there: \(objection)")
    }

    private static func unclear(_ seen: Observation) -> Finding {
        guard let least = seen.limits.least(isTCP: seen.point.transport == .tcp) else {
            return Finding(.unclear, "nothing measured stands out as the limit")
        }
        if least.name == "memory copy", seen.bytesPerSecond > 0.7 * least.bytesPerSecond {
            return Finding(
                .memoryBandwidth, "the memory: \(percent(seen.bytesPerSecond / least.bytesPerSecond)) of a plain copy")
        }
        return Finding(
            .unclear,
            "no single thing: \(percent(seen.bytesPerSecond / least.bytesPerSecond)) of the lowest limit (\(least.name)); "
                + "several runs, --links 2 or a larger --depth tell more")
    }

    private static func gibibytes(_ seen: Observation) -> Double {
        seen.bytesPerSecond * Double(seen.reading.atNs) / 1e9 / Double(1 << 30)
    }
    private static func percent(_ share: Double) -> String { "\(Int((share * 100).rounded())) %" }
    private static func gigabits(_ bytesPerSecond: Double) -> String {
        let tenths = Int((bytesPerSecond * 8 / 1e8).rounded())
        return tenths % 10 == 0 ? "\(tenths / 10)" : "\(tenths / 10).\(tenths % 10)"
    }
}
