/// A protocol buffers message: a value that can be written to bytes and read from them.
///
/// Types that conform are generated from `.proto` files by `Tools/protoc-gen-martlet`.
public protocol ProtoMessage: Sendable, Hashable {
    /// The message's full name in its `.proto` file, e.g. `martlet.v1.Hello`.
    static var protoName: String { get }

    /// A message with every field at its default.
    init()

    /// Merges the fields that `reader` holds up to the end of the message being read.
    ///
    /// Fields that are unknown, or whose wire type is not the expected one, are skipped and not kept.
    mutating func decode(from reader: inout ProtoReader) throws(ProtobufError)

    /// Writes every field that differs from its default, in the order of field numbers.
    func encode(to writer: inout ProtoWriter)
}

extension ProtoMessage {
    /// Reads a message from its bytes.
    public init(protobuf bytes: [UInt8]) throws(ProtobufError) {
        self.init()
        guard bytes.count <= ProtobufLimits.messageBytesMax else { throw .tooLong }
        var reader = ProtoReader(bytes)
        try decode(from: &reader)
    }

    /// The message's bytes. Equal messages have equal bytes.
    public func protobufBytes() -> [UInt8] {
        var writer = ProtoWriter()
        encode(to: &writer)
        return writer.bytes
    }
}

/// A protocol buffers enumeration. Open: numbers that are not known are kept.
public protocol ProtoEnum: Sendable, Hashable {
    /// The case for a number; there is one for every number.
    init(protoNumber: Int32)
    /// The number on the wire.
    var protoNumber: Int32 { get }
}
