extension Configuration {
    /// Where control streams of RDMA links are listened for: the configured address, else `peer.listen`'s host and the
    /// port two above its own. Further rails take the ports that follow; port 0 takes any.
    public var rdmaListen: NetworkAddress {
        if let configured = self[Schema.Peer.rdmaListen] { return configured }
        let listen = self[Schema.Peer.listen]
        return NetworkAddress(host: listen.host, port: (1..<65_534).contains(listen.port) ? listen.port + 2 : 0)
    }

    /// Where a peer listens for others that want pieces, by the transports it may use: what must not be open to others
    /// without TLS.
    public var pieceListeners: [NetworkAddress] {
        switch self[Schema.Peer.transport] {
        case .auto: [self[Schema.Peer.listen], rdmaListen]
        case .rdma: [rdmaListen]
        case .tcp: [self[Schema.Peer.listen]]
        case .local: []
        }
    }
}
