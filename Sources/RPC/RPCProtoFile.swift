import Protobuf

/// A `.proto` file as protoc describes it, embedded in the program for reflection.
public struct RPCProtoFile: Sendable, Hashable {
    /// Its name in imports, e.g. `martlet/v1/scheduler.proto`.
    public let name: String
    /// A serialized `google.protobuf.FileDescriptorProto`.
    public let descriptor: [UInt8]
    /// The names of the files it imports.
    let imports: [String]
    /// The full names that it declares: messages, fields, enumerations, services and methods.
    let symbols: Set<String>
    /// The full names of its services.
    let serviceNames: [String]

    /// A file by its descriptor in base 64. Traps when that is malformed: it is generated.
    public init(name: String, base64Descriptor: String) {
        guard let descriptor = Self.decodeBase64(base64Descriptor),
            let contents = try? FileContents(protobuf: descriptor)
        else { preconditionFailure("RPCProtoFile: the descriptor of \(name) is malformed; generate it again") }
        self.name = name
        self.descriptor = descriptor
        imports = contents.imports
        symbols = contents.symbols
        serviceNames = contents.services.map { "\(contents.package).\($0.name)" }
    }

    /// RFC 4648, with padding.
    private static func decodeBase64(_ text: String) -> [UInt8]? {
        var bytes: [UInt8] = []
        var bits: UInt32 = 0
        var count = 0
        for character in text.utf8 where character != UInt8(ascii: "=") {
            let value: UInt8
            switch character {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"): value = character - UInt8(ascii: "A")
            case UInt8(ascii: "a")...UInt8(ascii: "z"): value = character - UInt8(ascii: "a") + 26
            case UInt8(ascii: "0")...UInt8(ascii: "9"): value = character - UInt8(ascii: "0") + 52
            case UInt8(ascii: "+"): value = 62
            case UInt8(ascii: "/"): value = 63
            default: return nil
            }
            bits = bits << 6 | UInt32(value)
            count += 6
            if count >= 8 {
                count -= 8
                bytes.append(UInt8(truncatingIfNeeded: bits >> count))
            }
        }
        return bytes
    }
}

/// What reflection needs of a FileDescriptorProto. Field numbers: google/protobuf/descriptor.proto.
private struct FileContents: ProtoMessage {
    static var protoName: String { "google.protobuf.FileDescriptorProto" }

    var package = ""
    var imports: [String] = []
    var types: [Declaration] = []
    var services: [Declaration] = []

    var symbols: Set<String> {
        var symbols: Set<String> = []
        for type in types + services { type.collect(in: package, &symbols) }
        return symbols
    }

    mutating func decode(from reader: inout ProtoReader) throws(ProtobufError) {
        while let tag = try reader.nextTag() {
            switch tag {
            case 2 << 3 | 2: package = try reader.string()
            case 3 << 3 | 2: imports.append(try reader.string())
            // message_type, enum_type; service.
            case 4 << 3 | 2, 5 << 3 | 2: types.append(try reader.message())
            case 6 << 3 | 2: services.append(try reader.message())
            default: try reader.skip(tag)
            }
        }
    }

    func encode(to writer: inout ProtoWriter) { preconditionFailure("FileContents is only read") }
}

/// A named thing that may hold others: a DescriptorProto, EnumDescriptorProto or ServiceDescriptorProto.
private struct Declaration: ProtoMessage {
    static var protoName: String { "google.protobuf.DescriptorProto" }

    var name = ""
    /// Fields of a message (2), values of an enumeration (2), methods of a service (2), nested messages (3) and enums (4).
    var members: [Declaration] = []

    func collect(in scope: String, _ symbols: inout Set<String>) {
        let fullName = scope.isEmpty ? name : "\(scope).\(name)"
        symbols.insert(fullName)
        for member in members { member.collect(in: fullName, &symbols) }
    }

    mutating func decode(from reader: inout ProtoReader) throws(ProtobufError) {
        while let tag = try reader.nextTag() {
            switch tag {
            case 1 << 3 | 2: name = try reader.string()
            case 2 << 3 | 2: members.append(try reader.message())
            case 3 << 3 | 2: members.append(try reader.message())
            case 4 << 3 | 2: members.append(try reader.message())
            default: try reader.skip(tag)
            }
        }
    }

    func encode(to writer: inout ProtoWriter) { preconditionFailure("Declaration is only read") }
}
