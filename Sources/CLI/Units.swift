/// Amounts as people read them: decimal units, three digits or so.
public enum Units {
    private static let scales: [(Double, String)] = [
        (1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"),
    ]

    /// `4.29 GB`
    public static func bytes(_ amount: UInt64) -> String {
        for (scale, unit) in scales where Double(amount) >= scale {
            return "\(digits(Double(amount) / scale)) \(unit)"
        }
        return "\(amount) B"
    }

    /// `612 MB/s`; `-` when it is not known.
    public static func rate(bytesPerSecond: Double) -> String {
        guard bytesPerSecond.isFinite, bytesPerSecond >= 0 else { return "-" }
        return bytes(UInt64(min(bytesPerSecond, 1e18))) + "/s"
    }

    /// `0.8 s`, `42 s`, `3 min 05 s`, `2 h 10 min`; `-` when it is not known.
    public static func duration(seconds: Double) -> String {
        guard seconds.isFinite, seconds >= 0, seconds < 1e9 else { return "-" }
        if seconds < 9.95 { return "\(decimals(seconds, 1)) s" }
        let whole = Int(seconds.rounded())
        if whole < 60 { return "\(whole) s" }
        func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
        if whole < 3600 { return "\(whole / 60) min \(two(whole % 60)) s" }
        return "\(whole / 3600) h \(two(whole / 60 % 60)) min"
    }

    /// `52.1 %`; never 100 before it is whole.
    public static func percent(_ part: UInt64, of whole: UInt64) -> String {
        guard whole > 0 else { return "0.0 %" }
        if part >= whole { return "100 %" }
        return decimals(min(Double(part) / Double(whole) * 100, 99.9), 1) + " %"
    }

    /// Three significant digits.
    private static func digits(_ number: Double) -> String {
        if number < 9.995 { return decimals(number, 2) }
        return number < 99.95 ? decimals(number, 1) : decimals(number, 0)
    }

    static func decimals(_ number: Double, _ count: Int) -> String {
        var scale = 1
        for _ in 0..<count { scale *= 10 }
        let whole = Int((number * Double(scale)).rounded())
        guard count > 0 else { return String(whole) }
        let fraction = String(whole % scale)
        return "\(whole / scale)." + String(repeating: "0", count: count - fraction.count) + fraction
    }
}

/// Rows under headings, in columns as wide as they need to be.
public struct TextTable: Sendable {
    /// A column's heading, and on which side its cells stand.
    public struct Column: Sendable {
        let title: String
        let alignsRight: Bool

        /// A column of words.
        public static func left(_ title: String) -> Column { Column(title: title, alignsRight: false) }
        /// A column of numbers.
        public static func right(_ title: String) -> Column { Column(title: title, alignsRight: true) }
    }

    private let columns: [Column]
    private var rows: [[String]] = []

    /// A table without rows.
    public init(_ columns: [Column]) { self.columns = columns }

    /// Adds a row: one cell for each column.
    public mutating func add(_ cells: [String]) {
        precondition(cells.count == columns.count, "a row has \(columns.count) cells")
        rows.append(cells)
    }

    /// The lines: the heading first, two spaces between columns, none at the end.
    public func lines() -> [String] {
        let all = [columns.map(\.title)] + rows
        let widths = columns.indices.map { index in all.map { $0[index].count }.max() ?? 0 }
        return all.map { row in
            let cells = zip(columns, zip(row, widths)).map { column, cell in
                let space = String(repeating: " ", count: cell.1 - cell.0.count)
                return column.alignsRight ? space + cell.0 : cell.0 + space
            }
            var line = cells.joined(separator: "  ")
            while line.last == " " { line.removeLast() }
            return line
        }
    }
}
