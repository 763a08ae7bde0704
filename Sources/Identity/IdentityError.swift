/// Something about keys, certificates or tokens did not work: the layer's only error.
public struct IdentityError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The closed set of reasons.
    public enum Code: String, Sendable, Hashable {
        /// A text is no key, certificate, request, token or name.
        case malformed
        /// A signature does not hold, or a pin does not fit.
        case untrusted
        /// A file cannot be read or written, or others may read it.
        case storage
        /// Of another cluster.
        case otherCluster
        /// The other side cannot be reached.
        case unreachable
        /// OpenSSL refused something it never refuses.
        case failed
    }
    /// The reason.
    public let code: Code
    /// A sentence with what to do.
    public let sentence: String

    /// A failure with its sentence.
    public init(_ code: Code, _ sentence: String) {
        self.code = code
        self.sentence = sentence
    }

    /// The sentence.
    public var description: String { sentence }
}
