import Observability
import Transport

/// What one point came to.
public struct BenchResult: Sendable {
    /// The setting.
    public var point = BenchPoint()
    /// Why this transport.
    public var why = ""
    /// Bytes a second, of each repetition.
    public var rates: [Double] = []
    /// Requests a second, the median.
    public var requestsPerSecond = 0.0
    /// How long requests took.
    public var latency = LatencyHistogram()
    /// Processor seconds a GiB, of the side that reads and of the one that is read; medians.
    public var processorReading = 0.0
    /// See `processorReading`.
    public var processorServing = 0.0
    /// Calls into the kernel a GiB, as the transport counts them.
    public var syscallsReading = 0.0
    /// See `syscallsReading`.
    public var syscallsServing = 0.0
    /// Copies of each byte by a processor of the reading side, as the transport knows them.
    public var copiesPerByte = 0.0
    /// Packets sent again.
    public var retransmitted: UInt64 = 0
    /// Of the time of the source's TCP connections, the share in which something was waiting to be sent, in which the reader's
    /// window was full, and in which the source's own buffer was too small: what tcp(7) counts.
    public var sender = (busy: 0.0, windowLimited: 0.0, bufferLimited: 0.0)
    /// What the RDMA device counted meanwhile: its changed counters.
    public var deviceCounters: [String: UInt64] = [:]
    /// Whether the rate was steady before the first repetition.
    public var isSteady = false
    /// Whether all repetitions were made.
    public var isComplete = true
    /// What the path could do.
    public var limits = Limits()
    /// What holds it back.
    public var findings: [Finding] = []
    /// Bytes of all repetitions.
    public var bytes: UInt64 = 0
    /// Seconds of all repetitions.
    public var seconds = 0.0

    /// Nothing yet.
    public init() {}

    /// The median of the repetitions, in bytes a second.
    public var bytesPerSecond: Double { Self.median(rates) }

    /// The difference of the fastest and the slowest repetition as a share of the median.
    public var spread: Double {
        guard let low = rates.min(), let high = rates.max(), bytesPerSecond > 0 else { return 0 }
        return (high - low) / bytesPerSecond
    }

    /// The share of the lowest limit that was reached; nil when none is known.
    public var ratio: Double? {
        limits.least(isTCP: point.transport == .tcp).map { bytesPerSecond / $0.bytesPerSecond }
    }

    /// Gigabits a second.
    public var gigabitsPerSecond: Double { bytesPerSecond * 8 / 1e9 }
    /// Gibibytes a second.
    public var gibibytesPerSecond: Double { bytesPerSecond / Double(1 << 30) }

    static func median(_ values: [Double]) -> Double {
        guard !values.isEmpty else { return 0 }
        let sorted = values.sorted()
        let middle = sorted.count / 2
        return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
    }
}

/// A whole run: its results, and how they are written. The JSON's fields are described in docs/bench.md.
public struct BenchReport: Sendable {
    /// The JSON's version: a field that changes its meaning or goes raises it.
    public static let version = 1

    /// The far sides.
    public var hosts: [String] = []
    /// Bytes of memory at each side.
    public var memoryBytes = 0
    /// What was measured.
    public var results: [BenchResult] = []
    /// Transports that were not measured, and why.
    public var notUsed: [(kind: String, why: String)] = []
    /// Whether it ended before all was measured.
    public var wasInterrupted = false

    /// Nothing yet.
    public init() {}

    /// As a value to be written as JSON.
    public var json: JSONValue {
        .object([
            ("schema", .string("martlet-bench")), ("version", .integer(Int64(Self.version))),
            ("hosts", .array(hosts.map { .string($0) })), ("memoryBytes", .integer(Int64(memoryBytes))),
            ("interrupted", .bool(wasInterrupted)),
            ("notUsed", .array(notUsed.map { .object([("transport", .string($0.kind)), ("why", .string($0.why))]) })),
            ("results", .array(results.map { Self.json(of: $0) })),
        ])
    }

    private static func json(of result: BenchResult) -> JSONValue {
        let point = result.point
        func seconds(_ share: Double) -> JSONValue {
            result.latency.quantile(share).map { .number(Double($0) / 1e9) } ?? .null
        }
        func known(_ number: Double?) -> JSONValue { number.map { .number($0) } ?? .null }
        let limits = result.limits
        return .object([
            ("transport", .string("\(point.transport)")), ("why", .string(result.why)),
            ("messageBytes", .integer(Int64(point.messageBytes))), ("depth", .integer(Int64(point.depth))),
            ("links", .integer(Int64(point.links))), ("streams", .integer(Int64(point.streams))),
            ("direction", .string(point.direction.rawValue)), ("source", .string(point.source.rawValue)),
            ("verified", .bool(point.verifies)), ("validated", .bool(point.validates)),
            ("bytesPerSecond", .number(result.bytesPerSecond)),
            ("gigabitsPerSecond", .number(result.gigabitsPerSecond)),
            ("gibibytesPerSecond", .number(result.gibibytesPerSecond)),
            ("repetitions", .array(result.rates.map { .number($0) })), ("spread", .number(result.spread)),
            ("steady", .bool(result.isSteady)), ("complete", .bool(result.isComplete)),
            ("bytes", .unsigned(result.bytes)), ("seconds", .number(result.seconds)),
            ("requestsPerSecond", .number(result.requestsPerSecond)),
            ("latencySeconds", .object([("p50", seconds(0.5)), ("p99", seconds(0.99)), ("p99.9", seconds(0.999))])),
            (
                "processorSecondsPerGiB",
                .object([
                    ("reading", .number(result.processorReading)), ("serving", .number(result.processorServing)),
                ])
            ),
            (
                "syscallsPerGiB",
                .object([("reading", .number(result.syscallsReading)), ("serving", .number(result.syscallsServing))])
            ),
            ("copiesPerByte", .number(result.copiesPerByte)), ("retransmittedPackets", .unsigned(result.retransmitted)),
            (
                "senderShares",
                .object([
                    ("busy", .number(result.sender.busy)), ("windowLimited", .number(result.sender.windowLimited)),
                    ("bufferLimited", .number(result.sender.bufferLimited)),
                ])
            ),
            (
                "deviceCounters",
                .object(result.deviceCounters.sorted { $0.key < $1.key }.map { ($0.key, .unsigned($0.value)) })
            ),
            (
                "limits",
                .object([
                    ("memoryCopyBytesPerSecond", known(limits.memoryCopy)),
                    ("rawSocketBytesPerSecond", known(limits.rawSocket)),
                    ("lineRateBytesPerSecond", known(limits.lineRate)), ("pcieBytesPerSecond", known(limits.pcie)),
                    ("interface", .optional(limits.interface)), ("mtuBytes", .count(limits.mtuBytes)),
                ])
            ),
            ("ratioToLeastLimit", known(result.ratio)),
            (
                "findings",
                .array(
                    result.findings.map {
                        .object([("code", .string($0.code.rawValue)), ("sentence", .string($0.sentence))])
                    })
            ),
        ])
    }

    /// As comma-separated values with a heading: one line a point.
    public var csv: [String] {
        let heading =
            "transport,message_bytes,depth,links,streams,direction,verified,gbit_per_s,gib_per_s,spread,requests_per_s,"
            + "p50_us,p99_us,p999_us,cpu_s_per_gib_reading,cpu_s_per_gib_serving,syscalls_per_gib_reading,"
            + "syscalls_per_gib_serving,copies_per_byte,retransmitted,ratio_to_limit,bound"
        return [heading]
            + results.map { result in
                let point = result.point
                func us(_ share: Double) -> String { result.latency.quantile(share).map { "\($0 / 1000)" } ?? "" }
                let cells: [String] = [
                    "\(point.transport)", "\(point.messageBytes)", "\(point.depth)", "\(point.links)",
                    "\(point.streams)", point.direction.rawValue, point.verifies ? "1" : "0",
                    Self.decimals(result.gigabitsPerSecond, 3), Self.decimals(result.gibibytesPerSecond, 3),
                    Self.decimals(result.spread, 3), Self.decimals(result.requestsPerSecond, 1), us(0.5), us(0.99),
                    us(0.999), Self.decimals(result.processorReading, 4), Self.decimals(result.processorServing, 4),
                    Self.decimals(result.syscallsReading, 0), Self.decimals(result.syscallsServing, 0),
                    Self.decimals(result.copiesPerByte, 2), "\(result.retransmitted)",
                    result.ratio.map { Self.decimals($0, 3) } ?? "", result.findings.first?.code.rawValue ?? "",
                ]
                return cells.joined(separator: ",")
            }
    }

    /// A number with so many digits after the point.
    public static func decimals(_ number: Double, _ count: Int) -> String {
        guard number.isFinite else { return "-" }
        var scale = 1.0
        for _ in 0..<count { scale *= 10 }
        let whole = Int64((abs(number) * scale).rounded())
        let sign = number < 0 && whole > 0 ? "-" : ""
        guard count > 0 else { return "\(sign)\(whole)" }
        let fraction = "\(whole % Int64(scale))"
        return "\(sign)\(whole / Int64(scale))." + String(repeating: "0", count: count - fraction.count) + fraction
    }
}
