import System

extension NetworkAddress {
    /// What others are told of a server: the configured address, else the one listened on; and where that means every interface,
    /// the address this machine has toward those it talks to first (its scheduler, its manager).
    ///
    /// Blocks while names are resolved.
    /// - Throws: `.conflict` when it means every interface and there is nobody to look toward, or no way to them.
    public static func advertised(
        _ configured: NetworkAddress?, listening bound: NetworkAddress, toward others: [NetworkAddress], key: String
    ) throws(ConfigurationError) -> NetworkAddress {
        if let configured {
            return NetworkAddress(host: configured.host, port: configured.port == 0 ? bound.port : configured.port)
        }
        guard bound.isWildcard else { return bound }
        for other in others {
            guard let host = try? SocketAddress.source(toward: other.host, port: other.port) else { continue }
            return NetworkAddress(host: host, port: bound.port)
        }
        throw ConfigurationError(
            .conflict,
            "\(bound) is no address that others can connect to; say which is, with \(key) = \"HOST:\(bound.port)\"")
    }
}
