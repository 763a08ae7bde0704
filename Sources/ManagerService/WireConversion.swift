import ControlAPI
import RPC
import Registry

extension Member {
    /// Reads what a member says of itself.
    init(wire: Wire.Member) throws(RPCError) {
        let role: MemberRole
        switch wire.role {
        case .scheduler: role = .scheduler
        case .seed: role = .seed
        case .peer: role = .peer
        case .unspecified, .unrecognized:
            throw RPCError(.invalidArgument, "‘\(wire.name.prefix(80))’ does not say its role")
        }
        self.init(
            key: MemberKey(cluster: wire.cluster, role: role, name: wire.name), incarnation: wire.incarnation,
            addresses: wire.addresses, zone: wire.zone, rack: wire.rack, machine: wire.machine,
            version: wire.version)
    }

    var wire: Wire.Member {
        let role: Wire.MemberRole =
            switch key.role {
            case .scheduler: .scheduler
            case .seed: .seed
            case .peer: .peer
            }
        return Wire.Member(
            role: role, name: key.name, incarnation: incarnation, cluster: key.cluster, addresses: addresses,
            zone: zone, rack: rack, machine: machine, version: version, live: isLive,
            lastSeenUnixMs: lastSeenUnixMs)
    }
}

extension ClusterSettings {
    init(wire: Wire.ClusterSettings?) {
        let wire = wire ?? Wire.ClusterSettings()
        self.init(
            neighbourhoodSize: wire.neighbourhoodSize, leasePieces: wire.leasePieces,
            uploadSlots: wire.uploadSlots,
            heartbeatMs: wire.heartbeatMs)
    }

    var wire: Wire.ClusterSettings {
        Wire.ClusterSettings(
            neighbourhoodSize: neighbourhoodSize, leasePieces: leasePieces, uploadSlots: uploadSlots,
            heartbeatMs: heartbeatMs,
            named: named.sorted { $0.key < $1.key }.map { Wire.NamedSetting(name: $0.key, value: $0.value) })
    }
}

extension Cluster {
    var wire: Wire.Cluster { Wire.Cluster(name: name, settings: settings.wire, createdUnixMs: createdUnixMs) }
}

extension DynamicConfiguration {
    var wire: Wire.DynamicConfiguration {
        Wire.DynamicConfiguration(
            version: version, cluster: cluster, schedulers: schedulers.map(\.wire), seeds: seeds.map(\.wire),
            liveHosts: liveHosts, settings: settings.wire)
    }
}

extension RegistryFailure {
    /// What a refused member's stream, or call, ends with.
    var rpc: RPCError {
        switch code {
        case .unknownCluster: RPCError(.failedPrecondition, sentence)
        case .superseded: RPCError(.alreadyExists, sentence)
        case .invalid: RPCError(.invalidArgument, sentence)
        case .tooMany: RPCError(.resourceExhausted, sentence)
        }
    }
}
