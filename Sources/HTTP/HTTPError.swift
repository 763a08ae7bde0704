/// Why an exchange failed: a closed code and one sentence with the URL stripped of credentials and query.
public struct HTTPError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What went wrong.
    public enum Code: Hashable, Sendable {
        /// The URL is malformed or not http(s).
        case invalidURL
        /// The host's (or proxy's) name has no address.
        case dns
        /// No connection: refused, unreachable, or the proxy said no.
        case connect
        /// TLS failed: the certificate does not verify, or the handshake broke.
        case tls
        /// A limit passed: connecting, silence on the wire, the whole exchange, or a pause that nobody ended.
        case timeout
        /// The connection broke before a whole response came.
        case disconnected
        /// The body ended before its announced length.
        case truncated
        /// More redirects than the limit.
        case tooManyRedirects
        /// A redirect led to a scheme that may not be followed (https to http, file, …).
        case refusedRedirect
        /// The URL, a redirect or a name leads to an address that the client's rule does not allow.
        case refusedAddress
        /// The response's body or headers exceed the limit.
        case tooLarge
        /// What came is not HTTP.
        case invalidResponse
        /// The response's status is not a success.
        case status(Int)
        /// The receiver said `.abort`.
        case aborted
        /// The caller cancelled, or the client was shut down.
        case cancelled
        /// libcurl or the system had no memory, thread or descriptor left.
        case resources
    }

    /// What went wrong.
    public let code: Code
    /// The URL as it may be shown.
    public let shownURL: String
    /// What the library below said; empty when the code says it all.
    public let detail: String

    /// Describes a failure; strips the URL.
    public init(_ code: Code, url: String, detail: String = "") {
        self.code = code
        shownURL = HTTPURL.shown(url)
        self.detail = detail
    }

    /// Whether the same request may succeed a little later: connections, time-outs, 429 and 5xx.
    public var isTransient: Bool {
        switch code {
        case .dns, .connect, .timeout, .disconnected, .truncated: true
        case .status(let status): HTTPRetryPolicy.isTransient(status: status)
        default: false
        }
    }

    /// One sentence: what failed, and what to do.
    public var description: String {
        let sentence =
            switch code {
            case .invalidURL: "‘\(shownURL)’ is not a URL that can be asked; write http(s)://host/path"
            case .dns: "cannot find the host of \(shownURL); check the name and the resolver"
            case .connect:
                "cannot connect to \(shownURL); check that the server runs and the network or proxy lets it through"
            case .tls:
                "cannot trust \(shownURL): TLS failed; check the host's certificate and the machine's CA bundle and clock"
            case .timeout: "\(shownURL) did not answer in time; check the network or try again"
            case .disconnected: "\(shownURL) closed the connection early; try again"
            case .truncated: "\(shownURL) ended before its announced length; try again"
            case .tooManyRedirects: "\(shownURL) redirects too often; check the URL"
            case .refusedRedirect:
                "\(shownURL) redirects to a place that may not be followed; use the final https URL"
            case .refusedAddress:
                "\(shownURL) leads to an address that origins may not have; allow it by origin.allow_private if it is meant"
            case .tooLarge: "the answer of \(shownURL) is larger than the limit; check that the URL is right"
            case .invalidResponse:
                "\(shownURL) answered with something that is not HTTP; check the port and the scheme"
            case .status(let status): "\(shownURL) answered with status \(status)"
            case .aborted: "reading \(shownURL) was given up by its reader"
            case .cancelled: "reading \(shownURL) was cancelled"
            case .resources:
                "cannot read \(shownURL): out of memory, threads or descriptors; raise the process's limits"
            }
        return detail.isEmpty ? sentence : "\(sentence) [\(detail)]"
    }
}
