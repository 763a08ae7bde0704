import Artifacts
import Glibc
import HTTP

/// Authorization headers, each for one server only. Never printed, never part of a location.
public struct OriginCredentials: Sendable, CustomStringConvertible, CustomDebugStringConvertible,
    CustomReflectable
{
    private var values: [String: String] = [:]

    /// No credentials.
    public init() {}

    /// Keeps an `Authorization` value for the server (scheme, host and port) of a URL; false when the URL or value is
    /// malformed.
    public mutating func set(authorization: String, forServerOf url: String) -> Bool {
        guard let origin = HTTPURL.origin(of: url), !authorization.isEmpty,
            authorization.utf8.allSatisfy({ $0 >= 32 && $0 < 127 })
        else { return false }
        values[origin] = authorization
        return true
    }

    /// The `Authorization` value for requests to this URL; nil for every server it was not kept for.
    public func authorization(for url: String) -> String? {
        HTTPURL.origin(of: url).flatMap { values[$0] }
    }

    /// Which servers there are credentials for, and nothing of them.
    public var description: String {
        values.isEmpty
            ? "no credentials" : "credentials for \(values.keys.sorted().joined(separator: ", ")) (redacted)"
    }
    /// As `description`.
    public var debugDescription: String { description }
    /// Empty, so that `dump` shows nothing either.
    public var customMirror: Mirror { Mirror(self, children: [(String?, Any)]()) }

    /// The header for a request, or none.
    func headers(for url: String) -> [HTTPHeader] {
        authorization(for: url).map { [HTTPHeader("Authorization", $0)] } ?? []
    }
}

/// What origins need to know: the hub's address, credentials, retries, limits.
public struct OriginSettings: Sendable {
    /// `HF_ENDPOINT`: the hub for references without a host; nil means huggingface.co.
    public var hubEndpoint: String?
    /// Who we are, server by server.
    public var credentials = OriginCredentials()
    /// When requests are repeated.
    public var retry = HTTPRetryPolicy.standard
    /// The directories that `file:` references may lead into.
    public var fileRoots = ["/"]
    /// The HTTP client's limits.
    public var client = HTTPClientSettings()

    /// No token, the default hub.
    public init() {}

    /// Reads the environment given:
    ///
    /// | variable | meaning |
    /// |---|---|
    /// | `HF_ENDPOINT` | base URL of the hub |
    /// | `HF_TOKEN`, `HUGGING_FACE_HUB_TOKEN` | token for that hub, and for no other host |
    /// | `HF_TOKEN_PATH`, `HF_HOME`, `XDG_CACHE_HOME`, `HOME` | where the token file is; by default
    /// `~/.cache/huggingface/token` |
    /// | `MARTLET_HTTP_AUTHORIZATION` | `host[:port] value`: the `Authorization` value for one https server
    /// (`http://host:port value` for http) |
    ///
    /// Reads the token file, which may block: call it at start. Throws `.invalidSetting` with the variable's name,
    /// never its value.
    public init(environment: [String: String]) throws(OriginError) {
        func value(_ name: String) -> String? {
            environment[name].map(withoutBlanks).flatMap { $0.isEmpty ? nil : $0 }
        }
        hubEndpoint = value("HF_ENDPOINT")
        let endpoint: String
        do {
            endpoint = try ModelReference.hubEndpoint(configured: hubEndpoint)
            // Whoever runs this host named it: it may stand on a private address. What it redirects to may not.
            client.addresses.allow(serverOf: endpoint)
        } catch { throw OriginError(.invalidSetting, error.description) }
        let token = value("HF_TOKEN") ?? value("HUGGING_FACE_HUB_TOKEN") ?? OriginSettings.tokenFile(value)
        if let token {
            guard credentials.set(authorization: "Bearer \(token)", forServerOf: endpoint) else {
                throw OriginError(
                    .invalidSetting,
                    "HF_TOKEN holds characters that no token has; set it to the token alone (hf_…)")
            }
        }
        if let text = value("MARTLET_HTTP_AUTHORIZATION") {
            let parts = text.split(separator: " ", maxSplits: 1)
            guard parts.count == 2,
                credentials.set(
                    authorization: withoutBlanks(String(parts[1])),
                    forServerOf: HTTPURL.origin(of: String(parts[0])) != nil
                        ? String(parts[0]) : "https://\(parts[0])")
            else {
                throw OriginError(
                    .invalidSetting,
                    "MARTLET_HTTP_AUTHORIZATION is malformed; write the server and the header's value, e.g. ‘models.example.com Bearer …’"
                )
            }
        }
    }

    /// Allows what a list names besides the public Internet; see `AddressRule.allow(listed:)`.
    public mutating func allowAddresses(listed text: String) throws(OriginError) {
        guard let entry = client.addresses.allow(listed: text) else { return }
        throw OriginError(
            .invalidSetting,
            "origin.allow_private names ‘\(entry)’; write ‘all’, or addresses, ranges and host names, as in ‘10.0.0.0/8,models.internal’"
        )
    }

    private static func tokenFile(_ value: (String) -> String?) -> String? {
        let home =
            value("HF_HOME") ?? value("XDG_CACHE_HOME").map { $0 + "/huggingface" }
            ?? value("HOME").map { $0 + "/.cache/huggingface" }
        guard let path = value("HF_TOKEN_PATH") ?? home.map({ $0 + "/token" }), let file = fopen(path, "re")
        else { return nil }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = fread(&bytes, 1, bytes.count, file)
        let text = withoutBlanks(String(decoding: bytes[..<count], as: UTF8.self))
        return text.isEmpty ? nil : text
    }
}

private func withoutBlanks(_ text: String) -> String {
    let kept = text.drop { $0.isWhitespace }
    return String(kept.reversed().drop { $0.isWhitespace }.reversed())
}
