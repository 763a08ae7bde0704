import Artifacts
import Configuration
import Storage
import System
import Transport

/// Who this host is, for the whole life of the process.
struct HostIdentity: Sendable {
    let host: HostID
    let incarnation: Incarnation
    let cluster: String
    /// Hosts with the same machine name read each other over the local transport.
    let machine: String
    let zone: String
    let rack: String

    /// Reads the configuration; without a configured machine, the kernel's boot id names it.
    init(_ configuration: Configuration) throws(ConfigurationError) {
        let name = configuration[Schema.Peer.name]
        guard let host = HostID(name) else {
            throw ConfigurationError(
                .badValue,
                "peer.name ‘\(name)’ is no host name: use 1 to \(Limits.hostNameBytesMax) of A–Z a–z 0–9 . _ -")
        }
        self.host = host
        incarnation = HostLife.next(
            directory: configuration[Schema.Peer.dataDirectory], clockMs: WallClock.nowMilliseconds())
        cluster = configuration[Schema.Cluster.name]
        machine = configuration[Schema.Peer.machine] ?? HostIdentity.machineName ?? name
        zone = configuration[Schema.Peer.zone] ?? ""
        rack = configuration[Schema.Peer.rack] ?? ""
    }

    /// A name that all processes on one running kernel share and no other machine has: its boot id.
    private static var machineName: String? {
        let boot = BootID.current()
        guard boot != .unknown else { return nil }
        return boot.bytes.map { String($0, radix: 16) }.joined(separator: "-")
    }

    /// How links introduce us.
    var link: LinkIdentity { LinkIdentity(host: host, incarnation: incarnation, cluster: cluster) }

    /// How the scheduler gets to know us.
    func forScheduler(isSeed: Bool, addresses: [String], uploadSlots: Int) -> SchedulerFleet.Identity {
        SchedulerFleet.Identity(
            host: host, incarnation: incarnation, cluster: cluster, isSeed: isSeed, addresses: addresses, zone: zone,
            rack: rack, machine: machine, uploadSlots: uploadSlots)
    }
}
