/// A request: GET or HEAD, with an optional range.
public struct HTTPRequest: Hashable, Sendable {
    /// The methods the client speaks.
    public enum Method: String, Hashable, Sendable {
        /// Reads a body.
        case get = "GET"
        /// Reads headers only.
        case head = "HEAD"
    }

    /// What to do.
    public var method: Method
    /// Absolute http or https URL, percent-encoded.
    public var url: String
    /// Further header lines. `Authorization` goes to the URL's own server only and is dropped when a redirect leaves
    /// it.
    public var headers: [HTTPHeader]
    /// The whole exchange may take this long; 0 leaves only the client's connect and low-speed limits (for long
    /// streams).
    public var totalSecondsMax: Int
    /// Whether redirects are followed; otherwise the redirect is the response.
    public var followsRedirects = true

    /// Describes a request.
    public init(_ method: Method = .get, _ url: String, headers: [HTTPHeader] = [], totalSecondsMax: Int = 0) {
        self.method = method
        self.url = url
        self.headers = headers
        self.totalSecondsMax = totalSecondsMax
    }
}

/// One header line.
public struct HTTPHeader: Hashable, Sendable {
    /// The field's name; lower case in responses.
    public let name: String
    /// The field's value, without surrounding blanks.
    public let value: String
    /// Names a header line.
    public init(_ name: String, _ value: String) {
        self.name = name
        self.value = value
    }
}

/// Status and headers of the last response of an exchange, redirects followed.
public struct HTTPResponseHead: Hashable, Sendable {
    /// The status code, e.g. 206.
    public let status: Int
    /// The header lines in order, names in lower case; at most 256 lines of 64 KiB together.
    public let headers: [HTTPHeader]
    /// Where the response came from after redirects. May hold a signed query: show it by `HTTPURL.shown` only.
    public let url: String

    /// Describes a response.
    public init(status: Int, headers: [HTTPHeader], url: String) {
        self.status = status
        self.headers = headers
        self.url = url
    }

    /// The first value of a field; the name in lower case.
    public subscript(_ name: String) -> String? { headers.first { $0.name == name }?.value }

    /// `Content-Length`, when it is there and a number.
    public var contentLength: UInt64? { self["content-length"].flatMap { UInt64($0) } }

    /// `Content-Range: bytes first-last/total` as numbers; nil when it is missing, malformed or of unknown total.
    public var contentRange: (first: UInt64, last: UInt64, total: UInt64)? {
        guard let value = self["content-range"], value.lowercased().hasPrefix("bytes ") else { return nil }
        let parts = value.dropFirst(6).split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, let total = UInt64(parts[1]) else { return nil }
        let bounds = parts[0].split(separator: "-", omittingEmptySubsequences: false)
        guard bounds.count == 2, let first = UInt64(bounds[0]), let last = UInt64(bounds[1]), first <= last,
            last < total
        else { return nil }
        return (first, last, total)
    }

    /// The target of `Link: <…>; rel="next"`, as written; nil when there is no further page.
    public var nextLink: String? {
        for header in headers where header.name == "link" {
            for link in header.value.split(separator: ",") {
                guard let open = link.firstIndex(of: "<"), let close = link[open...].firstIndex(of: ">")
                else {
                    continue
                }
                let relations = link[close...].lowercased().filter { $0 != "\"" && $0 != " " }
                if relations.split(separator: ";").contains("rel=next") {
                    return String(link[link.index(after: open)..<close])
                }
            }
        }
        return nil
    }
}

/// A response with its whole body.
public struct HTTPResponse: Sendable {
    /// Status and headers.
    public let head: HTTPResponseHead
    /// The body; empty for HEAD.
    public let body: [UInt8]

    /// Throws `HTTPError` with code `.status` unless the status is 2xx.
    public func requireSuccess() throws(HTTPError) {
        guard (200..<300).contains(head.status) else {
            throw HTTPError(.status(head.status), url: head.url)
        }
    }
}
