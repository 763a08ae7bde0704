import Protobuf

/// A service that a server answers: its methods, each with a handler, and the `.proto` files that declare it.
///
/// Generated for every service: `RPCService.scheduler(handler)`.
public struct RPCService: Sendable {
    /// The full name, e.g. `martlet.v1.Scheduler`.
    public let name: String
    /// The files that declare it, for reflection.
    public let files: [RPCProtoFile]
    /// Its methods.
    public let methods: [RPCServiceMethod]

    /// A service of these methods.
    public init(name: String, files: [RPCProtoFile], methods: [RPCServiceMethod]) {
        self.name = name
        self.files = files
        self.methods = methods
    }
}

/// A method with its handler, whatever its messages' types.
public struct RPCServiceMethod: Sendable {
    /// The path on the wire.
    let path: String
    /// Runs the handler; gives the message to be sent with the status, where there is one response.
    let run: @Sendable (ServerCall) async throws -> [UInt8]?

    /// One request, one response.
    public static func unary<Request, Response>(
        _ method: RPCMethod<Request, Response>,
        _ handler: @escaping @Sendable (Request, RPCServerContext) async throws -> Response
    ) -> RPCServiceMethod {
        RPCServiceMethod(path: method.path) { call in
            try await handler(try await call.request(), call.context).protobufBytes()
        }
    }

    /// Many requests, one response.
    public static func clientStreaming<Request, Response>(
        _ method: RPCMethod<Request, Response>,
        _ handler: @escaping @Sendable (RPCIncoming<Request>, RPCServerContext) async throws -> Response
    ) -> RPCServiceMethod {
        RPCServiceMethod(path: method.path) { call in
            try await handler(RPCIncoming(receiver: call.receiver), call.context).protobufBytes()
        }
    }

    /// One request, many responses.
    public static func serverStreaming<Request, Response>(
        _ method: RPCMethod<Request, Response>,
        _ handler: @escaping @Sendable (Request, RPCOutgoing<Response>, RPCServerContext) async throws -> Void
    ) -> RPCServiceMethod {
        RPCServiceMethod(path: method.path) { call in
            try await handler(try await call.request(), RPCOutgoing(sender: call.sender), call.context)
            return nil
        }
    }

    /// Both as they like.
    public static func bidirectional<Request, Response>(
        _ method: RPCMethod<Request, Response>,
        _ handler:
            @escaping @Sendable (RPCIncoming<Request>, RPCOutgoing<Response>, RPCServerContext) async throws
            -> Void
    ) -> RPCServiceMethod {
        RPCServiceMethod(path: method.path) { call in
            try await handler(
                RPCIncoming(receiver: call.receiver), RPCOutgoing(sender: call.sender), call.context)
            return nil
        }
    }
}
