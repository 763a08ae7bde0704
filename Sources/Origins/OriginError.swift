import Artifacts
import HTTP

/// Why an origin could not give what was asked: a closed code and one sentence that says what to do.
public struct OriginError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What went wrong.
    public enum Code: String, Hashable, Sendable, CaseIterable {
        /// There is no such repository (or none this token may see).
        case notFoundRepository
        /// The repository has no such branch, tag or commit.
        case notFoundRevision
        /// There is no such file.
        case notFoundFile
        /// The origin wants a token and has none, or not that one (401).
        case unauthorized
        /// The origin knows who asks and says no: gated or private (403).
        case forbidden
        /// The file is no longer the one that was resolved.
        case changed
        /// The body kept ending before its length.
        case truncated
        /// The origin answers ranges with whole files: fetch the whole file as one stream.
        case rangesUnsupported
        /// The origin says “later” (429) for longer than we wait.
        case rateLimited
        /// No connection, no name, no trust, no answer in time, or a failing server.
        case unreachable
        /// The reference, a redirect or a name leads to an address that may not be asked.
        case refusedAddress
        /// The answer is not what the protocol says.
        case invalidResponse
        /// A file name that may not be written: `..`, absolute, a link out of the directory.
        case refusedName
        /// The caller cancelled.
        case cancelled
        /// A local file cannot be read.
        case unreadable
        /// The reference or a setting cannot be used.
        case invalidSetting
    }

    /// What went wrong.
    public let code: Code
    /// The sentence.
    public let description: String

    /// Names a failure.
    public init(_ code: Code, _ description: String) {
        self.code = code
        self.description = description
    }
}

/// What a failing answer was about: chooses the sentence and its remedy.
struct OriginSubject: Sendable {
    let kind: OriginKind
    /// The repository, or the URL as it may be shown.
    let name: String
    /// The revision asked for; empty for other origins than hubs.
    let revision: String
    /// The file; nil when the question was about the repository.
    let file: String?
    /// Host (and port) of the origin, as it may be shown.
    let host: String

    /// The subject of a location, told from its URL (`…/org/name/resolve/commit/path` on a hub).
    init(_ location: OriginLocation) {
        let shown = HTTPURL.shown(location.url)
        let parts = shown.split(separator: "/")
        kind = location.kind
        host = parts.count > 1 ? String(parts[1]) : shown
        if location.kind == .hub, let place = parts.firstIndex(of: "resolve"), place >= 4,
            place + 2 < parts.count
        {
            name = "\(parts[place - 2])/\(parts[place - 1])"
            revision = String(parts[place + 1])
            file = parts[(place + 2)...].joined(separator: "/")
        } else {
            name = shown
            revision = ""
            file = shown
        }
    }

    init(hub host: String, repository: String, revision: String, file: String? = nil) {
        kind = .hub
        name = repository
        self.revision = revision
        self.file = file
        self.host = host
    }

    /// The error for an answer that is not a success.
    func error(_ head: HTTPResponseHead) -> OriginError {
        let hubCode = kind == .hub ? head["x-error-code"] : nil
        switch (hubCode, head.status) {
        case ("RepoNotFound", _):
            return notFoundRepository
        case ("RevisionNotFound", _):
            return OriginError(
                .notFoundRevision,
                "\(name) has no revision ‘\(revision)’ on \(host); name a branch, tag or commit, as in hf://\(name)@main"
            )
        case ("EntryNotFound", _):
            return notFoundFile
        case ("GatedRepo", 401), (_, 401):
            return OriginError(
                .unauthorized,
                kind == .hub
                    ? "\(host) wants a token for \(name) (401); set HF_TOKEN to a token that can read \(name)"
                    : "\(name) wants credentials (401); set MARTLET_HTTP_AUTHORIZATION to ‘\(host) <Authorization value>’"
            )
        case ("GatedRepo", _), (_, 403):
            return OriginError(
                .forbidden,
                kind == .hub
                    ? "\(host) does not let this token read \(name) (403); ask for access on the model's page, or set HF_TOKEN to a token that has it"
                    : "\(name) may not be read with these credentials (403); check MARTLET_HTTP_AUTHORIZATION and the file's permissions there"
            )
        case (_, 404), (_, 410):
            return file == nil ? notFoundRepository : notFoundFile
        case (_, 412), (_, 416):
            return changed
        case (_, 429):
            let wait = head.retryAfterSeconds.map { ", it asks to wait \($0) seconds" } ?? ""
            return OriginError(
                .rateLimited,
                "\(host) limits the rate of requests (429)\(wait); try again later"
                    + (kind == .hub ? " or set HF_TOKEN, which has a higher limit" : ""))
        case (_, 500...):
            return OriginError(
                .unreachable, "\(host) fails to serve \(what) (status \(head.status)); try again later")
        default:
            return OriginError(
                .invalidResponse,
                "\(host) answered \(what) with status \(head.status); check that it serves what the reference says"
            )
        }
    }

    /// The error for an exchange that did not come to an answer.
    func error(_ error: HTTPError) -> OriginError {
        switch error.code {
        case .cancelled: OriginError(.cancelled, "reading \(what) was cancelled")
        case .truncated, .disconnected: truncated
        case .refusedAddress: OriginError(.refusedAddress, error.description)
        case .dns, .connect, .tls, .timeout, .resources: OriginError(.unreachable, error.description)
        default: OriginError(.invalidResponse, error.description)
        }
    }

    var notFoundRepository: OriginError {
        OriginError(
            .notFoundRepository,
            "\(host) has no model ‘\(name)’ that may be seen here; check the name, or set HF_TOKEN if it is private"
        )
    }
    var notFoundFile: OriginError {
        kind == .hub
            ? OriginError(
                .notFoundFile,
                "\(name) has no file ‘\(file ?? "")’ at revision ‘\(revision)’; check the path behind hf://\(name)@\(revision)/"
            )
            : OriginError(.notFoundFile, "there is no file at \(name); check the URL")
    }
    var changed: OriginError {
        OriginError(.changed, "\(what) changed at the origin while it was read; resolve the reference again")
    }
    var truncated: OriginError {
        OriginError(
            .truncated,
            "\(host) keeps ending \(what) before its length; try again, or check the server and the proxies between"
        )
    }
    var rangesUnsupported: OriginError {
        OriginError(
            .rangesUnsupported,
            "\(host) does not serve ranges of \(what); it can only be read whole, as one stream")
    }
    func invalid(_ why: String) -> OriginError {
        OriginError(
            .invalidResponse,
            "\(host) answered \(what) wrongly: \(why); check the server and the proxies between")
    }

    private var what: String { kind == .hub ? (file.map { "\(name)/\($0)" } ?? name) : name }
}
