/// Where a server listens or a client connects.
public enum RPCAddress: Sendable, Hashable, CustomStringConvertible {
    /// A host name or IP address, and a port. A server's port 0 means any free one.
    case tcp(host: String, port: UInt16)
    /// A Unix socket.
    case unix(path: String)

    /// The longest path of a Unix socket: `sun_path` has 108 bytes with its end.
    public static let unixPathBytesMax = 107

    /// Reads `host:port`, `[ipv6]:port` or `unix:/path`; nil for anything else.
    public init?(_ text: String) {
        if text.hasPrefix("unix:") {
            let path = String(text.dropFirst("unix:".count))
            guard !path.isEmpty else { return nil }
            self = .unix(path: path)
            return
        }
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]) else {
            return nil
        }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = host.dropFirst().dropLast()
            guard host.contains(":") else { return nil }
        } else if host.contains(":") {
            return nil
        }
        guard !host.isEmpty, host.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && !"/[]".utf8.contains($0) })
        else {
            return nil
        }
        self = .tcp(host: String(host), port: port)
    }

    /// As `init(_:)` reads it.
    public var description: String {
        switch self {
        case .tcp(let host, let port): host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
        case .unix(let path): "unix:\(path)"
        }
    }

    /// gRPC's name for it, for a client. Literal addresses need no resolver.
    var target: String {
        switch self {
        case .tcp(let host, _) where host.contains(":"): "ipv6:\(self)"
        case .tcp(let host, _) where Self.isIPv4(host): "ipv4:\(self)"
        case .tcp: "dns:///\(self)"
        case .unix: description
        }
    }

    private static func isIPv4(_ host: String) -> Bool {
        let parts = host.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 4 && parts.allSatisfy { UInt8($0) != nil }
    }

    /// The address in a peer's URI such as `ipv4:10.0.0.7:4312` or `ipv6:%5B::1%5D:4312`.
    static func peer(uri: String) -> String {
        guard let colon = uri.firstIndex(of: ":") else { return uri }
        if uri.hasPrefix("unix") { return "unix" }
        let rest = String(uri[uri.index(after: colon)...])
        return rest.split(separator: "%", omittingEmptySubsequences: false).enumerated()
            .map { index, part in
                guard index > 0 else { return String(part) }
                guard let code = UInt8(part.prefix(2), radix: 16), code < 0x80 else { return "%\(part)" }
                return String(UnicodeScalar(code)) + part.dropFirst(2)
            }
            .joined()
    }
}
