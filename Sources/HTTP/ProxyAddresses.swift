import CCurl

/// Where the environment's proxies are: the operator named them, so they may stand on private addresses.
///
/// Read and resolved once, when a client is made: a proxy that moves to another private address needs a restart.
struct ProxyAddresses: Sendable {
    private struct Place: Hashable {
        let address: InternetAddress
        let port: UInt16
    }

    private static let variables = ["http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
    private static let addressesMax = 16
    private var places: Set<Place> = []

    init(environment: (String) -> String?) {
        for variable in ProxyAddresses.variables {
            guard let text = environment(variable), !text.isEmpty, let server = ProxyAddresses.server(text) else {
                continue
            }
            for address in ProxyAddresses.addresses(of: server.host) {
                places.insert(Place(address: address, port: server.port))
            }
        }
    }

    func contains(_ address: InternetAddress, port: UInt16) -> Bool {
        !places.isEmpty && places.contains(Place(address: address, port: port))
    }

    /// `[scheme://][user@]host[:port]`; libcurl's own port for proxies is 1080.
    private static func server(_ text: String) -> AddressRule.Server? {
        let rest = text.firstRange(of: "://").map { text[$0.upperBound...] } ?? text[...]
        let authority = rest.prefix { $0 != "/" }
        let place = authority.lastIndex(of: "@").map { authority[authority.index(after: $0)...] } ?? authority
        let hasPort = (place.lastIndex(of: "]").map { place[$0...] } ?? place).contains(":")
        return AddressRule.Server(url: "http://\(place)\(hasPort ? "" : ":1080")/")
    }

    private static func addresses(of host: String) -> [InternetAddress] {
        if let address = InternetAddress(host) { return [address] }
        var bytes = [UInt8](repeating: 0, count: 17 * addressesMax)
        let count = martlet_curl_resolve(host, &bytes, addressesMax)
        guard count > 0 else { return [] }
        return (0..<Int(count)).compactMap { index in
            let place = 17 * index
            return InternetAddress(bytes: Array(bytes[(place + 1)...(place + Int(bytes[place]))]))
        }
    }
}
