/// How far a download is, as the console shows it.
public struct ProgressSnapshot: Sendable, Hashable {
    /// Bytes that came over one transport.
    public struct TransportBytes: Sendable, Hashable {
        /// `tcp`, `local`, `rdma`.
        public var name: String
        /// How many.
        public var bytes: UInt64

        /// Pairs a transport and its bytes.
        public init(_ name: String, _ bytes: UInt64) {
            self.name = name
            self.bytes = bytes
        }
    }

    /// `resolving`, `downloading`, `checking`, `placing`.
    public var phase = "resolving"
    /// The whole model.
    public var totalBytes: UInt64 = 0
    /// Verified and stored, those from before among them.
    public var keptBytes: UInt64 = 0
    /// Stored before this download began.
    public var resumedBytes: UInt64 = 0
    /// Received from the origin.
    public var originBytes: UInt64 = 0
    /// Received from seed peers.
    public var seedBytes: UInt64 = 0
    /// Received from other peers.
    public var peerBytes: UInt64 = 0
    /// Received and thrown away.
    public var wastedBytes: UInt64 = 0
    /// By transport, the origin not counted.
    public var byTransport: [TransportBytes] = []
    /// Parents in use.
    public var parents = 0
    /// Parents excluded for bad bytes or silence.
    public var parentsExcluded = 0
    /// Files of the model.
    public var filesTotal = 0
    /// Files checked and published.
    public var filesPublished = 0

    /// Nothing yet.
    public init() {}
}

/// Turns snapshots and the time into lines. Pure: it neither reads a clock nor writes.
struct ProgressRenderer {
    /// The rate is that of the last five seconds.
    static let windowNs: UInt64 = 5_000_000_000
    private static let samplesMax = 64
    private static let barWidth = 24

    let title: String
    private(set) var snapshot = ProgressSnapshot()
    private let startNs: UInt64
    private var samples: [(atNs: UInt64, bytes: UInt64)] = []

    init(title: String, startNs: UInt64) {
        self.title = title
        self.startNs = startNs
    }

    /// Takes note of how far it is now.
    mutating func note(_ snapshot: ProgressSnapshot, atNs: UInt64) {
        self.snapshot = snapshot
        let spacingNs = ProgressRenderer.windowNs / UInt64(ProgressRenderer.samplesMax)
        if let last = samples.last, atNs < last.atNs + spacingNs { return }
        samples.append((atNs, received))
        while let first = samples.first, samples.count > 2, first.atNs + ProgressRenderer.windowNs < atNs {
            samples.removeFirst()
        }
    }

    /// Bytes of the model that this download brought.
    private var received: UInt64 { snapshot.keptBytes - min(snapshot.resumedBytes, snapshot.keptBytes) }

    /// Bytes a second in the window; nil before there are two samples.
    func bytesPerSecond(atNs: UInt64) -> Double? {
        guard let first = samples.first, atNs > first.atNs, received >= first.bytes, samples.count > 1 else {
            return nil
        }
        return Double(received - first.bytes) / (Double(atNs - first.atNs) / 1e9)
    }

    /// Two lines for a terminal.
    func liveLines(atNs: UInt64) -> [String] {
        guard snapshot.totalBytes > 0 else { return ["\(title)  \(snapshot.phase)", ""] }
        return ["\(title)  [\(bar)]  \(measures(atNs))", "  \(snapshot.phase): \(sources)"]
    }

    /// One line for a log.
    func plainLine(atNs: UInt64) -> String {
        guard snapshot.totalBytes > 0 else { return "\(title): \(snapshot.phase)" }
        return "\(title): \(snapshot.phase), \(measures(atNs)); \(sources)"
    }

    /// The last line: what was brought, how fast, and where it came from.
    func summary(atNs: UInt64) -> String {
        let seconds = Double(atNs - min(startNs, atNs)) / 1e9
        var line = "\(title): \(Units.bytes(snapshot.totalBytes)) in \(Units.duration(seconds: seconds))"
        if received > 0, seconds > 0 {
            line += " (\(Units.rate(bytesPerSecond: Double(received) / seconds)))"
        }
        if snapshot.resumedBytes > 0 { line += ", \(Units.bytes(snapshot.resumedBytes)) were here before" }
        return line + "; \(sources)"
    }

    private var bar: String {
        let width = ProgressRenderer.barWidth
        let part = Double(snapshot.keptBytes) / Double(max(1, snapshot.totalBytes))
        let filled = min(width, Int(part * Double(width)))
        return String(repeating: "=", count: filled) + (filled < width ? ">" : "")
            + String(repeating: " ", count: max(0, width - filled - 1))
    }

    private func measures(_ atNs: UInt64) -> String {
        var parts = [
            Units.percent(snapshot.keptBytes, of: snapshot.totalBytes),
            "\(Units.bytes(snapshot.keptBytes)) of \(Units.bytes(snapshot.totalBytes))",
        ]
        if let rate = bytesPerSecond(atNs: atNs), snapshot.keptBytes < snapshot.totalBytes {
            parts.append(Units.rate(bytesPerSecond: rate))
            if rate > 0 {
                let left = Double(snapshot.totalBytes - snapshot.keptBytes)
                parts.append("ETA \(Units.duration(seconds: left / rate))")
            }
        }
        return parts.joined(separator: "  ")
    }

    private var sources: String {
        var parts = [
            "origin \(Units.bytes(snapshot.originBytes))", "seed \(Units.bytes(snapshot.seedBytes))",
            "peers \(Units.bytes(snapshot.peerBytes))",
        ]
        let transports = snapshot.byTransport.filter { $0.bytes > 0 }
        if transports.count == 1 {
            parts[2] += " by \(transports[0].name)"
        } else if !transports.isEmpty {
            parts.append(
                "by " + transports.map { "\($0.name) \(Units.bytes($0.bytes))" }.joined(separator: " + "))
        }
        if snapshot.parents > 0 {
            parts.append("\(snapshot.parents) parent\(snapshot.parents == 1 ? "" : "s")")
        }
        if snapshot.parentsExcluded > 0 { parts.append("\(snapshot.parentsExcluded) excluded") }
        if snapshot.wastedBytes > 0 { parts.append("wasted \(Units.bytes(snapshot.wastedBytes))") }
        if snapshot.filesTotal > 0 { parts.append("\(snapshot.filesPublished)/\(snapshot.filesTotal) files") }
        return parts.joined(separator: ", ")
    }
}
