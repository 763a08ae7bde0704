import Configuration
import ControlAPI
import Observability
import RPC

/// The host's membership with the manager, which tells it where schedulers are. Without a manager configured there is
/// none.
struct ManagerLink: Sendable {
    private let membership: ManagerMembership
    private let scheduler: SchedulerLink
    private let isFixed: Bool
    private let log: Logger

    /// Whether the manager knows of us.
    var isAttached: Bool { membership.isAttached }

    init?(
        _ configuration: Configuration, identity: HostIdentity, options: PeerServer.Options, addresses: [String],
        credentials: RPCCredentials, scheduler: SchedulerLink, log: Logger
    ) {
        let managers = configuration[Schema.Manager.addresses].map { RPCAddress.tcp(host: $0.host, port: $0.port) }
        guard !managers.isEmpty else { return nil }
        let member = Wire.Member(
            role: options.isSeed ? .seed : .peer, name: identity.host.name, incarnation: identity.incarnation,
            cluster: identity.cluster, addresses: addresses, zone: identity.zone, rack: identity.rack,
            machine: identity.machine, version: BuildInfo.version)
        // Schedulers named by hand stay; the manager's are used only where there are none.
        let isFixed = !configuration[Schema.Peer.schedulers].isEmpty || !options.schedulers.isEmpty
        membership = ManagerMembership(
            ManagerMembership.Settings(addresses: managers, credentials: credentials, member: member),
            onConfiguration: { wire in
                guard !isFixed else { return }
                scheduler.use(wire.schedulers.filter { $0.live }.flatMap { $0.addresses }.compactMap { RPCAddress($0) })
            },
            onNote: { note in
                switch note {
                case .attached(let address): log.info("attached to the manager", ["manager": .text("\(address)")])
                case .lost(let address, let reason):
                    log.warning("manager lost", ["manager": .text("\(address)"), "reason": .text(reason)])
                }
            })
        self.scheduler = scheduler
        self.isFixed = isFixed
        self.log = log
    }

    /// Keeps the membership up; the manager's refusal is said and ends it, the host goes on without.
    func run() async {
        do throws(RPCError) { try await membership.run() } catch {
            log.error("the manager refused this host", ["reason": .text(error.message)])
            // Without schedulers named by hand there will be none.
            if !isFixed { scheduler.refused(error) }
        }
    }
}
