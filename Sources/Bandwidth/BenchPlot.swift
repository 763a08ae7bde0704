/// Draws a report: rate over request size, one line for each transport and setting, and the limit as a dashed one.
public enum BenchPlot {
    private static let width = 720.0
    private static let height = 440.0
    private static let left = 64.0
    private static let bottom = 56.0
    private static let top = 24.0
    private static let right = 190.0
    private static let colours = ["#1b6ca8", "#d1495b", "#2e8b57", "#8e5ea2", "#c78100", "#444444"]

    /// An SVG document.
    public static func svg(_ report: BenchReport) -> String {
        let series = Dictionary(grouping: report.results) { label($0.point) }.sorted { $0.key < $1.key }
        let sizes = Set(report.results.map(\.point.messageBytes)).sorted()
        let limits = report.results.compactMap { $0.limits.rawSocket }
        let most = max(1e9, ((report.results.map(\.bytesPerSecond) + limits).max() ?? 0) * 1.1) / Double(1 << 30)
        func x(_ size: Int) -> Double {
            guard sizes.count > 1, let place = sizes.firstIndex(of: size) else {
                return left + (width - left - right) / 2
            }
            return left + 16 + (width - left - right - 32) * Double(place) / Double(sizes.count - 1)
        }
        func y(_ gibibytes: Double) -> Double { height - bottom - (height - bottom - top) * gibibytes / most }
        func at(_ number: Double) -> String { BenchReport.decimals(number, 1) }

        var lines = [
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 \(Int(width)) \(Int(height))\" "
                + "font-family=\"sans-serif\" font-size=\"12\">",
            "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>",
            "<text x=\"\(at(left))\" y=\"16\">martlet bench: GiB/s by request size</text>",
        ]
        for step in 0...4 {
            let value = most * Double(step) / 4
            lines.append(
                "<line x1=\"\(at(left))\" x2=\"\(at(width - right))\" y1=\"\(at(y(value)))\" y2=\"\(at(y(value)))\" "
                    + "stroke=\"#ddd\"/><text x=\"\(at(left - 8))\" y=\"\(at(y(value) + 4))\" text-anchor=\"end\">"
                    + "\(BenchReport.decimals(value, 2))</text>")
        }
        for size in sizes {
            lines.append(
                "<text x=\"\(at(x(size)))\" y=\"\(at(height - bottom + 20))\" text-anchor=\"middle\">\(name(size))</text>"
            )
        }
        for (place, entry) in series.enumerated() {
            let colour = colours[place % colours.count]
            let points = entry.value.sorted { $0.point.messageBytes < $1.point.messageBytes }
            let path = points.map { "\(at(x($0.point.messageBytes))),\(at(y($0.gibibytesPerSecond)))" }
            lines.append(
                "<polyline points=\"\(path.joined(separator: " "))\" fill=\"none\" stroke=\"\(colour)\" stroke-width=\"2\"/>"
            )
            for result in points {
                let place = "cx=\"\(at(x(result.point.messageBytes)))\" cy=\"\(at(y(result.gibibytesPerSecond)))\""
                let told = "\(BenchReport.decimals(result.gibibytesPerSecond, 2)) GiB/s"
                lines.append("<circle \(place) r=\"3\" fill=\"\(colour)\"><title>\(told)</title></circle>")
            }
            lines.append(
                "<text x=\"\(at(width - right + 12))\" y=\"\(at(top + 16 + Double(place) * 18))\" fill=\"\(colour)\">"
                    + "\(entry.key)</text>")
        }
        if let limit = limits.max() {
            let height = at(y(limit / Double(1 << 30)))
            lines.append(
                "<line x1=\"\(at(left))\" x2=\"\(at(width - right))\" y1=\"\(height)\" y2=\"\(height)\" stroke=\"#666\" "
                    + "stroke-dasharray=\"6 4\"/><text x=\"\(at(width - right + 12))\" y=\"\(height)\" fill=\"#666\">"
                    + "raw sockets</text>")
        }
        lines.append("</svg>")
        return lines.joined(separator: "\n") + "\n"
    }

    private static func label(_ point: BenchPoint) -> String {
        var words = ["\(point.transport)"]
        if point.direction != .read { words.append(point.direction.rawValue) }
        words.append("depth \(point.depth)")
        if point.links > 1 { words.append("\(point.links) links") }
        words.append("x\(point.streams)")
        if point.verifies { words.append("verified") }
        return words.joined(separator: " ")
    }

    private static func name(_ bytes: Int) -> String {
        bytes >= 1 << 20 ? "\(bytes >> 20) MiB" : "\(bytes >> 10) KiB"
    }
}
