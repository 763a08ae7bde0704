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

    /// How many links to a host a download reads over at the same time: one for each of our RDMA rails where the host is
    /// reached by RDMA, else one.
    public static func lanes(
        rails: [TransportKind: [Int]], addresses: [TransportAddress], isSameHost: Bool
    ) -> Int {
        let kinds = Set(addresses.map(\.kind))
        let isLocal = isSameHost && kinds.contains(.local) && rails[.local]?.isEmpty == false
        guard kinds.contains(.rdma), !isLocal else { return 1 }
        return min(max(rails[.rdma]?.count ?? 0, 1), perKindMax)
    }

    /// The ways to a host, best first.
    ///
    /// Our rail number i of a kind goes to their address number i first (one per port, so that several rails spread over
    /// several ports), and to their others when that one fails.
    /// - Parameters:
    ///   - rails: our rails that dial, by kind.
    ///   - addresses: theirs, as announced.
    ///   - lane: which of several links to the host it is for, see `lanes`. The first may use every way; each further one
    ///     has a rail of its own and no other.
    public static func candidates(
        rails: [TransportKind: [Int]], addresses: [TransportAddress], isSameHost: Bool, lane: Int = 0
    ) -> [TransportPath] {
        guard lane == 0 else {
            let theirs = distinct(addresses, .rdma)
            guard let ours = rails[.rdma], ours.indices.contains(lane) else { return [] }
            return theirs.indices.prefix(perKindMax).map {
                TransportPath(rail: ours[lane], address: theirs[(lane + $0) % theirs.count])
            }
        }
        var paths: [TransportPath] = []
        for kind in order(isSameHost: isSameHost) {
            let theirs = distinct(addresses, kind)
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

    /// The addresses of a kind, each once whatever the far side says: a path that failed must not be there again.
    private static func distinct(_ addresses: [TransportAddress], _ kind: TransportKind) -> [TransportAddress] {
        var found: [TransportAddress] = []
        for address in addresses where address.kind == kind && found.count < perKindMax && !found.contains(address) {
            found.append(address)
        }
        return found
    }
}
