/// Amounts and times as they are written in configuration: exact, never rounded.
public enum ConfigurationUnits {
    private static let byteUnits: [(name: String, bytes: UInt64)] = [
        ("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10),
    ]
    private static let timeUnits: [(name: String, ns: UInt64)] = [
        ("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000), ("ms", 1_000_000),
    ]

    /// Reads `256MiB`, `1 GiB`, `4096` or `4096B`; nil when it is none, or more than 2⁶⁴−1.
    public static func bytes(_ text: String) -> UInt64? {
        guard let (number, unit) = split(text) else { return nil }
        if unit.isEmpty || unit == "B" { return number }
        guard let scale = byteUnits.first(where: { $0.name == unit })?.bytes else { return nil }
        let (product, overflow) = number.multipliedReportingOverflow(by: scale)
        return overflow ? nil : product
    }

    /// Reads `500ms`, `10s`, `2m`, `1h` or `0`; nil when it is none: a time other than 0 needs its unit.
    public static func durationNs(_ text: String) -> UInt64? {
        guard let (number, unit) = split(text) else { return nil }
        if unit.isEmpty { return number == 0 ? 0 : nil }
        guard let scale = timeUnits.first(where: { $0.name == unit })?.ns else { return nil }
        let (product, overflow) = number.multipliedReportingOverflow(by: scale)
        return overflow ? nil : product
    }

    /// The amount with the largest unit that keeps it exact: `256MiB`, `4097`.
    public static func bytesText(_ bytes: UInt64) -> String {
        for unit in byteUnits where bytes > 0 && bytes % unit.bytes == 0 {
            return "\(bytes / unit.bytes)\(unit.name)"
        }
        return String(bytes)
    }

    /// The time with the largest unit that keeps it exact, rounded down to milliseconds: `90s`, `500ms`.
    public static func durationText(_ durationNs: UInt64) -> String {
        for unit in timeUnits where durationNs > 0 && durationNs % unit.ns == 0 {
            return "\(durationNs / unit.ns)\(unit.name)"
        }
        return durationNs == 0 ? "0" : "\(durationNs / 1_000_000)ms"
    }

    private static func split(_ text: String) -> (UInt64, String)? {
        let digits = text.prefix { $0.isASCII && $0.isWholeNumber }
        guard let number = UInt64(digits) else { return nil }
        return (number, text.dropFirst(digits.count).trimmed)
    }
}

extension Duration {
    /// Whole nanoseconds, at most 2⁶³−1 and at least 0: for deadlines on the monotonic clock.
    public var clampedNs: UInt64 {
        let (seconds, attoseconds) = components
        if seconds < 0 || attoseconds < 0 { return 0 }
        let (ns, overflow) = UInt64(seconds).multipliedReportingOverflow(by: 1_000_000_000)
        return overflow ? UInt64(Int64.max) : min(ns + UInt64(attoseconds) / 1_000_000_000, UInt64(Int64.max))
    }
}
