/// Why a measurement could not be made.
public struct BenchError: Error, Sendable, CustomStringConvertible {
    /// The closed set of reasons.
    public enum Code: Sendable, Hashable {
        /// What was asked for is impossible, here or on the far side.
        case impossible
        /// The far side cannot be reached, or has gone.
        case unreachable
        /// The far side speaks something else.
        case protocolBroken
        /// Nothing happened within the limit.
        case timedOut
        /// Bytes arrived that were not sent.
        case wrongBytes
        /// The far side serves somebody else.
        case busy
        /// The kernel or a device refused.
        case system
    }

    /// Which reason.
    public let code: Code
    /// One sentence with the remedy.
    public let description: String

    /// Describes a failure.
    public init(_ code: Code, _ description: String) {
        self.code = code
        self.description = description
    }
}
