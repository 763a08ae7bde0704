import Configuration
import ControlAPI
import Observability
import RPC
import System

/// The host's membership with the manager, which tells it where schedulers are. Without a manager configured there is
/// none.
struct ManagerLink: Sendable {
    private let membership: ManagerMembership
    private let scheduler: SchedulerFleet
    private let list: SchedulerList
    private let isFixed: Bool
    private let log: Logger

    /// Whether the manager knows of us.
    var isAttached: Bool { membership.isAttached }

    init?(
        _ configuration: Configuration, identity: HostIdentity, options: PeerServer.Options, addresses: [String],
        credentials: RPCCredentials, scheduler: SchedulerFleet, blocking: BlockingPool, list: SchedulerList, log: Logger
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
                let live = wire.schedulers.filter { $0.live }.map {
                    ($0.name, $0.addresses.compactMap { RPCAddress($0) })
                }
                let named = Dictionary(live.filter { !$0.1.isEmpty }, uniquingKeysWith: { first, _ in first })
                // With none alive, those of before are the best there is: one of them may come back first.
                guard !named.isEmpty else { return }
                scheduler.use(named)
                Task {
                    let failure = try? await blocking.run { () -> Errno? in
                        do throws(Errno) { try list.save(named) } catch { return error }
                        return nil
                    }
                    if let failure = failure ?? nil {
                        log.warning("the list of schedulers was not kept", ["reason": .text("\(failure)")])
                    }
                }
            },
            onNote: { note in
                switch note {
                case .attached(let address): log.info("attached to the manager", ["manager": .text("\(address)")])
                case .lost(let address, let reason):
                    log.warning("manager lost", ["manager": .text("\(address)"), "reason": .text(reason)])
                }
            })
        self.scheduler = scheduler
        self.list = list
        self.isFixed = isFixed
        self.log = log
    }

    /// Begins with the schedulers of last time, until the manager says otherwise. Blocks.
    func useLastList() {
        let known = isFixed ? [:] : list.load()
        guard !known.isEmpty else { return }
        log.info(
            "schedulers as the manager named them last",
            ["schedulers": .text(known.keys.sorted().joined(separator: " "))])
        scheduler.use(known)
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
