/// Reads protocol buffers' wire format, within limits.
///
/// One reader reads a message and all messages nested in it: entering one narrows `end`, leaving it widens it again, so
/// nothing is copied. Bytes from anywhere may be given: every step checks what is left.
public struct ProtoReader: Sendable {
    private let source: [UInt8]
    private var position = 0
    /// Where the message that is being read ends.
    private var end: Int
    private var depth = 0
    private var elements = 0

    /// A reader of a whole message.
    public init(_ bytes: [UInt8]) {
        source = bytes
        end = bytes.count
    }

    /// The next field's tag, `number << 3 | wire type`; nil at the message's end.
    ///
    /// Generated code compares whole tags, so that a field of a wrong wire type counts as unknown.
    public mutating func nextTag() throws(ProtobufError) -> UInt64? {
        guard position < end else { return nil }
        let tag = try varint()
        guard tag >> 3 != 0, tag >> 3 < 1 << 29 else { throw .malformedFieldNumber }
        return tag
    }

    /// Passes over the content of a field that is not known.
    public mutating func skip(_ tag: UInt64) throws(ProtobufError) {
        switch ProtoWireType(rawValue: UInt8(tag & 7)) {
        case .varint: _ = try varint()
        case .fixed64: _ = try fixed64()
        case .fixed32: _ = try fixed32()
        case .lengthDelimited: position += try length()
        case .groupStart: try skipGroup(tag >> 3)
        case .groupEnd, nil: throw .malformedWireType
        }
    }

    private mutating func skipGroup(_ number: UInt64) throws(ProtobufError) {
        try enter()
        while let tag = try nextTag() {
            if tag & 7 == UInt64(ProtoWireType.groupEnd.rawValue) {
                guard tag >> 3 == number else { throw .malformedWireType }
                depth -= 1
                return
            }
            try skip(tag)
        }
        throw .truncated
    }

    /// Reads an integer in base 128; bits beyond the 64th are dropped, as other implementations do.
    public mutating func varint() throws(ProtobufError) -> UInt64 {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while shift < 70 {
            guard position < end else { throw .truncated }
            let byte = source[position]
            position += 1
            value |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 { return value }
            shift += 7
        }
        throw .malformedVarint
    }

    /// Reads four bytes, least significant first.
    public mutating func fixed32() throws(ProtobufError) -> UInt32 {
        guard end - position >= 4 else { throw .truncated }
        var value: UInt32 = 0
        for index in (position..<position + 4).reversed() { value = value << 8 | UInt32(source[index]) }
        position += 4
        return value
    }

    /// Reads eight bytes, least significant first.
    public mutating func fixed64() throws(ProtobufError) -> UInt64 {
        guard end - position >= 8 else { throw .truncated }
        var value: UInt64 = 0
        for index in (position..<position + 8).reversed() { value = value << 8 | UInt64(source[index]) }
        position += 8
        return value
    }

    /// Reads a length that fits what is left.
    private mutating func length() throws(ProtobufError) -> Int {
        let length = try varint()
        guard length <= UInt64(end - position) else { throw .truncated }
        return Int(length)
    }

    /// Reads a value of a scalar kind.
    public mutating func scalar<Kind: ProtoScalar>(_ kind: Kind.Type) throws(ProtobufError) -> Kind.Value {
        try Kind.read(from: &self)
    }

    /// Reads a packed field behind what `values` holds already.
    public mutating func packed<Kind: ProtoScalar>(
        _ kind: Kind.Type, into values: inout [Kind.Value]
    ) throws(ProtobufError) {
        let outer = try narrow()
        while position < end {
            // A fixed-size element that does not fit is cut off by the field's end, not by the message's.
            switch Kind.wireType {
            case .fixed32 where end - position < 4: throw .malformedPackedField
            case .fixed64 where end - position < 8: throw .malformedPackedField
            default: values.append(try Kind.read(from: &self))
            }
        }
        end = outer
    }

    /// Reads an enumeration's value.
    public mutating func enumeration<Value: ProtoEnum>() throws(ProtobufError) -> Value {
        Value(protoNumber: try ProtoInt32.read(from: &self))
    }

    /// Reads a packed field of an enumeration behind what `values` holds already.
    public mutating func packedEnumeration<Value: ProtoEnum>(into values: inout [Value]) throws(ProtobufError) {
        var numbers: [Int32] = []
        try packed(ProtoInt32.self, into: &numbers)
        for number in numbers { values.append(Value(protoNumber: number)) }
    }

    /// Reads a `string`, which must be UTF-8.
    public mutating func string() throws(ProtobufError) -> String {
        try countElement()
        let count = try length()
        let text = source[position..<position + count]
        guard let string = String(validating: text, as: UTF8.self) else { throw .malformedString }
        position += count
        return string
    }

    /// Reads a `bytes` value.
    public mutating func bytes() throws(ProtobufError) -> [UInt8] {
        try countElement()
        let count = try length()
        defer { position += count }
        return [UInt8](source[position..<position + count])
    }

    /// Reads a message and merges it with what `message` holds already.
    public mutating func message<Message: ProtoMessage>(into message: inout Message) throws(ProtobufError) {
        let outer = try narrow()
        try enter()
        try message.decode(from: &self)
        depth -= 1
        end = outer
    }

    /// Reads a message and merges it with what is there already, if anything.
    public mutating func message<Message: ProtoMessage>(into message: inout Message?) throws(ProtobufError) {
        var merged = message ?? Message()
        // Not held twice, so that merging does not copy.
        message = nil
        try self.message(into: &merged)
        message = merged
    }

    /// Reads a message.
    public mutating func message<Message: ProtoMessage>() throws(ProtobufError) -> Message {
        var message = Message()
        try self.message(into: &message)
        return message
    }

    /// Reads an entry of a `map` field: `body` is given each tag of the entry, and reads or skips it.
    public mutating func entry(
        _ body: (inout ProtoReader, UInt64) throws(ProtobufError) -> Void
    ) throws(ProtobufError) {
        let outer = try narrow()
        try enter()
        while let tag = try nextTag() { try body(&self, tag) }
        depth -= 1
        end = outer
    }

    /// Enters a length-delimited field; gives the end to restore on leaving.
    private mutating func narrow() throws(ProtobufError) -> Int {
        let count = try length()
        let outer = end
        end = position + count
        return outer
    }

    private mutating func enter() throws(ProtobufError) {
        try countElement()
        depth += 1
        guard depth <= ProtobufLimits.depthMax else { throw .tooDeep }
    }

    private mutating func countElement() throws(ProtobufError) {
        elements += 1
        guard elements <= ProtobufLimits.elementsMax else { throw .tooManyElements }
    }
}
