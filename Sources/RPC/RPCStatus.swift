/// How a call ended: gRPC's closed set of status codes.
///
/// Source: <https://grpc.github.io/grpc/core/md_doc_statuscodes.html>.
public enum RPCStatus: Int32, Sendable, Hashable, CaseIterable {
    /// It succeeded.
    case ok = 0
    /// The caller cancelled it, or its task was cancelled.
    case cancelled = 1
    /// An error without a code.
    case unknown = 2
    /// The request makes no sense, whatever the server's state.
    case invalidArgument = 3
    /// The time limit passed before an answer came; the work may have been done.
    case deadlineExceeded = 4
    /// What was asked for does not exist.
    case notFound = 5
    /// What was to be made exists already.
    case alreadyExists = 6
    /// The caller is known and not allowed to.
    case permissionDenied = 7
    /// A limit is reached: message size, calls at once, disk.
    case resourceExhausted = 8
    /// The server's state must change before this can work.
    case failedPrecondition = 9
    /// Given up for another call's sake, or the other side ended the call early.
    case aborted = 10
    /// Past the end of what there is.
    case outOfRange = 11
    /// The server has no such method.
    case unimplemented = 12
    /// An invariant does not hold: a bug.
    case internalError = 13
    /// The server cannot be reached now; trying again may help.
    case unavailable = 14
    /// Data is lost for good.
    case dataLoss = 15
    /// The caller did not prove who it is.
    case unauthenticated = 16

    /// The code's name as gRPC writes it in lower case, e.g. `not found`.
    public var name: String {
        switch self {
        case .ok: "ok"
        case .cancelled: "cancelled"
        case .unknown: "unknown"
        case .invalidArgument: "invalid argument"
        case .deadlineExceeded: "deadline exceeded"
        case .notFound: "not found"
        case .alreadyExists: "already exists"
        case .permissionDenied: "permission denied"
        case .resourceExhausted: "resource exhausted"
        case .failedPrecondition: "failed precondition"
        case .aborted: "aborted"
        case .outOfRange: "out of range"
        case .unimplemented: "unimplemented"
        case .internalError: "internal"
        case .unavailable: "unavailable"
        case .dataLoss: "data loss"
        case .unauthenticated: "unauthenticated"
        }
    }
}

/// How a call ended, with what the server said about it.
public struct RPCOutcome: Sendable, Hashable {
    /// The code.
    public let status: RPCStatus
    /// A sentence for people; mostly empty when the status is ok.
    public let message: String
    /// Metadata sent behind the last message.
    public let trailers: RPCMetadata
}

/// A call, a channel or a server failed.
///
/// The layer's only error: a handler throws it to choose its call's status, a client is thrown it when the status is
/// not ok.
public struct RPCError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The code; never `ok`.
    public let status: RPCStatus
    /// A sentence for people. At most 1 KiB of it travels.
    public let message: String
    /// Metadata that travels with the status.
    public let trailers: RPCMetadata

    /// A failure with its sentence.
    public init(_ status: RPCStatus, _ message: String, trailers: RPCMetadata = RPCMetadata()) {
        precondition(status != .ok, "RPCError: a success is no error")
        self.status = status
        self.message = message
        self.trailers = trailers
    }

    init(_ outcome: RPCOutcome) {
        self.init(outcome.status, outcome.message, trailers: outcome.trailers)
    }

    /// The code and the sentence.
    public var description: String { message.isEmpty ? status.name : "\(message) [rpc: \(status.name)]" }

    static let taskCancelled = RPCError(.cancelled, "the waiting task was cancelled")
}
