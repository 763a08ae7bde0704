import Synchronization

/// All instruments with one name, told apart by labels.
///
/// At most 200 combinations of label values; whatever comes after them is counted together under `other`, so that a
/// label that grows without bound costs its detail and not the memory.
public final class MetricFamily<Instrument: MetricInstrument>: Sendable {
    /// The most combinations of label values.
    public static var seriesMax: Int { 200 }

    let name: String
    let labelNames: [String]
    private let make: @Sendable () -> Instrument
    private let series = Mutex<[[String]: Instrument]>([:])

    init(name: String, labelNames: [String], make: @escaping @Sendable () -> Instrument) {
        self.name = name
        self.labelNames = labelNames
        self.make = make
        if labelNames.isEmpty { _ = instrument([]) }
    }

    /// The instrument with these label values, in the order of the label names. Keep it rather than look it up on hot
    /// paths.
    public subscript(_ values: String...) -> Instrument { instrument(values) }

    private func instrument(_ values: [String]) -> Instrument {
        precondition(values.count == labelNames.count, "\(name) has the labels \(labelNames)")
        return series.withLock { series in
            if let known = series[values] { return known }
            let isFull = series.count >= MetricFamily.seriesMax
            let key = isFull ? Array(repeating: "other", count: labelNames.count) : values
            if let known = series[key] { return known }
            let made = make()
            series[key] = made
            return made
        }
    }

    func samples() -> [(labels: [(String, String)], readings: [MetricReading])] {
        let all = series.withLock { $0 }
        return all.sorted { $0.key.lexicographicallyPrecedes($1.key) }.map { key, instrument in
            (Array(zip(labelNames, key)), instrument.readings())
        }
    }
}

/// One value that somebody else keeps, read when metrics are asked for.
public struct MetricSample: Sendable {
    let labels: [(String, String)]
    let value: MetricNumber

    /// A whole number.
    public init(labels: [(String, String)] = [], value: UInt64) {
        self.labels = labels
        self.value = .whole(value)
    }

    /// Any number.
    public init(labels: [(String, String)] = [], value: Double) {
        self.labels = labels
        self.value = .real(value)
    }
}

/// Whether a collected value grows only, or goes up and down.
public enum MetricKind: String, Sendable { case counter, gauge, histogram }

/// A process's metrics, and their text for Prometheus. Safe from every thread; names are registered once, at the start.
public final class MetricsRegistry: Sendable {
    private struct Registered: Sendable {
        let name: String
        let help: String
        let kind: MetricKind
        let read: @Sendable () -> [(labels: [(String, String)], readings: [MetricReading])]
    }

    private let families = Mutex<[Registered]>([])

    /// A registry that knows already what is true of every process: its build, CPU time, memory, descriptors and start.
    public init() {
        collect("martlet_build_info", "1, with the version as label.", kind: .gauge) {
            [MetricSample(labels: [("version", BuildInfo.version)], value: UInt64(1))]
        }
        ProcessFigures.register(in: self)
    }

    /// A counter family; the name ends in `_total`.
    public func counter(_ name: String, _ help: String, labels: [String] = []) -> MetricFamily<Counter> {
        precondition(name.hasSuffix("_total"), "a counter's name ends in _total: \(name)")
        return family(name, help, .counter, labels) { Counter() }
    }

    /// A gauge family.
    public func gauge(_ name: String, _ help: String, labels: [String] = []) -> MetricFamily<Gauge> {
        family(name, help, .gauge, labels) { Gauge() }
    }

    /// A histogram family.
    public func histogram(
        _ name: String, _ help: String, buckets: [Double] = MetricBuckets.seconds, labels: [String] = []
    ) -> MetricFamily<Histogram> {
        family(name, help, .histogram, labels) { Histogram(bounds: buckets) }
    }

    /// Values that somebody else keeps: `read` is called for every scrape, on the server's thread, and must not block.
    public func collect(
        _ name: String, _ help: String, kind: MetricKind, _ read: @escaping @Sendable () -> [MetricSample]
    ) {
        register(name, help, kind) {
            read().map { ($0.labels, [MetricReading(suffix: "", extraLabel: nil, value: $0.value)]) }
        }
    }

    /// Everything, in the Prometheus text format 0.0.4.
    public func exposition() -> String {
        var out = ""
        for family in families.withLock({ $0 }) {
            out += "# HELP \(family.name) \(MetricsRegistry.escaped(family.help, quote: false))\n"
            out += "# TYPE \(family.name) \(family.kind.rawValue)\n"
            for (labels, readings) in family.read() {
                for reading in readings {
                    out += family.name + reading.suffix
                    let all = labels + (reading.extraLabel.map { [($0.name, $0.value)] } ?? [])
                    if !all.isEmpty {
                        let pairs = all.map { "\($0.0)=\"\(MetricsRegistry.escaped($0.1, quote: true))\"" }
                        out += "{" + pairs.joined(separator: ",") + "}"
                    }
                    out += " \(reading.value.text)\n"
                }
            }
        }
        return out
    }

    private func family<Instrument: MetricInstrument>(
        _ name: String, _ help: String, _ kind: MetricKind, _ labels: [String],
        _ make: @escaping @Sendable () -> Instrument
    ) -> MetricFamily<Instrument> {
        precondition(
            labels.allSatisfy { MetricsRegistry.isName($0) && $0 != "le" }, "bad label names \(labels)")
        let family = MetricFamily(name: name, labelNames: labels, make: make)
        register(name, help, kind) { family.samples() }
        return family
    }

    private func register(
        _ name: String, _ help: String, _ kind: MetricKind,
        _ read: @escaping @Sendable () -> [(labels: [(String, String)], readings: [MetricReading])]
    ) {
        precondition(MetricsRegistry.isName(name), "\(name) is no metric's name")
        families.withLock { families in
            precondition(!families.contains { $0.name == name }, "\(name) is registered already")
            families.append(Registered(name: name, help: help, kind: kind, read: read))
        }
    }

    private static func isName(_ name: String) -> Bool {
        guard let first = name.utf8.first, !(0x30...0x39).contains(first) else { return false }
        return name.utf8.allSatisfy {
            (0x61...0x7A).contains($0) || (0x41...0x5A).contains($0) || (0x30...0x39).contains($0)
                || $0 == 0x5F
        }
    }

    private static func escaped(_ text: String, quote: Bool) -> String {
        var out = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\\": out += "\\\\"
            case "\n": out += "\\n"
            case "\"" where quote: out += "\\\""
            default: out.unicodeScalars.append(scalar)
            }
        }
        return out
    }
}
