/// Why the manager's database cannot be used: one sentence with what to do about it.
public struct DatabaseError: Error, Sendable, Hashable, CustomStringConvertible {
    /// What kind of trouble.
    public enum Code: Sendable, Hashable {
        /// The file cannot be opened or made.
        case cannotOpen
        /// Another manager uses it.
        case locked
        /// A newer Martlet wrote it.
        case newerSchema
        /// It is no database, or a broken one.
        case corrupt
        /// The disk is full.
        case full
        /// Anything else that SQLite says.
        case failed
    }
    /// What kind.
    public let code: Code
    /// The sentence.
    public let description: String

    init(_ code: Code, _ description: String) {
        self.code = code
        self.description = description
    }
}
