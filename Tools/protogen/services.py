"""Swift clients, handlers and descriptors for services."""

import base64

from .messages import indented
from .names import doc, escaped, lower_camel

KINDS = {(False, False): "unary", (True, False): "clientStreaming", (False, True): "serverStreaming", (True, True): "bidirectional"}


def emit_methods(world, service):
    out = f"/// The methods of `{service.full_name}`.\npublic enum {service.name}Methods {{\n"
    for method in service.methods:
        types = f"{world.swift_names[method.input]}, {world.swift_names[method.output]}"
        kind = KINDS[method.client_streaming, method.server_streaming]
        out += doc(method.comment, f"`{method.name}`.", "    ")
        out += f"    public static let {escaped(lower_camel(method.name))} = RPCMethod<{types}>(\n"
        out += f'        service: "{service.full_name}", name: "{method.name}", kind: .{kind})\n'
    return out + "}\n"


def emit_client(world, service):
    out = f"/// Calls `{service.full_name}` over a channel.\n///\n" + doc(service.comment, "Every method opens a call of its own.")
    out += f"public struct {service.name}Client: Sendable {{\n"
    out += "    /// Where the calls go.\n    public let channel: RPCChannel\n\n"
    out += "    /// A client of the server at the channel's other end.\n    public init(_ channel: RPCChannel) { self.channel = channel }\n"
    for method in service.methods:
        name, request, response = escaped(lower_camel(method.name)), world.swift_names[method.input], world.swift_names[method.output]
        out += "\n" + doc(method.comment, f"Calls `{method.name}`.", "    ")
        argument = "" if method.client_streaming else f"_ request: {request}, "
        head = f"    public func {name}({argument}options: RPCCallOptions = RPCCallOptions())"
        if method.client_streaming:
            out += f"{head} -> RPCCall<{request}, {response}> {{\n"
            out += f"        channel.open({service.name}Methods.{name}, options: options)\n    }}\n"
        elif method.server_streaming:
            out += f"{head} -> RPCCall<{request}, {response}> {{\n"
            out += f"        channel.open({service.name}Methods.{name}, request, options: options)\n    }}\n"
        else:
            out += f"{head} async throws(RPCError) -> {response} {{\n"
            out += f"        try await channel.unary({service.name}Methods.{name}, request, options: options)\n    }}\n"
    return out + "}\n"


def emit_handler(world, service):
    out = f"/// Answers `{service.full_name}` in a server; see `RPCServer` for what a handler may do.\n///\n"
    out += doc(service.comment, "Methods run at the same time, each call in its own task.")
    out += f"public protocol {service.name}Handler: Sendable {{\n"
    for method in service.methods:
        name, request, response = escaped(lower_camel(method.name)), world.swift_names[method.input], world.swift_names[method.output]
        parameters = [f"requests: RPCIncoming<{request}>" if method.client_streaming else f"_ request: {request}"]
        if method.server_streaming:
            parameters.append(f"responses: RPCOutgoing<{response}>")
        result = "" if method.server_streaming else f" -> {response}"
        out += doc(method.comment, f"Answers `{method.name}`.", "    ")
        out += f"    func {name}({', '.join(parameters)}, context: RPCServerContext) async throws{result}\n"
    return out + "}\n"


def emit_registration(world, service, scope, package):
    out = "extension RPCService {\n" + f"    /// Answers `{service.full_name}` by a handler.\n"
    out += f"    public static func {escaped(lower_camel(service.name[:1].lower() + service.name[1:]))}(_ handler: some {scope}{service.name}Handler) -> RPCService {{\n"
    out += f'        RPCService(name: "{service.full_name}", files: {world.namespace(package)}.files, methods: [\n'
    for method in service.methods:
        name = escaped(lower_camel(method.name))
        kind = KINDS[method.client_streaming, method.server_streaming]
        arguments = {
            "unary": ("request, context", "try await handler.{0}(request, context: context)"),
            "clientStreaming": ("requests, context", "try await handler.{0}(requests: requests, context: context)"),
            "serverStreaming": ("request, responses, context", "try await handler.{0}(request, responses: responses, context: context)"),
            "bidirectional": ("requests, responses, context", "try await handler.{0}(requests: requests, responses: responses, context: context)"),
        }[kind]
        out += f"            .{kind}({scope}{service.name}Methods.{name}) {{ {arguments[0]} in\n                {arguments[1].format(name)}\n            }},\n"
    return out + "        ])\n    }\n}\n"


def emit(world, file, nested):
    namespace = world.namespace(file.package)
    out = []
    for service in file.services:
        parts = [emit_methods(world, service), emit_client(world, service), emit_handler(world, service)]
        if nested:
            out.append(f"extension {namespace} {{\n" + "\n".join(indented(part) for part in parts) + "}\n")
        else:
            out += parts
        out.append(emit_registration(world, service, f"{namespace}." if nested else "", file.package))
    return "\n".join(out)


def emit_namespace(world, package, files):
    out = f"/// The messages of the proto package `{package}`.\npublic enum {world.namespace(package)} {{\n"
    out += "    /// The `.proto` files they come from, for reflection.\n    public static let files: [RPCProtoFile] = [\n"
    for file in files:
        text = base64.b64encode(file.descriptor).decode()
        lines = [text[at : at + 120] for at in range(0, len(text), 120)]
        out += f'        RPCProtoFile(name: "{file.name}", base64Descriptor: """\n'
        out += "".join(f"            {line}\\\n" for line in lines[:-1]) + f"            {lines[-1]}\n"
        out += '            """),\n'
    return out + "    ]\n}\n"
