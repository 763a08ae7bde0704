import Synchronization

/// Something that is counted or measured: made by a family, safe from every thread.
public protocol MetricInstrument: AnyObject, Sendable {
    /// What the exposition says of it: name suffix, extra label, value.
    func readings() -> [MetricReading]
}

/// One line's worth of an instrument.
public struct MetricReading: Sendable {
    let suffix: String
    let extraLabel: (name: String, value: String)?
    let value: MetricNumber
}

/// A number as the exposition writes it: whole ones exactly.
public enum MetricNumber: Sendable {
    case whole(UInt64)
    case real(Double)

    var text: String {
        switch self {
        case .whole(let number): String(number)
        case .real(let number):
            if number.isNaN {
                "NaN"
            } else if number.isInfinite {
                number > 0 ? "+Inf" : "-Inf"
            } else {
                "\(number)"
            }
        }
    }
}

/// A number that only grows. Costs one atomic addition.
public final class Counter: MetricInstrument {
    private let total = Atomic<UInt64>(0)

    init() {}

    /// Counts more.
    public func add(_ amount: UInt64 = 1) { total.wrappingAdd(amount, ordering: .relaxed) }

    /// The total so far.
    public var value: UInt64 { total.load(ordering: .relaxed) }

    /// One line.
    public func readings() -> [MetricReading] {
        [MetricReading(suffix: "", extraLabel: nil, value: .whole(value))]
    }
}

/// A number that goes up and down. Costs one atomic operation.
public final class Gauge: MetricInstrument {
    private let bits = Atomic<UInt64>(Double(0).bitPattern)

    init() {}

    /// Is now this.
    public func set(_ value: Double) { bits.store(value.bitPattern, ordering: .relaxed) }

    /// Is now this much more, or less.
    public func add(_ amount: Double) {
        var seen = bits.load(ordering: .relaxed)
        while true {
            let (exchanged, original) = bits.weakCompareExchange(
                expected: seen, desired: (Double(bitPattern: seen) + amount).bitPattern, ordering: .relaxed)
            if exchanged { return }
            seen = original
        }
    }

    /// What it is.
    public var value: Double { Double(bitPattern: bits.load(ordering: .relaxed)) }

    /// One line.
    public func readings() -> [MetricReading] {
        [MetricReading(suffix: "", extraLabel: nil, value: .real(value))]
    }
}

/// How measurements are spread over fixed buckets. Costs a short lock.
public final class Histogram: MetricInstrument {
    private struct State {
        var counts: [UInt64]
        var sum = 0.0
    }

    private let bounds: [Double]
    private let state: Mutex<State>

    init(bounds: [Double]) {
        precondition(
            !bounds.isEmpty && zip(bounds, bounds.dropFirst()).allSatisfy { $0 < $1 }, "buckets must rise")
        self.bounds = bounds
        state = Mutex(State(counts: Array(repeating: 0, count: bounds.count + 1)))
    }

    /// Files one measurement.
    public func observe(_ value: Double) {
        let bucket = bounds.firstIndex { value <= $0 } ?? bounds.count
        state.withLock { state in
            state.counts[bucket] += 1
            state.sum += value
        }
    }

    /// The buckets, cumulative, then the sum and the count.
    public func readings() -> [MetricReading] {
        let (counts, sum) = state.withLock { ($0.counts, $0.sum) }
        var cumulative: UInt64 = 0
        var readings: [MetricReading] = []
        for (index, count) in counts.enumerated() {
            cumulative += count
            let bound = index < bounds.count ? MetricNumber.real(bounds[index]).text : "+Inf"
            readings.append(.init(suffix: "_bucket", extraLabel: ("le", bound), value: .whole(cumulative)))
        }
        readings.append(.init(suffix: "_sum", extraLabel: nil, value: .real(sum)))
        readings.append(.init(suffix: "_count", extraLabel: nil, value: .whole(cumulative)))
        return readings
    }
}

/// Ready-made bucket bounds.
public enum MetricBuckets {
    /// Times from half a millisecond to a minute, in seconds.
    public static let seconds = [
        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
    ]
}
