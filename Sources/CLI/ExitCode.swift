/// How a command ended, for scripts. `martlet --help` lists them.
public enum ExitCode: Int32, Sendable, CaseIterable {
    case ok = 0
    case failure = 1
    case usage = 2
    case notFound = 3
    case denied = 4
    case verificationFailed = 5
    case noSpace = 6
    case unavailable = 7
    case conflict = 8
    case interrupted = 130
    case terminated = 143

    /// What it means, in a few words.
    public var meaning: String {
        switch self {
        case .ok: "done"
        case .failure: "something else went wrong; the message says what"
        case .usage: "wrong flags, arguments or configuration"
        case .notFound: "no such model, repository, revision or file"
        case .denied: "the origin or a server refused: missing or wrong credentials"
        case .verificationFailed: "bytes did not match their published digest"
        case .noSpace: "the disk is full, or the budget is"
        case .unavailable: "a server or origin cannot be reached"
        case .conflict: "a port, directory or name is in use by somebody else"
        case .interrupted: "stopped by Ctrl-C; what was verified is kept"
        case .terminated: "stopped by SIGTERM; what was verified is kept"
        }
    }
}

/// Why a command ends without having done its work: an exit code, and one line that says what to do.
public struct CommandFailure: Error, Sendable, CustomStringConvertible {
    /// The code.
    public let code: ExitCode
    /// The line, without `martlet:` in front.
    public let description: String

    /// Describes a failure.
    public init(_ code: ExitCode, _ description: String) {
        self.code = code
        self.description = description
    }
}
