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
    /// The paths of its services' methods, e.g. `/martlet.v1.Scheduler/Attach`.
    public let methodPaths: [String]

    /// A file by its descriptor in base 64. Traps when that is malformed: it is generated.
    public init(name: String, base64Descriptor: String) {
        guard let descriptor = Self.decodeBase64(base64Descriptor),
            let contents = try? FileContents(protobuf: descriptor)
        else {
            preconditionFailure("RPCProtoFile: the descriptor of \(name) is malformed; generate it again")
        }
        self.name = name
        self.descriptor = descriptor
        imports = contents.imports
        symbols = contents.symbols
        serviceNames = contents.services.map { "\(contents.package).\($0.name)" }
        methodPaths = contents.services.flatMap { service in
            service.members.map { "/\(contents.package).\(service.name)/\($0.name)" }
        }
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
    var messages: [MessageContents] = []
    var enums: [ListContents] = []
    var services: [ListContents] = []

    var symbols: Set<String> {
        let prefix = package.isEmpty ? "" : "\(package)."
        var symbols: Set<String> = []
        for message in messages { message.collect(prefix, &symbols) }
        for list in enums { list.collect(prefix, membersPrefix: prefix, &symbols) }
        for list in services { list.collect(prefix, membersPrefix: "\(prefix)\(list.name).", &symbols) }
        return symbols
    }

    mutating func decode(from reader: inout ProtoReader) throws(ProtobufError) {
        while let tag = try reader.nextTag() {
            switch tag {
            case 2 << 3 | 2: package = try reader.string()
            case 3 << 3 | 2: imports.append(try reader.string())
            case 4 << 3 | 2: messages.append(try reader.message())
            case 5 << 3 | 2: enums.append(try reader.message())
            case 6 << 3 | 2: services.append(try reader.message())
            default: try reader.skip(tag)
            }
        }
    }

    func encode(to writer: inout ProtoWriter) { preconditionFailure("FileContents is only read") }
}

/// A DescriptorProto's names.
private struct MessageContents: ProtoMessage {
    static var protoName: String { "google.protobuf.DescriptorProto" }

    var name = ""
    var fields: [Named] = []
    var messages: [MessageContents] = []
    var enums: [ListContents] = []

    func collect(_ prefix: String, _ symbols: inout Set<String>) {
        let inner = "\(prefix)\(name)."
        symbols.insert("\(prefix)\(name)")
        for field in fields { symbols.insert("\(inner)\(field.name)") }
        for message in messages { message.collect(inner, &symbols) }
        for list in enums { list.collect(inner, membersPrefix: inner, &symbols) }
    }

    mutating func decode(from reader: inout ProtoReader) throws(ProtobufError) {
        while let tag = try reader.nextTag() {
            switch tag {
            case 1 << 3 | 2: name = try reader.string()
            case 2 << 3 | 2: fields.append(try reader.message())
            case 3 << 3 | 2: messages.append(try reader.message())
            case 4 << 3 | 2: enums.append(try reader.message())
            default: try reader.skip(tag)
            }
        }
    }

    func encode(to writer: inout ProtoWriter) { preconditionFailure("MessageContents is only read") }
}

/// An EnumDescriptorProto's or ServiceDescriptorProto's names. An enumeration's values stand beside it, not in it.
private struct ListContents: ProtoMessage {
    static var protoName: String { "google.protobuf.ServiceDescriptorProto" }

    var name = ""
    var members: [Named] = []

    func collect(_ prefix: String, membersPrefix: String, _ symbols: inout Set<String>) {
        symbols.insert("\(prefix)\(name)")
        for member in members { symbols.insert("\(membersPrefix)\(member.name)") }
    }

    mutating func decode(from reader: inout ProtoReader) throws(ProtobufError) {
        while let tag = try reader.nextTag() {
            switch tag {
            case 1 << 3 | 2: name = try reader.string()
            case 2 << 3 | 2: members.append(try reader.message())
            default: try reader.skip(tag)
            }
        }
    }

    func encode(to writer: inout ProtoWriter) { preconditionFailure("ListContents is only read") }
}

/// A field's, value's or method's name.
private struct Named: ProtoMessage {
    static var protoName: String { "google.protobuf.FieldDescriptorProto" }

    var name = ""

    mutating func decode(from reader: inout ProtoReader) throws(ProtobufError) {
        while let tag = try reader.nextTag() {
            switch tag {
            case 1 << 3 | 2: name = try reader.string()
            default: try reader.skip(tag)
            }
        }
    }

    func encode(to writer: inout ProtoWriter) { preconditionFailure("Named is only read") }
}
