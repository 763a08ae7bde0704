/// Why bytes are not the message they were taken for.
///
/// Decoding gives one of these for any input whatever; it never traps.
public enum ProtobufError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The bytes end inside a field.
    case truncated
    /// A variable-length integer is longer than ten bytes.
    case malformedVarint
    /// A field has the number 0 or one above 2^29 - 1.
    case malformedFieldNumber
    /// A field's wire type does not exist, or a group's end has no beginning.
    case malformedWireType
    /// A packed field's length is no multiple of its elements'.
    case malformedPackedField
    /// A `string` field is not UTF-8.
    case malformedString
    /// Messages are nested deeper than `ProtobufLimits.depthMax`.
    case tooDeep
    /// There are more nested messages and repeated elements than `ProtobufLimits.elementsMax`.
    case tooManyElements
    /// The message is longer than `ProtobufLimits.messageBytesMax`.
    case tooLong

    /// A sentence for people.
    public var description: String {
        switch self {
        case .truncated: "the message ends inside a field"
        case .malformedVarint: "an integer of the message is longer than ten bytes"
        case .malformedFieldNumber: "a field number of the message is out of range"
        case .malformedWireType: "a field of the message has an unknown wire type"
        case .malformedPackedField: "a packed field's length does not fit its elements"
        case .malformedString: "a text field of the message is not UTF-8"
        case .tooDeep: "the message is nested deeper than \(ProtobufLimits.depthMax) levels"
        case .tooManyElements: "the message has more than \(ProtobufLimits.elementsMax) elements"
        case .tooLong: "the message is longer than \(ProtobufLimits.messageBytesMax) bytes"
        }
    }
}

/// Bounds of what is decoded, so that a message cannot take more memory than a small multiple of its length.
public enum ProtobufLimits {
    /// The deepest nesting of messages and groups.
    public static let depthMax = 64
    /// The most nested messages, strings, byte strings and map entries in one message, all levels together.
    ///
    /// An empty element takes 2 bytes on the wire and up to some 200 in memory: 2^20 of them 200 MB.
    public static let elementsMax = 1 << 20
    /// The longest message: 64 MiB. RPC bounds messages far lower.
    public static let messageBytesMax = 64 << 20
}
