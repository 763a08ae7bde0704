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

/// A kind that stands in base 128 on the wire.
public protocol ProtoVarintScalar: ProtoScalar {
    /// The bits that stand for a value.
    static func bits(_ value: Value) -> UInt64
    /// The value that bits stand for; every pattern stands for one.
    static func value(_ bits: UInt64) -> Value
}

extension ProtoVarintScalar {
    /// How its values are delimited.
    public static var wireType: ProtoWireType { .varint }
    /// Writes a value without a tag.
    public static func write(_ value: Value, to writer: inout ProtoWriter) { writer.varint(bits(value)) }
    /// Reads a value without a tag.
    public static func read(from reader: inout ProtoReader) throws(ProtobufError) -> Value {
        value(try reader.varint())
    }
}

/// A kind that stands in four bytes on the wire.
public protocol ProtoFixed32Scalar: ProtoScalar {
    /// The bits that stand for a value.
    static func bits(_ value: Value) -> UInt32
    /// The value that bits stand for; every pattern stands for one.
    static func value(_ bits: UInt32) -> Value
}

extension ProtoFixed32Scalar {
    /// How its values are delimited.
    public static var wireType: ProtoWireType { .fixed32 }
    /// Writes a value without a tag.
    public static func write(_ value: Value, to writer: inout ProtoWriter) {
        writer.littleEndian(bits(value))
    }
    /// Reads a value without a tag.
    public static func read(from reader: inout ProtoReader) throws(ProtobufError) -> Value {
        value(try reader.fixed32())
    }
}

/// A kind that stands in eight bytes on the wire.
public protocol ProtoFixed64Scalar: ProtoScalar {
    /// The bits that stand for a value.
    static func bits(_ value: Value) -> UInt64
    /// The value that bits stand for; every pattern stands for one.
    static func value(_ bits: UInt64) -> Value
}

extension ProtoFixed64Scalar {
    /// How its values are delimited.
    public static var wireType: ProtoWireType { .fixed64 }
    /// Writes a value without a tag.
    public static func write(_ value: Value, to writer: inout ProtoWriter) {
        writer.littleEndian(bits(value))
    }
    /// Reads a value without a tag.
    public static func read(from reader: inout ProtoReader) throws(ProtobufError) -> Value {
        value(try reader.fixed64())
    }
}

/// `int32`: negative numbers take ten bytes.
public enum ProtoInt32: ProtoVarintScalar {
    /// The Swift type.
    public typealias Value = Int32
    /// The bits that stand for a value.
    public static func bits(_ value: Int32) -> UInt64 { UInt64(bitPattern: Int64(value)) }
    /// The value that bits stand for.
    public static func value(_ bits: UInt64) -> Int32 { Int32(truncatingIfNeeded: bits) }
}

/// `int64`: negative numbers take ten bytes.
public enum ProtoInt64: ProtoVarintScalar {
    /// The Swift type.
    public typealias Value = Int64
    /// The bits that stand for a value.
    public static func bits(_ value: Int64) -> UInt64 { UInt64(bitPattern: value) }
    /// The value that bits stand for.
    public static func value(_ bits: UInt64) -> Int64 { Int64(bitPattern: bits) }
}

/// `uint32`.
public enum ProtoUInt32: ProtoVarintScalar {
    /// The Swift type.
    public typealias Value = UInt32
    /// The bits that stand for a value.
    public static func bits(_ value: UInt32) -> UInt64 { UInt64(value) }
    /// The value that bits stand for.
    public static func value(_ bits: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: bits) }
}

/// `uint64`.
public enum ProtoUInt64: ProtoVarintScalar {
    /// The Swift type.
    public typealias Value = UInt64
    /// The bits that stand for a value.
    public static func bits(_ value: UInt64) -> UInt64 { value }
    /// The value that bits stand for.
    public static func value(_ bits: UInt64) -> UInt64 { bits }
}

/// `sint32`: zigzag, so that small negative numbers are short.
public enum ProtoSInt32: ProtoVarintScalar {
    /// The Swift type.
    public typealias Value = Int32
    /// The bits that stand for a value.
    public static func bits(_ value: Int32) -> UInt64 {
        UInt64(UInt32(bitPattern: (value << 1) ^ (value >> 31)))
    }
    /// The value that bits stand for.
    public static func value(_ bits: UInt64) -> Int32 {
        Int32(truncatingIfNeeded: (bits & 0xFFFF_FFFF) >> 1) ^ -Int32(truncatingIfNeeded: bits & 1)
    }
}

/// `sint64`: zigzag, so that small negative numbers are short.
public enum ProtoSInt64: ProtoVarintScalar {
    /// The Swift type.
    public typealias Value = Int64
    /// The bits that stand for a value.
    public static func bits(_ value: Int64) -> UInt64 { UInt64(bitPattern: (value << 1) ^ (value >> 63)) }
    /// The value that bits stand for.
    public static func value(_ bits: UInt64) -> Int64 {
        Int64(bitPattern: bits >> 1) ^ -Int64(bitPattern: bits & 1)
    }
}

/// `bool`.
public enum ProtoBool: ProtoVarintScalar {
    /// The Swift type.
    public typealias Value = Bool
    /// The bits that stand for a value.
    public static func bits(_ value: Bool) -> UInt64 { value ? 1 : 0 }
    /// The value that bits stand for.
    public static func value(_ bits: UInt64) -> Bool { bits != 0 }
}

/// `fixed32`.
public enum ProtoFixed32: ProtoFixed32Scalar {
    /// The Swift type.
    public typealias Value = UInt32
    /// The bits that stand for a value.
    public static func bits(_ value: UInt32) -> UInt32 { value }
    /// The value that bits stand for.
    public static func value(_ bits: UInt32) -> UInt32 { bits }
}

/// `sfixed32`.
public enum ProtoSFixed32: ProtoFixed32Scalar {
    /// The Swift type.
    public typealias Value = Int32
    /// The bits that stand for a value.
    public static func bits(_ value: Int32) -> UInt32 { UInt32(bitPattern: value) }
    /// The value that bits stand for.
    public static func value(_ bits: UInt32) -> Int32 { Int32(bitPattern: bits) }
}

/// `float`.
public enum ProtoFloat: ProtoFixed32Scalar {
    /// The Swift type.
    public typealias Value = Float
    /// The bits that stand for a value.
    public static func bits(_ value: Float) -> UInt32 { value.bitPattern }
    /// The value that bits stand for.
    public static func value(_ bits: UInt32) -> Float { Float(bitPattern: bits) }
}

/// `fixed64`.
public enum ProtoFixed64: ProtoFixed64Scalar {
    /// The Swift type.
    public typealias Value = UInt64
    /// The bits that stand for a value.
    public static func bits(_ value: UInt64) -> UInt64 { value }
    /// The value that bits stand for.
    public static func value(_ bits: UInt64) -> UInt64 { bits }
}

/// `sfixed64`.
public enum ProtoSFixed64: ProtoFixed64Scalar {
    /// The Swift type.
    public typealias Value = Int64
    /// The bits that stand for a value.
    public static func bits(_ value: Int64) -> UInt64 { UInt64(bitPattern: value) }
    /// The value that bits stand for.
    public static func value(_ bits: UInt64) -> Int64 { Int64(bitPattern: bits) }
}

/// `double`.
public enum ProtoDouble: ProtoFixed64Scalar {
    /// The Swift type.
    public typealias Value = Double
    /// The bits that stand for a value.
    public static func bits(_ value: Double) -> UInt64 { value.bitPattern }
    /// The value that bits stand for.
    public static func value(_ bits: UInt64) -> Double { Double(bitPattern: bits) }
}
