extension Outcome {
    /// Completion over time, and the use of origin, interfaces and uplinks, as a drawing (SVG).
    public var svg: String {
        let plot = Plot(width: 720, height: 300, title: plotTitle, axis: "s")
        let endNs = max(endNs, timeline.bucketNs)
        let last = min(Timeline.bucketsMax - 1, Int(endNs / timeline.bucketNs))
        let wanted = Double(scenario.sizeBytes) * Double(scenario.peers + scenario.seedPeers * scenario.models)
        let perBucket = Double(timeline.bucketNs) / 1e9
        let nics = Double(scenario.nicBytesPerSecond) * Double(scenario.peers) * perBucket
        let hosts = scenario.peers + scenario.seedPeers
        let racks =
            scenario.rackHosts > 0 && hosts > scenario.rackHosts ? Double(hosts) / Double(scenario.oversubscription) : 0
        let uplinks = racks * Double(scenario.nicBytesPerSecond) * perBucket
        var sum = 0.0
        func points(_ series: Timeline.Series, of whole: Double, isSum: Bool = false) -> [(x: Double, y: Double)] {
            sum = 0
            return [(0, 0)]
                + (0...last).map { place in
                    let bytes = Double(timeline.bytes[series.rawValue][place])
                    sum = isSum ? sum + bytes : bytes
                    let atNs = min(endNs, UInt64(place + 1) * timeline.bucketNs)
                    return (Double(atNs) / Double(endNs), whole > 0 ? min(1, sum / whole) : 0)
                }
        }
        var curves = [
            Plot.Curve(
                name: "origin, of its rate", colour: "#d55e00",
                points: points(.origin, of: Double(scenario.originBytesPerSecond) * perBucket)),
            Plot.Curve(name: "interfaces, of theirs", colour: "#009e73", points: points(.read, of: nics)),
        ]
        if uplinks > 0 {
            curves.append(Plot.Curve(name: "racks' uplinks", colour: "#cc79a7", points: points(.uplink, of: uplinks)))
        }
        curves.append(
            Plot.Curve(
                name: "share kept", colour: "#0072b2", isBold: true, points: points(.kept, of: wanted, isSum: true)))
        let bound = min(1, Double(startNs + boundNs) / Double(endNs))
        return plot.svg(curves, marks: [(bound, "bound")], endX: Double(endNs) / 1e9, topY: "100 %")
    }

    private var plotTitle: String {
        "\(scenario.peers) peers, \(fixed(Double(scenario.sizeBytes) / 1e9, 1)) GB, \(scenario.workload.rawValue): "
            + "\(fixed(Double(makespanNs) / 1e9, 2)) s, \(fixed(ratio, 3)) x bound"
    }
}

/// A few curves over one axis, drawn as SVG: shares of 1 each way.
struct Plot {
    struct Curve {
        let name: String
        let colour: String
        var isBold = false
        let points: [(x: Double, y: Double)]
    }

    let width: Double
    let height: Double
    let title: String
    /// The unit of the horizontal axis.
    let axis: String
    private static let (left, top, right, bottom) = (64.0, 44.0, 24.0, 64.0)

    private func x(_ share: Double) -> String { fixed(Self.left + width * share, 1) }
    private func y(_ share: Double) -> String { fixed(Self.top + height * (1 - share), 1) }

    /// - Parameters:
    ///   - marks: vertical lines, each with a word.
    ///   - endX: what stands at the right end.
    ///   - topY: what stands at the top.
    ///   - labels: further words on the horizontal axis, at their places.
    func svg(
        _ curves: [Curve], marks: [(x: Double, name: String)] = [], endX: Double, topY: String,
        labels: [(x: Double, text: String)]? = nil
    ) -> String {
        let total = (width + Self.left + Self.right, height + Self.top + Self.bottom)
        var lines = [
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"\(fixed(total.0, 0))\" height=\"\(fixed(total.1, 0))\" "
                + "font-family=\"sans-serif\" font-size=\"12\">",
            "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>",
            "<text x=\"\(x(0))\" y=\"24\" font-size=\"14\">\(title)</text>",
        ]
        for share in [0.25, 0.5, 0.75, 1] {
            lines.append("<path d=\"M\(x(0)),\(y(share)) H\(x(1))\" stroke=\"#e0e0e0\"/>")
        }
        lines.append("<path d=\"M\(x(0)),\(y(1)) V\(y(0)) H\(x(1))\" fill=\"none\" stroke=\"black\"/>")
        lines.append(
            "<text x=\"\(fixed(Self.left - 6, 0))\" y=\"\(fixed(Self.top + 4, 0))\" text-anchor=\"end\">\(topY)</text>")
        lines.append("<text x=\"\(fixed(Self.left - 6, 0))\" y=\"\(y(0))\" text-anchor=\"end\">0</text>")
        let ticks = labels ?? (0...4).map { (Double($0) / 4, "\(fixed(endX * Double($0) / 4, 2)) \(axis)") }
        for (share, text) in ticks {
            let at = fixed(Self.top + height + 18, 0)
            lines.append("<text x=\"\(x(share))\" y=\"\(at)\" text-anchor=\"middle\">\(text)</text>")
        }
        for mark in marks {
            lines.append("<path d=\"M\(x(mark.x)),\(y(1)) V\(y(0))\" stroke=\"gray\" stroke-dasharray=\"4\"/>")
            let at = fixed(Self.left + width * mark.x - 4, 1)
            lines.append(
                "<text x=\"\(at)\" y=\"\(fixed(Self.top - 4, 0))\" text-anchor=\"end\" fill=\"gray\">\(mark.name)</text>"
            )
        }
        for curve in curves {
            let points = curve.points.map { "\(x($0.x)),\(y($0.y))" }.joined(separator: " ")
            lines.append(
                "<polyline points=\"\(points)\" fill=\"none\" stroke=\"\(curve.colour)\" "
                    + "stroke-width=\"\(curve.isBold ? 2.5 : 1.2)\"/>")
        }
        for (place, curve) in curves.enumerated() {
            let at = Self.left + Double(place) * width / Double(max(curves.count, 1))
            let low = Self.top + height + 44
            lines.append(
                "<rect x=\"\(fixed(at, 0))\" y=\"\(fixed(low - 9, 0))\" width=\"12\" height=\"10\" fill=\"\(curve.colour)\"/>"
            )
            lines.append("<text x=\"\(fixed(at + 18, 0))\" y=\"\(fixed(low, 0))\">\(curve.name)</text>")
        }
        return (lines + ["</svg>", ""]).joined(separator: "\n")
    }
}
