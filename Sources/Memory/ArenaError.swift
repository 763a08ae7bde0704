import System

/// Why an arena could not be made.
public struct ArenaError: Error, Sendable, CustomStringConvertible {
    /// The kinds of failure.
    public enum Code: Sendable, Hashable {
        /// The configuration contradicts itself.
        case badConfiguration
        /// The machine, or this process's control group, has less memory than the arena needs.
        case notEnoughMemory
        /// Huge pages are required and there are too few.
        case noHugePages
        /// The kernel refused a call without which there is no arena.
        case refused
    }

    /// The kind.
    public let code: Code
    /// What happened and what to do, for a person.
    public let sentence: String
    /// The system call that failed, if one did.
    public let cause: Errno?

    init(_ code: Code, _ sentence: String, cause: Errno? = nil) {
        self.code = code
        self.sentence = sentence
        self.cause = cause
    }

    /// The sentence, with the system call that failed.
    public var description: String { cause.map { "\(sentence) [\($0.call): errno \($0.code)]" } ?? sentence }
}

/// Bytes as a person reads them: `16 MiB`, `1.5 GiB`.
func readable(_ bytes: Int) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"]
    var unit = 0
    while unit + 1 < units.count, bytes >> (10 * (unit + 1)) != 0 { unit += 1 }
    // In tenths, rounded down; a whole number goes without them.
    let tenths = (bytes >> (10 * unit)) * 10 + ((bytes & ((1 << (10 * unit)) - 1)) * 10) >> (10 * unit)
    return tenths % 10 == 0 ? "\(tenths / 10) \(units[unit])" : "\(tenths / 10).\(tenths % 10) \(units[unit])"
}
