import Protobuf

/// Who sends how many messages.
public enum RPCMethodKind: Sendable, Hashable {
    /// One request, one response.
    case unary
    /// Many requests, one response.
    case clientStreaming
    /// One request, many responses.
    case serverStreaming
    /// Both as they like.
    case bidirectional
}

/// A method of a service, with its messages' types. Generated for every method of a `.proto` file.
public struct RPCMethod<Request: ProtoMessage, Response: ProtoMessage>: Sendable, Hashable {
    /// The service's full name, e.g. `martlet.v1.Scheduler`.
    public let service: String
    /// The method's name, e.g. `Attach`.
    public let name: String
    /// Who sends how many messages.
    public let kind: RPCMethodKind

    /// Names a method.
    public init(service: String, name: String, kind: RPCMethodKind) {
        self.service = service
        self.name = name
        self.kind = kind
    }

    /// The path on the wire, e.g. `/martlet.v1.Scheduler/Attach`.
    public var path: String { "/\(service)/\(name)" }
}
