/// How long requests took, in buckets of a sixteenth of their size: a quantile is right to 6 %, and adding allocates nothing.
public struct LatencyHistogram: Sendable, Hashable {
    private static let parts = 16
    private var counts = [UInt64](repeating: 0, count: 64 * parts)
    /// How many were added.
    public private(set) var count: UInt64 = 0

    /// Without any request.
    public init() {}

    /// Adds a request's time in nanoseconds.
    public mutating func add(_ ns: UInt64) {
        counts[Self.bucket(ns)] += 1
        count += 1
    }

    /// The time that this share of requests did not exceed, in nanoseconds; nil when there were none.
    public func quantile(_ share: Double) -> UInt64? {
        guard count > 0 else { return nil }
        let rank = UInt64((share * Double(count)).rounded(.up))
        var seen: UInt64 = 0
        for (place, number) in counts.enumerated() {
            seen += number
            if seen >= max(rank, 1) { return Self.upper(place) }
        }
        return nil
    }

    /// What came since an earlier copy.
    public func since(_ earlier: LatencyHistogram) -> LatencyHistogram {
        var difference = self
        for place in counts.indices { difference.counts[place] -= earlier.counts[place] }
        difference.count -= earlier.count
        return difference
    }

    /// Adds all of another.
    public mutating func merge(_ other: LatencyHistogram) {
        for place in counts.indices { counts[place] += other.counts[place] }
        count += other.count
    }

    private static func bucket(_ ns: UInt64) -> Int {
        guard ns >= UInt64(parts) else { return Int(ns) }
        let power = 63 - ns.leadingZeroBitCount
        return (power - 3) * parts + Int(ns >> UInt64(power - 4)) - parts
    }

    private static func upper(_ bucket: Int) -> UInt64 {
        guard bucket >= parts else { return UInt64(bucket) }
        let power = bucket / parts + 3
        let mantissa = UInt64(bucket % parts + parts + 1)
        return (mantissa << UInt64(power - 4)) - 1
    }
}

extension LatencyHistogram {
    /// As it is sent: `bucket:count` of the buckets that hold something.
    var encoded: String {
        counts.enumerated().filter { $0.element > 0 }.map { "\($0.offset):\($0.element)" }.joined(separator: ",")
    }

    /// Reads what `encoded` wrote; what is none is left out.
    init(encoded: String) {
        for part in encoded.split(separator: ",") {
            let ends = part.split(separator: ":")
            guard ends.count == 2, let place = Int(ends[0]), counts.indices.contains(place),
                let number = UInt64(ends[1]),
                number < 1 << 48
            else { continue }
            counts[place] += number
            count += number
        }
    }
}
