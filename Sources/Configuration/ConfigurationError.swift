/// Why a configuration is refused: one sentence that names the place and says what to write instead.
public struct ConfigurationError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The kinds of refusal.
    public enum Code: String, Sendable {
        /// A key, section, variable or flag that the schema does not have.
        case unknownKey
        /// A known key with a value it cannot have.
        case badValue
        /// A file that cannot be read.
        case unreadable
        /// A file that is not in the format.
        case syntax
        /// Values that contradict each other.
        case conflict
    }

    /// The kind.
    public let code: Code
    /// The sentence.
    public let description: String
    /// The kernel's error number, where there was one.
    public let cause: Int32?

    /// Describes a refusal.
    public init(_ code: Code, _ description: String, cause: Int32? = nil) {
        self.code = code
        self.description = description
        self.cause = cause
    }
}
