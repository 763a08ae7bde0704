import Bandwidth

/// A report as people read it.
enum BenchTable {
    static func lines(_ report: BenchReport) -> [String] {
        var table = TextTable([
            .left("path"), .right("size"), .right("depth"), .right("links"), .right("streams"), .right("Gb/s"),
            .right("GiB/s"), .right("spread"), .right("req/s"), .right("p50"), .right("p99"), .right("p99.9"),
            .right("CPU s/GiB read+served"), .right("of limit"), .left("bound by"),
        ])
        for result in report.results { table.add(cells(result)) }
        var lines = table.lines()
        for result in unlike(report.results) { lines += told(result) }
        for (kind, why) in report.notUsed { lines.append("\(kind) was not measured: \(why)") }
        if report.wasInterrupted { lines.append("stopped before all was measured") }
        return lines
    }

    private static func cells(_ result: BenchResult) -> [String] {
        let point = result.point
        func time(_ share: Double) -> String {
            guard let ns = result.latency.quantile(share) else { return "-" }
            return ns < 10_000_000 ? "\(ns / 1000) us" : "\(ns / 1_000_000) ms"
        }
        return [
            path(point), size(point.messageBytes), "\(point.depth)", "\(point.links)", "\(point.streams)",
            BenchReport.decimals(result.gigabitsPerSecond, 2), BenchReport.decimals(result.gibibytesPerSecond, 2),
            "\(BenchReport.decimals(result.spread * 100, 0)) %", BenchReport.decimals(result.requestsPerSecond, 0),
            time(0.5), time(0.99), time(0.999),
            "\(BenchReport.decimals(result.processorReading, 3)) + \(BenchReport.decimals(result.processorServing, 3))",
            result.ratio.map { "\(BenchReport.decimals($0 * 100, 0)) %" } ?? "-",
            result.findings.first?.code.rawValue ?? "",
        ]
    }

    private static func path(_ point: BenchPoint) -> String {
        var words = ["\(point.transport)"]
        if point.direction != .read { words.append(point.direction.rawValue) }
        if point.verifies { words.append("verified") }
        if point.validates { words.append("validated") }
        return words.joined(separator: " ")
    }

    private static func size(_ bytes: Int) -> String {
        bytes % (1 << 20) == 0 ? "\(bytes >> 20) MiB" : "\(bytes >> 10) KiB"
    }

    /// The fastest result of each transport: what is told in words.
    private static func unlike(_ results: [BenchResult]) -> [BenchResult] {
        var best: [BenchResult] = []
        for result in results {
            if let place = best.firstIndex(where: { $0.point.transport == result.point.transport }) {
                if result.bytesPerSecond > best[place].bytesPerSecond { best[place] = result }
            } else {
                best.append(result)
            }
        }
        return best
    }

    private static func told(_ result: BenchResult) -> [String] {
        let limits = result.limits
        func rate(_ name: String, _ bytesPerSecond: Double?) -> String? {
            bytesPerSecond.map { "\(name) \(BenchReport.decimals($0 / Double(1 << 30), 2)) GiB/s" }
        }
        let known = [
            rate("memory copy", limits.memoryCopy), rate("plain sockets", limits.rawSocket),
            rate("port", limits.lineRate), rate("PCIe slot", limits.pcie),
        ].compactMap { $0 }
        var lines = ["", "\(path(result.point)) (\(result.why)), best at \(size(result.point.messageBytes)):"]
        if !known.isEmpty { lines.append("  limits: \(known.joined(separator: ", "))") }
        let copies = BenchReport.decimals(result.copiesPerByte, 2)
        let reading = BenchReport.decimals(result.syscallsReading, 0)
        let serving = BenchReport.decimals(result.syscallsServing, 0)
        lines.append(
            "  copies per byte \(copies); system calls per GiB \(reading) + \(serving); sent again \(result.retransmitted)"
        )
        for (name, count) in result.deviceCounters.sorted(by: { $0.key < $1.key }) {
            lines.append("  \(name) \(count)")
        }
        for finding in result.findings { lines.append("  bound: \(finding.sentence)") }
        return lines
    }
}
