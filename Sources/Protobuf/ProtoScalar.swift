/// A scalar kind of protocol buffers: how values of a Swift type stand on the wire.
///
/// `int32`, `sint32` and `sfixed32` are all `Int32` in Swift, so the kind is a type of its own.
public protocol ProtoScalar {
    /// The Swift type.
    associatedtype Value: Sendable, Hashable
    /// How its values are delimited.
    static var wireType: ProtoWireType { get }
    /// Writes a value without a tag.
    static func write(_ value: Value, to writer: inout ProtoWriter)
    /// Reads a value without a tag.
    static func read(from reader: inout ProtoReader) throws(ProtobufError) -> Value
}

/// `int32`: negative numbers take ten bytes.
public enum ProtoInt32: ProtoScalar {
    public static var wireType: ProtoWireType { .varint }
    public static func write(_ value: Int32, to writer: inout ProtoWriter) {
        writer.varint(UInt64(bitPattern: Int64(value)))
    }
    public static func read(from reader: inout ProtoReader) throws(ProtobufError) -> Int32 {
        Int32(truncatingIfNeeded: try reader.varint())
    }
}

/// `int64`.
public enum ProtoInt64: ProtoScalar {
    public static var wireType: ProtoWireType { .varint }
    public static func write(_ value: Int64, to writer: inout ProtoWriter) {
        writer.varint(UInt64(bitPattern: value))
    }
    public static func read(from reader: inout ProtoReader) throws(ProtobufError) -> Int64 {
        Int64(bitPattern: try reader.varint())
    }
}

/// `uint32`.
public enum ProtoUInt32: ProtoScalar {
    public static var wireType: ProtoWireType { .varint }
    public static func write(_ value: UInt32, to writer: inout ProtoWriter) { writer.varint(UInt64(value)) }
    public static func read(from reader: inout ProtoReader) throws(ProtobufError) -> UInt32 {
        UInt32(truncatingIfNeeded: try reader.varint())
    }
}

/// `uint64`.
public enum ProtoUInt64: ProtoScalar {
    public static var wireType: ProtoWireType { .varint }
    public static func write(_ value: UInt64, to writer: inout ProtoWriter) { writer.varint(value) }
    public static func read(from reader: inout ProtoReader) throws(ProtobufError) -> UInt64 {
        try reader.varint()
    }
}

/// `sint32`: zigzag, so that small negative numbers are short.
public enum ProtoSInt32: ProtoScalar {
    public static var wireType: ProtoWireType { .varint }
    public static func write(_ value: Int32, to writer: inout ProtoWriter) {
        writer.varint(UInt64(UInt32(bitPattern: (value << 1) ^ (value >> 31))))
    }
    public static func read(from reader: inout ProtoReader) throws(ProtobufError) -> Int32 {
        let folded = UInt32(truncatingIfNeeded: try reader.varint())
        return Int32(bitPattern: folded >> 1) ^ -Int32(bitPattern: folded & 1)
    }
}

/// `sint64`: zigzag.
public enum ProtoSInt64: ProtoScalar {
    public static var wireType: ProtoWireType { .varint }
    public static func write(_ value: Int64, to writer: inout ProtoWriter) {
        writer.varint(UInt64(bitPattern: (value << 1) ^ (value >> 63)))
    }
    public static func read(from reader: inout ProtoReader) throws(ProtobufError) -> Int64 {
        let folded = try reader.varint()
        return Int64(bitPattern: folded >> 1) ^ -Int64(bitPattern: folded & 1)
    }
}

/// `bool`.
public enum ProtoBool: ProtoScalar {
    public static var wireType: ProtoWireType { .varint }
    public static func write(_ value: Bool, to writer: inout ProtoWriter) { writer.varint(value ? 1 : 0) }
    public static func read(from reader: inout ProtoReader) throws(ProtobufError) -> Bool {
        try reader.varint() != 0
    }
}

/// `fixed32`.
public enum ProtoFixed32: ProtoScalar {
    public static var wireType: ProtoWireType { .fixed32 }
    public static func write(_ value: UInt32, to writer: inout ProtoWriter) { writer.littleEndian(value) }
    public static func read(from reader: inout ProtoReader) throws(ProtobufError) -> UInt32 {
        try reader.fixed32()
    }
}

/// `fixed64`.
public enum ProtoFixed64: ProtoScalar {
    public static var wireType: ProtoWireType { .fixed64 }
    public static func write(_ value: UInt64, to writer: inout ProtoWriter) { writer.littleEndian(value) }
    public static func read(from reader: inout ProtoReader) throws(ProtobufError) -> UInt64 {
        try reader.fixed64()
    }
}

/// `sfixed32`.
public enum ProtoSFixed32: ProtoScalar {
    public static var wireType: ProtoWireType { .fixed32 }
    public static func write(_ value: Int32, to writer: inout ProtoWriter) {
        writer.littleEndian(UInt32(bitPattern: value))
    }
    public static func read(from reader: inout ProtoReader) throws(ProtobufError) -> Int32 {
        Int32(bitPattern: try reader.fixed32())
    }
}

/// `sfixed64`.
public enum ProtoSFixed64: ProtoScalar {
    public static var wireType: ProtoWireType { .fixed64 }
    public static func write(_ value: Int64, to writer: inout ProtoWriter) {
        writer.littleEndian(UInt64(bitPattern: value))
    }
    public static func read(from reader: inout ProtoReader) throws(ProtobufError) -> Int64 {
        Int64(bitPattern: try reader.fixed64())
    }
}

/// `float`.
public enum ProtoFloat: ProtoScalar {
    public static var wireType: ProtoWireType { .fixed32 }
    public static func write(_ value: Float, to writer: inout ProtoWriter) {
        writer.littleEndian(value.bitPattern)
    }
    public static func read(from reader: inout ProtoReader) throws(ProtobufError) -> Float {
        Float(bitPattern: try reader.fixed32())
    }
}

/// `double`.
public enum ProtoDouble: ProtoScalar {
    public static var wireType: ProtoWireType { .fixed64 }
    public static func write(_ value: Double, to writer: inout ProtoWriter) {
        writer.littleEndian(value.bitPattern)
    }
    public static func read(from reader: inout ProtoReader) throws(ProtobufError) -> Double {
        Double(bitPattern: try reader.fixed64())
    }
}
