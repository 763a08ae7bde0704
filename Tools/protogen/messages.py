"""Swift structs and enums for messages and enumerations."""

from .names import GenerationError, doc, enum_case, escaped, lower_camel, upper_camel

MESSAGE, BYTES, STRING, ENUM, GROUP = 11, 12, 9, 14, 10
# Proto type → (kind in the Protobuf module, Swift type, default, wire type).
SCALARS = {
    1: ("ProtoDouble", "Double", "0", 1),
    2: ("ProtoFloat", "Float", "0", 5),
    3: ("ProtoInt64", "Int64", "0", 0),
    4: ("ProtoUInt64", "UInt64", "0", 0),
    5: ("ProtoInt32", "Int32", "0", 0),
    6: ("ProtoFixed64", "UInt64", "0", 1),
    7: ("ProtoFixed32", "UInt32", "0", 5),
    8: ("ProtoBool", "Bool", "false", 0),
    13: ("ProtoUInt32", "UInt32", "0", 0),
    15: ("ProtoSFixed32", "Int32", "0", 5),
    16: ("ProtoSFixed64", "Int64", "0", 1),
    17: ("ProtoSInt32", "Int32", "0", 0),
    18: ("ProtoSInt64", "Int64", "0", 0),
}


class Kind:
    """How one value of a field's type stands in Swift and on the wire."""

    def __init__(self, world, field):
        self.type = field.type
        if field.type == GROUP:
            raise GenerationError(f"field {field.name}: groups are not generated")
        if field.type in SCALARS:
            self.kind, self.swift, self.default, self.wire = SCALARS[field.type]
        else:
            self.wire = 0 if field.type == ENUM else 2
            if field.type == STRING:
                self.swift, self.default = "String", '""'
            elif field.type == BYTES:
                self.swift, self.default = "[UInt8]", "[]"
            elif field.type == ENUM:
                enum = world.enums[field.type_name]
                self.swift = world.swift_names[field.type_name]
                self.default = "." + enum_case(enum.name, enum.values[0][0])
            else:
                self.swift = world.swift_names[field.type_name]
                self.default = f"{self.swift}()"

    def read(self, reader="reader"):
        if self.type in SCALARS:
            return f"try {reader}.scalar({self.kind}.self)"
        return f"try {reader}." + {STRING: "string()", BYTES: "bytes()", ENUM: "enumeration()", MESSAGE: "message()"}[self.type]

    def write(self, number, value, writer="writer"):
        if self.type in SCALARS:
            return f"{writer}.scalar({number}, {self.kind}.self, {value})"
        name = {STRING: "string", BYTES: "bytes", ENUM: "enumeration", MESSAGE: "message"}[self.type]
        return f"{writer}.{name}({number}, {value})"

    def differs(self, value):
        """A condition: the value is not the default."""
        if self.type in (STRING, BYTES):
            return f"!{value}.isEmpty"
        if self.type == 8:
            return value
        if self.type in (1, 2):
            return f"{value}.bitPattern != 0"  # -0.0 is written
        return f"{value} != {self.default}"


class Property:
    """A field, or a oneof, as a stored property."""

    def __init__(self, name, swift, default, documentation):
        self.name, self.swift, self.default, self.documentation = name, swift, default, documentation
        self.reads, self.writes = [], []


def tag(number, wire):
    return number << 3 | wire


def map_property(world, field, entry, name, fallback):
    key, value = Kind(world, entry.fields[0]), Kind(world, entry.fields[1])
    made = Property(name, f"[{key.swift}: {value.swift}]", "[:]", doc(field.comment, fallback, "    "))
    read_value = f"try entry.message(into: &value)" if value.type == MESSAGE else f"value = {value.read('entry')}"
    made.reads.append((f"{tag(field.number, 2)}", [
        f"var key: {key.swift} = {key.default}",
        f"var value: {value.swift} = {value.default}",
        "try reader.entry { entry, tag throws(ProtobufError) in",
        "    switch tag {",
        f"    case {tag(1, key.wire)}: key = {key.read('entry')}",
        f"    case {tag(2, value.wire)}: {read_value}",
        "    default: try entry.skip(tag)",
        "    }",
        "}",
        f"self.{name}[key] = value",
    ]))
    order = "{ !$0.key && $1.key }" if key.type == 8 else "{ $0.key < $1.key }"
    made.writes += [
        f"for (key, value) in self.{name}.sorted(by: {order}) {{",
        f"    writer.entry({field.number}) {{ entry in",
        f"        {key.write(1, 'key', 'entry')}",
        f"        {value.write(2, 'value', 'entry')}",
        "    }",
        "}",
    ]
    return made


def repeated_property(field, kind, name, fallback):
    made = Property(name, f"[{kind.swift}]", "[]", doc(field.comment, fallback, "    "))
    made.reads.append((f"{tag(field.number, kind.wire)}", [f"self.{name}.append({kind.read()})"]))
    if kind.type in SCALARS:
        made.reads.append((f"{tag(field.number, 2)}", [f"try reader.packed({kind.kind}.self, into: &self.{name})"]))
        made.writes.append(f"writer.packed({field.number}, {kind.kind}.self, self.{name})")
    elif kind.type == ENUM:
        made.reads.append((f"{tag(field.number, 2)}", [f"try reader.packedEnumeration(into: &self.{name})"]))
        made.writes.append(f"writer.packedEnumeration({field.number}, self.{name})")
    else:
        made.writes.append(f"for value in self.{name} {{ {kind.write(field.number, 'value')} }}")
    return made


def singular_property(field, kind, name, fallback):
    present = field.optional or kind.type == MESSAGE
    made = Property(
        name, kind.swift + ("?" if present else ""), "nil" if present else kind.default, doc(field.comment, fallback, "    "))
    if kind.type == MESSAGE:
        read = f"try reader.message(into: &self.{name})"
    else:
        read = f"self.{name} = {kind.read()}"
    made.reads.append((f"{tag(field.number, kind.wire)}", [read]))
    if present:
        made.writes.append(f"if let value = self.{name} {{ {kind.write(field.number, 'value')} }}")
    else:
        made.writes.append(f"if {kind.differs('self.' + name)} {{ {kind.write(field.number, 'self.' + name)} }}")
    return made


def oneof_type_name(message, oneof):
    taken = {nested.name for nested in message.messages} | {nested.name for nested in message.enums}
    name = upper_camel(oneof)
    return name + "OneOf" if name in taken else name


def oneof_property(world, message, index):
    oneof, comment = message.oneofs[index]
    name, type_name = escaped(lower_camel(oneof)), oneof_type_name(message, oneof)
    made = Property(name, f"{escaped(type_name)}?", "nil", doc(comment, f"One of its cases, or none: `{oneof}`.", "    "))
    made.writes.append(f"switch self.{name} {{")
    for field in (field for field in message.fields if field.oneof == index):
        kind, case = Kind(world, field), escaped(lower_camel(field.name))
        if kind.type == MESSAGE:
            lines = [
                f"var value = {kind.default}",
                f"if case .{case}(let earlier)? = self.{name} {{ value = earlier }}",
                "try reader.message(into: &value)",
                f"self.{name} = .{case}(value)",
            ]
        else:
            lines = [f"self.{name} = .{case}({kind.read()})"]
        made.reads.append((f"{tag(field.number, kind.wire)}", lines))
        made.writes.append(f"case .{case}(let value)?: {kind.write(field.number, 'value')}")
    made.writes += ["case nil: break", "}"]
    return made


def properties(world, message):
    made, seen = [], set()
    for field in sorted(message.fields, key=lambda field: field.number):
        name, fallback = escaped(lower_camel(field.name)), f"Field {field.number}, `{field.name}`."
        if field.oneof is not None:
            if field.oneof not in seen:
                seen.add(field.oneof)
                made.append(oneof_property(world, message, field.oneof))
            continue
        entry = world.messages.get(field.type_name)
        if entry is not None and entry.is_map_entry:
            made.append(map_property(world, field, entry, name, fallback))
        elif field.repeated:
            made.append(repeated_property(field, Kind(world, field), name, fallback))
        else:
            made.append(singular_property(field, Kind(world, field), name, fallback))
    return made


def indented(text, by="    "):
    return "".join(by + line if line.strip() else line for line in text.splitlines(keepends=True))


def emit_enum(enum):
    cases = [(enum_case(enum.name, name), number, name, comment) for name, number, comment in enum.values]
    out = doc(enum.comment, f"Enumeration `{enum.full_name[1:]}`.") + f"public enum {escaped(enum.name)}: ProtoEnum {{\n"
    for case, number, name, comment in cases:
        out += doc(comment, f"`{name}`, {number}.", "    ") + f"    case {case}\n"
    out += "    /// A number that this version does not know.\n    case unrecognized(Int32)\n\n"
    out += "    public init(protoNumber: Int32) {\n        switch protoNumber {\n"
    out += "".join(f"        case {number}: self = .{case}\n" for case, number, _, _ in cases)
    out += "        default: self = .unrecognized(protoNumber)\n        }\n    }\n\n"
    out += "    public var protoNumber: Int32 {\n        switch self {\n"
    out += "".join(f"        case .{case}: {number}\n" for case, number, _, _ in cases)
    return out + "        case .unrecognized(let number): number\n        }\n    }\n}\n"


def emit_oneof(world, message, index):
    oneof, comment = message.oneofs[index]
    out = doc(comment, f"The cases of `{oneof}`.") + f"public enum {escaped(oneof_type_name(message, oneof))}: Sendable, Hashable {{\n"
    for field in (field for field in message.fields if field.oneof == index):
        out += doc(field.comment, f"Field {field.number}, `{field.name}`.", "    ")
        out += f"    case {escaped(lower_camel(field.name))}({Kind(world, field).swift})\n"
    return out + "}\n"


def emit_codec(made):
    out = "\n    public mutating func decode(from reader: inout ProtoReader) throws(ProtobufError) {\n"
    out += "        while let tag = try reader.nextTag() {\n"
    reads = [read for property in made for read in property.reads]
    if not reads:
        out += "            try reader.skip(tag)\n"
    else:
        out += "            switch tag {\n"
        for value, lines in reads:
            out += f"            case {value}:\n" + "".join(f"                {line}\n" for line in lines)
        out += "            default: try reader.skip(tag)\n            }\n"
    out += "        }\n    }\n\n    public func encode(to writer: inout ProtoWriter) {\n"
    out += "".join(f"        {line}\n" for property in made for line in property.writes)
    return out + "    }\n"


def emit_message(world, message):
    made = properties(world, message)
    out = doc(message.comment, f"Message `{message.full_name[1:]}`.") + f"public struct {escaped(message.name)}: ProtoMessage {{\n"
    out += f'    public static var protoName: String {{ "{message.full_name[1:]}" }}\n\n'
    for property in made:
        out += property.documentation + f"    public var {property.name}: {property.swift} = {property.default}\n"
    out += "\n    public init() {}\n"
    if made:
        parameters = ", ".join(f"{property.name}: {property.swift} = {property.default}" for property in made)
        out += "\n    /// A message with these fields.\n" + f"    public init({parameters}) {{\n"
        out += "".join(f"        self.{property.name} = {property.name}\n" for property in made) + "    }\n"
    oneofs = sorted({field.oneof for field in message.fields if field.oneof is not None})
    if len(oneofs) == 1 and len(made) == 1:
        for field in message.fields:
            case = escaped(lower_camel(field.name))
            out += "\n" + doc(field.comment, f"A message that holds `{field.name}`.", "    ")
            out += f"    public static func {case}(_ value: {Kind(world, field).swift}) -> Self {{ Self({made[0].name}: .{case}(value)) }}\n"
    out += emit_codec(made)
    for index in oneofs:
        out += "\n" + indented(emit_oneof(world, message, index))
    for enum in message.enums:
        out += "\n" + indented(emit_enum(enum))
    for nested in message.messages:
        if not nested.is_map_entry:
            out += "\n" + indented(emit_message(world, nested))
    return out + "}\n"


def emit(world, file):
    parts = [emit_enum(enum) for enum in file.enums] + [emit_message(world, message) for message in file.messages]
    return f"extension {world.namespace(file.package)} {{\n" + "\n".join(indented(part) for part in parts) + "}\n"
