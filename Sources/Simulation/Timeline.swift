/// Bytes over time, in at most 512 buckets that widen as the run goes on.
struct Timeline {
    enum Series: Int, CaseIterable { case kept, origin }

    private static let bucketsMax = 512
    private(set) var bucketNs: UInt64 = 1_000_000
    private(set) var bytes = Series.allCases.map { _ in Array(repeating: UInt64(0), count: bucketsMax) }

    mutating func add(_ series: Series, _ count: UInt64, _ nowNs: UInt64) {
        while Int(nowNs / bucketNs) >= Self.bucketsMax { widen() }
        bytes[series.rawValue][Int(nowNs / bucketNs)] += count
    }

    private mutating func widen() {
        bucketNs *= 2
        for series in bytes.indices {
            for place in 0..<Self.bucketsMax {
                let from = 2 * place
                bytes[series][place] = from < Self.bucketsMax ? bytes[series][from] + bytes[series][from + 1] : 0
            }
        }
    }

    /// Two lines over time: the share of all bytes wanted that are kept, and the origin's share of its rate.
    func svg(_ outcome: Outcome) -> String {
        let scenario = outcome.scenario
        let endNs = max(outcome.endNs, bucketNs)
        let (width, height, margin) = (800.0, 300.0, 40.0)
        func point(_ place: Int, _ share: Double) -> String {
            let x = margin + width * min(1, Double(UInt64(place + 1) * bucketNs) / Double(endNs))
            return "\(fixed(x, 1)),\(fixed(margin + height * (1 - min(1, share)), 1))"
        }
        let last = min(Self.bucketsMax - 1, Int(endNs / bucketNs))
        let wanted = Double(scenario.sizeBytes) * Double(scenario.peers + scenario.seedPeers)
        let originBytes = Double(scenario.originBytesPerSecond) * Double(bucketNs) / 1e9
        var (kept, origin): ([String], [String]) = ([], [])
        var sum = 0.0
        for place in 0...last {
            sum += Double(bytes[Series.kept.rawValue][place])
            kept.append(point(place, sum / max(wanted, 1)))
            origin.append(point(place, Double(bytes[Series.origin.rawValue][place]) / max(originBytes, 1)))
        }
        let boundX = margin + width * min(1, Double(outcome.startNs + outcome.boundNs) / Double(endNs))
        let (total, base) = (fixed(width + 2 * margin, 0), fixed(margin + height, 0))
        return """
            <svg xmlns="http://www.w3.org/2000/svg" width="\(total)" height="\(fixed(height + 2 * margin, 0))" \
            font-family="sans-serif" font-size="12">
            <rect width="100%" height="100%" fill="white"/>
            <path d="M40,40 V\(base) H\(fixed(margin + width, 0))" fill="none" stroke="black"/>
            <path d="M\(fixed(boundX, 1)),40 V\(base)" stroke="gray" stroke-dasharray="4"/>
            <polyline points="\(origin.joined(separator: " "))" fill="none" stroke="#d55e00"/>
            <polyline points="\(kept.joined(separator: " "))" fill="none" stroke="#0072b2" stroke-width="2"/>
            <text x="48" y="24">\(scenario.peers) peers, \(fixed(outcome.ratio, 3)) x bound; \
            blue: share kept, orange: share of the origin's rate, dashed: bound</text>
            <text x="40" y="\(fixed(margin + height + 20, 0))">0 s</text>
            <text x="780" y="\(fixed(margin + height + 20, 0))">\(fixed(Double(endNs) / 1e9, 2)) s</text>
            </svg>

            """
    }
}
