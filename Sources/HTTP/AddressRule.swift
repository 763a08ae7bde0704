import CCurl

/// Which addresses a client may connect to: those of the public Internet, and what is allowed besides.
///
/// A model reference or a redirect is a stranger's text; without this rule it could have a host read what only that host
/// can reach: its own services, its cloud's metadata, its neighbours. The rule is applied three times: to the URL as it
/// is written, to where a redirect leads, and to the very address a socket is opened to, so that what a name is resolved
/// to (and to what else a moment later) makes no difference.
public struct AddressRule: Hashable, Sendable {
    /// The public Internet alone.
    public static let publicOnly = AddressRule()
    /// Everything.
    public static let any = AddressRule(isOpen: true)

    /// Host (lower case) and port of a URL, as libcurl reads it.
    struct Server: Hashable, Sendable {
        let host: String
        let port: UInt16

        /// The server of a URL, or of a redirect's target seen from that URL; nil when it is no http(s) URL.
        init?(url: String, reference: String? = nil) {
            guard !url.utf8.contains(0), !(reference?.utf8.contains(0) ?? false) else { return nil }
            var name = [CChar](repeating: 0, count: 1024)
            let port = martlet_curl_server_of(url, reference, &name, name.count)
            guard let port = UInt16(exactly: port), port > 0 else { return nil }
            var host = String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
                .lowercased()
            if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
            while host.hasSuffix(".") { host.removeLast() }
            self.host = host
            self.port = port
        }

        /// The address it is named by, without a zone; nil for a name.
        var address: InternetAddress? { InternetAddress(host.prefix { $0 != "%" }) }
    }

    private var isOpen = false
    private var ranges: [AddressRange] = []
    private var hosts: Set<String> = []
    private var servers: Set<Server> = []

    /// The public Internet alone.
    public init() {}
    private init(isOpen: Bool) { self.isOpen = isOpen }

    /// Allows what a setting lists besides the public Internet: `all`, or addresses (`10.1.2.3`), ranges (`10.0.0.0/8`)
    /// and host names (whatever they are resolved to), separated by commas. Gives the entry that is none of these.
    public mutating func allow(listed text: String) -> String? {
        for part in text.split(separator: ",") {
            let entry = part.filter { $0 != " " && $0 != "\t" }.lowercased()
            if entry == "all" {
                isOpen = true
            } else if let range = AddressRange(entry) {
                ranges.append(range)
            } else if !entry.isEmpty, !entry.contains("/"), !entry.contains(":"),
                entry.utf8.allSatisfy({ $0 > 32 && $0 < 127 })
            {
                hosts.insert(entry)
            } else {
                return entry
            }
        }
        return nil
    }

    /// Allows one server (host and port), wherever its name leads: one that the operator named.
    public mutating func allow(serverOf url: String) {
        if let server = Server(url: url) { servers.insert(server) }
    }

    /// Why a URL may not be asked, judged by its text alone: a literal address or `localhost`. nil when it may.
    func refusal(of server: Server) -> String? {
        guard !isTrusted(server) else { return nil }
        if let address = server.address { return refusal(of: address) }
        let isLocal = server.host == "localhost" || server.host.hasSuffix(".localhost")
        return isLocal && !ranges.contains { $0.contains(AddressRule.loopback) } ? "\(server.host) is loopback" : nil
    }

    /// Why no socket may be opened to an address on the way to a server; nil when it may.
    func refusal(of address: InternetAddress, for server: Server?) -> String? {
        if let server, isTrusted(server) { return nil }
        return refusal(of: address)
    }

    private static let loopback = InternetAddress("127.0.0.1")!

    private func isTrusted(_ server: Server) -> Bool {
        isOpen || hosts.contains(server.host) || servers.contains(server)
    }

    private func refusal(of address: InternetAddress) -> String? {
        guard !isOpen, let restriction = address.restriction, !ranges.contains(where: { $0.contains(address) })
        else { return nil }
        return "\(address) is \(restriction)"
    }
}
