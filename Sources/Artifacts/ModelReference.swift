/// What a user names a model by, before it is pinned: `hf://org/name@main`, `https://host/file`, `file:///path`.
///
/// | form | meaning |
/// |---|---|
/// | `hf://[host[:port]/]org/name[@revision][/path]` | a repository of a Hugging Face hub, or one file or directory of
/// it |
/// | `http://…`, `https://…` | one file |
/// | `file:///path` | a file or a directory of this machine |
///
/// A first part of an `hf` reference is a host when it holds a dot or a colon or is `localhost`. A revision with a
/// slash is written `refs/pr/1` (three parts) or with `%2F`. User names and passwords in URLs are refused: references
/// are logged.
public struct ModelReference: Hashable, Sendable, CustomStringConvertible {
    /// Where the model is.
    public enum Source: Hashable, Sendable {
        /// A repository of a hub.
        case hub(HubReference)
        /// One file at an absolute http or https URL.
        case http(url: String)
        /// A file or directory at an absolute path.
        case file(path: String)
    }

    /// Where the model is.
    public let source: Source

    /// Parses a reference; throws one sentence that shows the right form.
    public init(_ text: some StringProtocol) throws(ModelReferenceError) {
        let text = String(text)
        guard text.utf8.count <= Limits.referenceBytesMax else {
            throw ModelReferenceError(
                .malformed,
                "the reference is longer than \(Limits.referenceBytesMax) bytes; write e.g. hf://org/name")
        }
        if text.utf8.contains(where: { $0 < 32 || $0 == 127 }) {
            throw ModelReferenceError(
                .malformed, "the reference holds a control character; write e.g. hf://org/name")
        }
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, parts[1].hasPrefix("//") else {
            throw ModelReferenceError(
                .unknownScheme,
                "‘\(shortened(text))’ has no scheme; write hf://org/name, https://host/file or file:///path")
        }
        let rest = parts[1].dropFirst(2)
        switch parts[0].lowercased() {
        case "hf": source = .hub(try HubReference(rest, of: text))
        case "http": source = .http(url: try canonicalURL("http", rest, of: text))
        case "https": source = .http(url: try canonicalURL("https", rest, of: text))
        case "file": source = .file(path: try canonicalPath(rest, of: text))
        default:
            throw ModelReferenceError(
                .unknownScheme,
                "‘\(shortened(String(parts[0])))://’ is not a scheme known here; write hf://org/name, https://host/file or file:///path"
            )
        }
    }

    /// The one text form of equal references; parsing it gives the reference back. A manifest keeps it.
    public var canonicalText: String {
        switch source {
        case .hub(let hub): hub.canonicalText
        case .http(let url): url
        case .file(let path): "file://" + percentEncoded(path)
        }
    }

    /// The canonical text without a URL's query, which may be a signature: the form for logs.
    public var shownText: String {
        guard case .http(let url) = source else { return canonicalText }
        return String(url.prefix { $0 != "?" })
    }

    /// As `shownText`.
    public var description: String { shownText }

    /// The hub for references without a host: the value of `HF_ENDPOINT` checked, without trailing slashes, or the
    /// default when it is nil or empty.
    public static func hubEndpoint(configured: String?) throws(ModelReferenceError) -> String {
        try HubReference.checkedEndpoint(configured)
    }
}

/// Why a model reference was refused: a closed code and one sentence with an example of what to write.
public struct ModelReferenceError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What is wrong.
    public enum Code: Hashable, Sendable {
        /// No scheme, or one that no origin serves.
        case unknownScheme
        /// The scheme is known, the rest is not as it should be.
        case malformed
        /// Plain http to a hub that is not this machine.
        case insecure
    }
    /// What is wrong.
    public let code: Code
    /// The sentence.
    public let description: String

    /// Names a fault.
    public init(_ code: Code, _ description: String) {
        self.code = code
        self.description = description
    }
}

/// A repository of a Hugging Face hub, at a revision, whole or in part.
public struct HubReference: Hashable, Sendable {
    /// `host` or `host:port` when the reference names one; nil means the default endpoint.
    public let host: String?
    /// The first part of the repository's id.
    public let organisation: String
    /// The second part of the repository's id.
    public let name: String
    /// Branch, tag, commit or `refs/…`; `main` when the reference names none.
    public let revision: String
    /// The one file or directory wanted; nil means all.
    public let path: String?

    /// The repository's id, `org/name`.
    public var repository: String { "\(organisation)/\(name)" }

    /// The hub asked when neither reference nor environment names one.
    public static let defaultEndpoint = "https://huggingface.co"

    init(_ rest: Substring, of text: String) throws(ModelReferenceError) {
        func malformed(_ why: String) -> ModelReferenceError {
            ModelReferenceError(
                .malformed,
                "‘\(shortened(text))’ \(why); write hf://org/name, hf://org/name@revision or hf://host:8080/org/name@revision/path/in/repository"
            )
        }
        var parts = rest.split(separator: "/", omittingEmptySubsequences: false)[...]
        guard let first = parts.first else { throw malformed("names no repository") }
        if first.contains(".") || first.contains(":") || first == "localhost" {
            guard isHost(first) else { throw malformed("has a malformed host ‘\(shortened(String(first)))’") }
            host = first.lowercased()
            parts = parts.dropFirst()
        } else {
            host = nil
        }
        guard parts.count >= 2 else { throw malformed("names no repository of the form org/name") }
        organisation = String(parts.removeFirst())
        let named = parts.removeFirst().split(separator: "@", maxSplits: 1, omittingEmptySubsequences: false)
        name = String(named[0])
        guard isRepositoryPart(organisation), isRepositoryPart(name) else {
            throw malformed("names no repository of the form org/name")
        }
        var revision = "main"
        if named.count == 2 {
            var written = String(named[1])
            // `refs/pr/1` and `refs/convert/parquet` hold slashes that are not the path's.
            if written == "refs", parts.count >= 2 {
                written += "/\(parts.removeFirst())"
                written += "/\(parts.removeFirst())"
            }
            guard let decoded = percentDecoded(written) else {
                throw malformed("has a malformed % in its revision")
            }
            revision = decoded
        }
        guard !revision.isEmpty, Manifest.pathFault(revision) == nil else {
            throw malformed("has a malformed revision")
        }
        self.revision = revision
        if parts.last == "", parts.count >= 1 { parts = parts.dropLast() }
        let path = parts.joined(separator: "/")
        if !path.isEmpty, let fault = Manifest.pathFault(path) {
            throw malformed("has a path that is refused, \(fault)")
        }
        self.path = path.isEmpty ? nil : path
    }

    /// The hub to ask: a base URL without a trailing slash.
    ///
    /// `defaultEndpoint` is the value of `HF_ENDPOINT`, nil or empty when unset; it answers for references without a
    /// host, and its scheme and path count for references that name its host. Any other host is asked over https, or
    /// over http when it is this machine (`localhost`, `127.…`, `[::1]`).
    public func endpoint(default defaultEndpoint: String?) throws(ModelReferenceError) -> String {
        let configured = try HubReference.checkedEndpoint(defaultEndpoint)
        guard let host else { return configured }
        let authority = configured.split(separator: "/", maxSplits: 2, omittingEmptySubsequences: true)[1]
        if authority.split(separator: "/")[0].lowercased() == host { return configured }
        return (isLoopback(host) ? "http://" : "https://") + host
    }

    fileprivate static func checkedEndpoint(_ text: String?) throws(ModelReferenceError) -> String {
        guard let text, !text.isEmpty else { return defaultEndpoint }
        var trimmed = text[...]
        while trimmed.hasSuffix("/") { trimmed = trimmed.dropLast() }
        let parts = trimmed.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        let scheme = parts[0].lowercased()
        guard parts.count == 2, scheme == "http" || scheme == "https", parts[1].hasPrefix("//"),
            let authority = parts[1].dropFirst(2).split(separator: "/", omittingEmptySubsequences: false)
                .first,
            isHost(authority), !trimmed.contains("?"), !trimmed.contains("#")
        else {
            throw ModelReferenceError(
                .malformed,
                "HF_ENDPOINT is not the base URL of a hub; write e.g. https://huggingface.co or http://mirror.local:8080"
            )
        }
        return "\(scheme):\(parts[1])"
    }

    var canonicalText: String {
        let revision = revision.split(separator: "/")
        let isReference = revision.count == 3 && revision[0] == "refs"
        let written = revision.map { percentEncoded(String($0), also: "@") }.joined(
            separator: isReference ? "/" : "%2F")
        return "hf://" + (host.map { $0 + "/" } ?? "") + "\(repository)@\(written)"
            + (path.map { "/" + $0 } ?? "")
    }
}

// MARK: - Parts of references

private func shortened(_ text: String) -> String { text.count > 120 ? text.prefix(120) + "…" : text }

/// `host`, `host:port`, `[v6]` or `[v6]:port`.
private func isHost(_ text: some StringProtocol) -> Bool {
    var host = text[...]
    var port: Substring? = nil
    if text.hasPrefix("["), let close = text.firstIndex(of: "]") {
        host = text[text.index(after: text.startIndex)..<close]
        guard !host.isEmpty, host.allSatisfy({ $0 == ":" || $0 == "." || $0.isHexDigit }) else {
            return false
        }
        let rest = text[text.index(after: close)...]
        if rest.isEmpty { return true }
        guard rest.hasPrefix(":") else { return false }
        port = Substring(rest.dropFirst())
    } else {
        if let colon = text.firstIndex(of: ":") {
            host = text[..<colon]
            port = Substring(text[text.index(after: colon)...])
        }
        guard !host.isEmpty, !host.hasPrefix("."), !host.hasPrefix("-"),
            host.utf8.allSatisfy({ isAlphanumeric($0) || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "-") })
        else { return false }
    }
    guard let port else { return true }
    guard port.utf8.allSatisfy({ (48...57).contains($0) }), let number = UInt16(port), number > 0 else {
        return false
    }
    return true
}

private func isLoopback(_ host: String) -> Bool {
    let name = host.hasPrefix("[") ? host[...] : host.prefix { $0 != ":" }
    if name == "localhost" || name.hasPrefix("[::1]") { return true }
    let parts = name.split(separator: ".", omittingEmptySubsequences: false)
    return parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
}

private func isAlphanumeric(_ byte: UInt8) -> Bool {
    (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
}

/// The hub's rule for names: 1 to 96 of `A–Z a–z 0–9 . _ -`, and no part that a path would read as a step.
private func isRepositoryPart(_ text: String) -> Bool {
    (1...96).contains(text.utf8.count) && text != "." && text != ".."
        && text.utf8.allSatisfy {
            isAlphanumeric($0) || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "_")
                || $0 == UInt8(ascii: "-")
        }
}

private func canonicalURL(_ scheme: String, _ rest: Substring, of text: String) throws(ModelReferenceError)
    -> String
{
    func malformed(_ why: String) -> ModelReferenceError {
        ModelReferenceError(
            .malformed,
            "the reference \(why); write the URL of one file, e.g. https://host/models/model.safetensors")
    }
    if rest.contains("#") { throw malformed("has a fragment (#…)") }
    let authority = rest.prefix { $0 != "/" && $0 != "?" }
    if authority.contains("@") {
        throw malformed("holds a user name or password, put them in MARTLET_HTTP_AUTHORIZATION instead")
    }
    guard isHost(authority) else { throw malformed("has a malformed host") }
    var tail = String(rest[authority.endIndex...])
    let path = tail.prefix { $0 != "?" }
    guard path.hasPrefix("/"), !path.hasSuffix("/") else { throw malformed("names no file") }
    guard path.split(separator: "/").allSatisfy({ $0 != "." && $0 != ".." }) else {
        throw malformed("has a ‘.’ or ‘..’ in its path")
    }
    guard let name = path.split(separator: "/").last.flatMap({ percentDecoded(String($0)) }),
        Manifest.pathFault(name) == nil, !name.contains("/")
    else { throw malformed("names no file that may be written") }
    tail = percentEncodedURLTail(tail)
    var host = authority.lowercased()
    let defaultPort = scheme == "https" ? ":443" : ":80"
    if host.hasSuffix(defaultPort) { host.removeLast(defaultPort.count) }
    return "\(scheme)://\(host)\(tail)"
}

private func canonicalPath(_ rest: Substring, of text: String) throws(ModelReferenceError) -> String {
    func malformed(_ why: String) -> ModelReferenceError {
        ModelReferenceError(
            .malformed, "‘\(shortened(text))’ \(why); write an absolute path, e.g. file:///srv/models/name")
    }
    let path = rest.hasPrefix("localhost/") ? rest.dropFirst(9) : rest
    guard path.hasPrefix("/") else { throw malformed("has a host or a relative path") }
    guard !path.contains("?"), !path.contains("#") else {
        throw malformed("has a ‘?’ or ‘#’, which a path writes as %3F and %23")
    }
    guard let decoded = percentDecoded(String(path)) else {
        throw malformed("has a malformed %; a path writes ‘%’ as %25")
    }
    let parts = decoded.split(separator: "/")
    guard parts.allSatisfy({ $0 != "." && $0 != ".." }) else {
        throw malformed("has a ‘.’ or ‘..’ in its path")
    }
    guard !parts.isEmpty, !decoded.utf8.contains(0) else { throw malformed("names no file or directory") }
    return "/" + parts.joined(separator: "/")
}

private func percentDecoded(_ text: String) -> String? {
    var bytes: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let byte = rest.popFirst() {
        guard byte == UInt8(ascii: "%") else {
            bytes.append(byte)
            continue
        }
        guard rest.count >= 2, let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)
        else { return nil }
        bytes.append(value)
        rest = rest.dropFirst(2)
    }
    return String(validating: bytes, as: UTF8.self)
}

/// Encodes what would end or change a path: `%`, `?`, `#`, blanks, control characters, and `also`.
private func percentEncoded(_ text: String, also: String = "") -> String {
    encoded(text) { $0 <= 32 || $0 == 127 || "%?#".utf8.contains($0) || also.utf8.contains($0) }
}

/// Encodes only what no URL may hold (blanks, control and non-ASCII characters); what is encoded already stays.
private func percentEncodedURLTail(_ text: String) -> String {
    encoded(text) { $0 <= 32 || $0 >= 127 || "\"<>\\^`{|}".utf8.contains($0) }
}

private func encoded(_ text: String, _ mustBe: (UInt8) -> Bool) -> String {
    var bytes: [UInt8] = []
    let digits = Array("0123456789ABCDEF".utf8)
    for byte in text.utf8 {
        if mustBe(byte) {
            bytes += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
        } else {
            bytes.append(byte)
        }
    }
    return String(decoding: bytes, as: UTF8.self)
}
