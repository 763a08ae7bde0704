import Configuration
import Glibc
import HTTP
import Identity
import Origins
import RPC
import Storage
import Transport

// Which exit code a failure of the rooms below becomes.
extension ExitCode {
    /// The exit code for an error that ended a command.
    init(_ error: any Error) {
        switch error {
        case let failure as CommandFailure: self = failure.code
        case is ConfigurationError: self = .usage
        case let error as RPCError: self.init(error.status)
        case let error as IdentityError:
            switch error.code {
            case .malformed, .storage: self = .usage
            case .untrusted: self = .denied
            case .unreachable: self = .unavailable
            case .otherCluster: self = .conflict
            case .failed: self = .failure
            }
        case let error as StorageError: self.init(failureCode: "\(error.code)")
        case let error as OriginError: self.init(failureCode: "\(error.code)")
        case let error as TransportError: self = error.code == .addressInUse ? .conflict : .failure
        case let error as HTTPServer.StartError: self = error.errno == EADDRINUSE ? .conflict : .failure
        default: self = .failure
        }
    }

    /// The exit code for a failure's closed code, as origins, store and scheduler name them.
    init(failureCode code: String) {
        switch code {
        case "invalid_reference", "invalid", "invalidSetting": self = .usage
        case "notFoundRepository", "notFoundRevision", "notFoundFile", "unknownModel": self = .notFound
        case "unauthorized", "forbidden", "policy", "refusedAddress": self = .denied
        case "digest_mismatch", "digestMismatch", "changed", "refusedName": self = .verificationFailed
        case "noSpace": self = .noSpace
        case "unreachable", "unavailable", "rateLimited", "truncated": self = .unavailable
        case "locked", "inUse", "wrong_cluster": self = .conflict
        default: self = .failure
        }
    }

    /// The exit code for a server's answer.
    init(_ status: RPCStatus) {
        switch status {
        case .notFound: self = .notFound
        case .permissionDenied, .unauthenticated: self = .denied
        case .unavailable, .deadlineExceeded: self = .unavailable
        case .invalidArgument: self = .usage
        case .alreadyExists: self = .conflict
        default: self = .failure
        }
    }
}
