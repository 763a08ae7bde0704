"""Reads protoc's CodeGeneratorRequest and writes its response, with the standard library alone.

Field numbers are those of google/protobuf/descriptor.proto and google/protobuf/compiler/plugin.proto.
"""

PROTO3_OPTIONAL_FEATURE = 1


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def fields(data):
    """Yields (number, value, raw bytes of the whole field)."""
    at = 0
    while at < len(data):
        start = at
        tag, at = varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = varint(data, at)
        elif kind == 2:
            length, at = varint(data, at)
            value, at = data[at : at + length], at + length
        else:
            size = {1: 8, 5: 4}[kind]
            value, at = data[at : at + size], at + size
        yield tag >> 3, value, data[start:at]


class Node:
    """A message by field numbers."""

    def __init__(self, data):
        self.values = {}
        for number, value, _ in fields(data):
            self.values.setdefault(number, []).append(value)

    def all(self, number):
        return self.values.get(number, [])

    def one(self, number, default=None):
        return self.all(number)[-1] if number in self.values else default

    def text(self, number):
        return self.one(number, b"").decode()


class Field:
    def __init__(self, data, path, comments):
        node = Node(data)
        self.name = node.text(1)
        self.number = node.one(3)
        self.repeated = node.one(4) == 3
        self.type = node.one(5)
        self.type_name = node.text(6)
        self.optional = bool(node.one(17, 0))
        # A proto3 `optional` field stands in a oneof of its own, which is not the author's.
        self.oneof = None if self.optional else node.one(9)
        self.comment = comments.get(path, "")


class Enum:
    def __init__(self, data, path, comments, scope):
        node = Node(data)
        self.name = node.text(1)
        self.full_name = f"{scope}.{self.name}"
        self.comment = comments.get(path, "")
        self.values = []
        for index, value in enumerate(map(Node, node.all(2))):
            number = value.one(2, 0)
            number = number - (1 << 64) if number >> 63 else number
            if number not in [known for _, known, _ in self.values]:
                self.values.append((value.text(1), number, comments.get(path + (2, index), "")))


class Message:
    def __init__(self, data, path, comments, scope):
        node = Node(data)
        self.name = node.text(1)
        self.full_name = f"{scope}.{self.name}"
        self.comment = comments.get(path, "")
        self.is_map_entry = bool(Node(node.one(7, b"")).one(7, 0))
        self.fields = [Field(value, path + (2, i), comments) for i, value in enumerate(node.all(2))]
        self.messages = [Message(value, path + (3, i), comments, self.full_name) for i, value in enumerate(node.all(3))]
        self.enums = [Enum(value, path + (4, i), comments, self.full_name) for i, value in enumerate(node.all(4))]
        self.oneofs = [(Node(value).text(1), comments.get(path + (8, i), "")) for i, value in enumerate(node.all(8))]


class Method:
    def __init__(self, data, path, comments):
        node = Node(data)
        self.name = node.text(1)
        self.input, self.output = node.text(2), node.text(3)
        self.client_streaming, self.server_streaming = bool(node.one(5, 0)), bool(node.one(6, 0))
        self.comment = comments.get(path, "")


class Service:
    def __init__(self, data, path, comments, scope):
        node = Node(data)
        self.name = node.text(1)
        self.full_name = f"{scope}.{self.name}"
        self.comment = comments.get(path, "")
        self.methods = [Method(value, path + (2, i), comments) for i, value in enumerate(node.all(2))]


class File:
    SOURCE_CODE_INFO = 9

    def __init__(self, data):
        node = Node(data)
        self.name, self.package, self.syntax = node.text(1), node.text(2), node.text(12)
        self.descriptor = b"".join(raw for number, _, raw in fields(data) if number != self.SOURCE_CODE_INFO)
        comments = {}
        for info in node.all(self.SOURCE_CODE_INFO):
            for location in map(Node, Node(info).all(1)):
                path, at, packed = [], 0, location.one(1, b"")
                while at < len(packed):
                    element, at = varint(packed, at)
                    path.append(element)
                comments[tuple(path)] = (location.text(3) or location.text(4)).strip()
        scope = "." + self.package
        self.messages = [Message(value, (4, i), comments, scope) for i, value in enumerate(node.all(4))]
        self.enums = [Enum(value, (5, i), comments, scope) for i, value in enumerate(node.all(5))]
        self.services = [Service(value, (6, i), comments, self.package) for i, value in enumerate(node.all(6))]


class Request:
    def __init__(self, data):
        node = Node(data)
        self.to_generate = {name.decode() for name in node.all(1)}
        self.parameter = node.text(2)
        self.files = [File(value) for value in node.all(15)]


def encoded_varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def delimited(number, data):
    return encoded_varint(number << 3 | 2) + encoded_varint(len(data)) + data


def response(outputs):
    features = encoded_varint(2 << 3) + encoded_varint(PROTO3_OPTIONAL_FEATURE)
    files = (delimited(1, name.encode()) + delimited(15, text.encode()) for name, text in outputs)
    return features + b"".join(delimited(15, file) for file in files)


def error_response(sentence):
    return delimited(1, sentence.encode())
