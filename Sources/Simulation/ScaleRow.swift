/// One size in a comparison of fleets: how it went, and what the scheduler cost.
public struct ScaleRow: Sendable {
    /// Peers.
    public let peers: Int
    /// Makespan over bound.
    public let ratio: Double
    /// Origin bytes over the model's.
    public let originRatio: Double
    /// The scheduler's processor time for each peer, in microseconds; 0 when no clock was given.
    public let schedulerMicroseconds: Double
    /// Bytes between each peer and the scheduler, both ways.
    public let schedulerBytes: Double
    /// Processor time of the whole run.
    public let seconds: Double

    /// Takes a row from an outcome.
    public init(_ outcome: Outcome, seconds: Double) {
        let each = Double(max(outcome.scenario.peers, 1))
        peers = outcome.scenario.peers
        ratio = outcome.ratio
        originRatio = outcome.originRatio
        schedulerMicroseconds = Double(outcome.schedulerProcessorNs) / 1000 / each
        schedulerBytes = outcome.schedulerBytesPerPeer
        self.seconds = seconds
    }

    private static let names = [
        "peers", "x bound", "origin", "scheduler us/peer", "scheduler B/peer", "processor s",
    ]
    private var cells: [String] {
        [
            "\(peers)", fixed(ratio, 3), fixed(originRatio, 3), fixed(schedulerMicroseconds, 1),
            fixed(schedulerBytes, 0),
            fixed(seconds, 2),
        ]
    }

    private static func line(_ cells: [String]) -> String {
        zip(cells, names).map { cell, name in String(repeating: " ", count: max(0, name.count - cell.count)) + cell }
            .joined(separator: "  ")
    }

    /// Names of the columns.
    public static var heading: String { line(names) }
    /// The row of a table under `heading`.
    public var text: String { Self.line(cells) }

    /// For programs.
    public var json: String {
        let names = [
            "peers", "ratio", "origin_ratio", "scheduler_us_per_peer", "scheduler_bytes_per_peer", "processor_s",
        ]
        return "{\(zip(names, cells).map { "\"\($0)\":\($1)" }.joined(separator: ","))}"
    }

    /// Cost for each peer over the number of peers, each curve relative to its highest.
    public static func svg(_ rows: [ScaleRow]) -> String {
        let rows = rows.sorted { $0.peers < $1.peers }
        let places = rows.indices.map { rows.count > 1 ? Double($0) / Double(rows.count - 1) : 0.5 }
        func curve(_ name: String, _ unit: String, _ colour: String, _ value: (ScaleRow) -> Double) -> Plot.Curve {
            let most = max(rows.map(value).max() ?? 0, 1e-9)
            let points = zip(places, rows).map { (x: $0, y: value($1) / most) }
            return Plot.Curve(
                name: "\(name) (top: \(fixed(most, 0)) \(unit))", colour: colour, isBold: true, points: points)
        }
        let plot = Plot(width: 720, height: 300, title: "Cost of the scheduler for each peer", axis: "peers")
        return plot.svg(
            [
                curve("processor time", "us", "#0072b2") { $0.schedulerMicroseconds },
                curve("bytes on the wire", "B", "#d55e00") { $0.schedulerBytes },
            ], endX: 0, topY: "most", labels: zip(places, rows).map { ($0, "\($1.peers)") })
    }
}
