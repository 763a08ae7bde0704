/// Writes protocol buffers' wire format.
///
/// Format: <https://protobuf.dev/programming-guides/encoding/>. Field functions write the field whatever its value;
/// generated code leaves out what is at its default.
public struct ProtoWriter: Sendable {
    /// What was written so far.
    public private(set) var bytes: [UInt8] = []

    /// An empty writer.
    public init() {}

    /// Writes an integer in base 128, least significant group first.
    public mutating func varint(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(truncatingIfNeeded: rest))
    }

    /// Writes a field's number and wire type.
    public mutating func tag(_ field: Int, _ wireType: ProtoWireType) {
        varint(UInt64(field) << 3 | UInt64(wireType.rawValue))
    }

    /// Writes four bytes, least significant first.
    public mutating func littleEndian(_ value: UInt32) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }

    /// Writes eight bytes, least significant first.
    public mutating func littleEndian(_ value: UInt64) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }

    /// Writes an element of a kind: without tag.
    public mutating func element<Kind: ProtoScalar>(_ kind: Kind.Type, _ value: Kind.Value) {
        Kind.write(value, to: &self)
    }

    /// Writes a scalar field.
    public mutating func scalar<Kind: ProtoScalar>(_ field: Int, _ kind: Kind.Type, _ value: Kind.Value) {
        tag(field, Kind.wireType)
        Kind.write(value, to: &self)
    }

    /// Writes a repeated scalar field, packed. Nothing when it is empty.
    public mutating func packed<Kind: ProtoScalar>(_ field: Int, _ kind: Kind.Type, _ values: [Kind.Value]) {
        guard !values.isEmpty else { return }
        tag(field, .lengthDelimited)
        lengthDelimited { writer in
            for value in values { Kind.write(value, to: &writer) }
        }
    }

    /// Writes an enumeration field.
    public mutating func enumeration(_ field: Int, _ value: some ProtoEnum) {
        scalar(field, ProtoInt32.self, value.protoNumber)
    }

    /// Writes a repeated enumeration field, packed. Nothing when it is empty.
    public mutating func packedEnumeration(_ field: Int, _ values: [some ProtoEnum]) {
        packed(field, ProtoInt32.self, values.map(\.protoNumber))
    }

    /// Writes a `string` field.
    public mutating func string(_ field: Int, _ value: String) {
        tag(field, .lengthDelimited)
        let text = value.utf8
        varint(UInt64(text.count))
        bytes.append(contentsOf: text)
    }

    /// Writes a `bytes` field.
    public mutating func bytes(_ field: Int, _ value: [UInt8]) {
        tag(field, .lengthDelimited)
        varint(UInt64(value.count))
        bytes.append(contentsOf: value)
    }

    /// Writes a message field.
    public mutating func message(_ field: Int, _ value: some ProtoMessage) {
        tag(field, .lengthDelimited)
        lengthDelimited { value.encode(to: &$0) }
    }

    /// Writes an entry of a `map` field, whose key is field 1 and whose value is field 2.
    public mutating func entry(_ field: Int, _ body: (inout ProtoWriter) -> Void) {
        tag(field, .lengthDelimited)
        lengthDelimited(body)
    }

    /// Writes what `body` writes behind its length.
    ///
    /// One byte is kept for the length; a longer one moves the content, which costs less than measuring it before.
    private mutating func lengthDelimited(_ body: (inout ProtoWriter) -> Void) {
        let start = bytes.count
        bytes.append(0)
        body(&self)
        var length = UInt64(bytes.count - start - 1)
        guard length >= 0x80 else {
            bytes[start] = UInt8(length)
            return
        }
        var prefix: [UInt8] = []
        while length >= 0x80 {
            prefix.append(UInt8(truncatingIfNeeded: length) | 0x80)
            length >>= 7
        }
        prefix.append(UInt8(length))
        bytes.replaceSubrange(start...start, with: prefix)
    }
}

/// How a field's content is delimited.
public enum ProtoWireType: UInt8, Sendable {
    /// An integer in base 128.
    case varint = 0
    /// Eight bytes.
    case fixed64 = 1
    /// A length and that many bytes.
    case lengthDelimited = 2
    /// The beginning of a group (obsolete; skipped).
    case groupStart = 3
    /// The end of a group.
    case groupEnd = 4
    /// Four bytes.
    case fixed32 = 5
}
