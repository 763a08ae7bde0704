/// One way to another host: a rail of ours and an address of theirs.
public struct TransportPath: Hashable, Sendable, CustomStringConvertible {
    /// Our rail that dials, as its owner numbers rails.
    public let rail: Int
    /// Where the far side listens.
    public let address: TransportAddress
    /// Names a way.
    public init(rail: Int, address: TransportAddress) {
        self.rail = rail
        self.address = address
    }

    /// Which transport it is.
    public var kind: TransportKind { address.kind }
    /// `rdma:192.0.2.7:7801 by rail 4`.
    public var description: String { "\(address) by rail \(rail)" }

    /// Ways of one kind to one host: more are not remembered.
    public static var perKindMax: Int { 8 }

    /// Which transports may be used to a host, best first: the same machine's own, then RDMA, then TCP.
    public static func order(isSameHost: Bool) -> [TransportKind] {
        isSameHost ? [.local, .rdma, .tcp, .simulated] : [.rdma, .tcp, .simulated]
    }

    /// The ways to a host, best first.
    ///
    /// Our rail number i of a kind goes to their address number i first (one per port, so that several rails spread over
    /// several ports), and to their others when that one fails.
    /// - Parameters:
    ///   - rails: our rails that dial, by kind.
    ///   - addresses: theirs, as announced.
    public static func candidates(
        rails: [TransportKind: [Int]], addresses: [TransportAddress], isSameHost: Bool
    ) -> [TransportPath] {
        var paths: [TransportPath] = []
        for kind in order(isSameHost: isSameHost) {
            let theirs = addresses.filter { $0.kind == kind }
            let ours = rails[kind] ?? []
            var found: [TransportPath] = []
            for step in theirs.indices {
                for (place, rail) in ours.enumerated() where found.count < perKindMax {
                    found.append(TransportPath(rail: rail, address: theirs[(place + step) % theirs.count]))
                }
            }
            paths += found
        }
        return paths
    }
}
