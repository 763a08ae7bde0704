/// Bytes over time, in at most 512 buckets that widen as the run goes on.
struct Timeline {
    enum Series: Int, CaseIterable {
        /// Verified and kept by anybody.
        case kept
        /// Arrived from the origin.
        case origin
        /// Arrived over anybody's interface.
        case read
        /// Arrived from another rack.
        case uplink
    }

    static let bucketsMax = 512
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
}
