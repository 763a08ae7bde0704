import Configuration
import ControlAPI
import Observability
import RPC
import Scheduling
import Synchronization
import System

/// A running scheduler: its gRPC server, its membership with the manager, and its metrics.
///
/// All its state is soft. Stop it, or kill it, and start another: hosts attach again and tell it what it needs.
public final class SchedulerServer: Sendable {
    private let core: SchedulerCore
    private let server: RPCServer
    private let observability: ObservabilityServer?
    private let tasks: [Task<Void, Never>]
    private let membership: ManagerMembership?

    /// Where it listens, with the port that was chosen.
    public var address: RPCAddress { server.addresses[0] }
    /// Where its metrics are, when they are served.
    public var metricsPort: UInt16? { observability?.port }
    /// How it is doing.
    public var snapshot: SchedulerSnapshot { core.snapshot }

    /// Listens and serves. Throws `RPCError` or the metrics server's error, with a sentence that says what to do.
    public static func start(_ configuration: SchedulerConfiguration, log: Logger) throws -> SchedulerServer {
        try SchedulerServer(configuration, log)
    }

    /// The same, from the process's configuration.
    public static func start(
        _ configuration: Configuration, credentials: RPCCredentials, revocations: Revocations = Revocations(),
        log: Logger
    ) throws -> SchedulerServer {
        var own = SchedulerConfiguration(configuration, credentials: credentials)
        own.revocations = revocations
        return try SchedulerServer(own, log)
    }

    /// A scheduler for a process of its own: on a free port of this machine, without manager, metrics or learning time.
    public static func embedded(
        _ configuration: Configuration, credentials: RPCCredentials, log: Logger
    ) throws -> SchedulerServer {
        var own = SchedulerConfiguration(configuration, credentials: credentials)
        own.listen = .tcp(host: "127.0.0.1", port: 0)
        own.advertise = nil
        own.managers = []
        own.metricsListen = nil
        own.settings.learningMs = 0
        return try SchedulerServer(own, log)
    }

    private init(_ configuration: SchedulerConfiguration, _ log: Logger) throws {
        let core = SchedulerCore(
            name: configuration.name, settings: configuration.settings, outboxMax: configuration.outboxMax)
        let gatekeeper = Gatekeeper(
            cluster: configuration.cluster, revocations: configuration.revocations,
            isOpen: configuration.credentials.isInsecure, log: log)
        let streams = SchedulerStreams(
            core: core, name: configuration.name, cluster: configuration.cluster, gatekeeper: gatekeeper, log: log)
        server = try RPCServer.start(
            listeners: [RPCListener(configuration.listen, credentials: configuration.credentials)],
            services: [.scheduler(streams)],
            options: ControlLimits.server(callsMax: configuration.settings.hostsMax + 256, gatekeeper: gatekeeper))
        let server = server
        var tasks = [Task { await core.tick() }]
        let membership: ManagerMembership?
        do {
            let address = try SchedulerServer.advertised(configuration, bound: server.addresses[0])
            membership = SchedulerServer.membership(configuration, address: address, core: core, log: log)
            observability = try configuration.metricsListen.map {
                try SchedulerMetrics.serve($0, core: core, membership: membership, gatekeeper: gatekeeper)
            }
        } catch {
            for task in tasks { task.cancel() }
            Task { await server.shutdown(grace: .zero) }
            throw error
        }
        self.core = core
        self.membership = membership
        if let membership {
            tasks.append(
                Task {
                    do throws(RPCError) { try await membership.run() } catch {
                        // An unknown cluster, say: it serves its hosts all the same.
                        log.error("the manager refused this scheduler", ["reason": .text(error.message)])
                    }
                })
        }
        self.tasks = tasks
        log.info(
            "scheduler is up",
            ["cluster": .text(configuration.cluster), "listens": .text("\(server.addresses[0])")])
    }

    /// What the manager is to tell hosts; without a manager nobody is told.
    private static func advertised(
        _ configuration: SchedulerConfiguration, bound: RPCAddress
    ) throws(ConfigurationError) -> RPCAddress {
        guard configuration.advertise == nil, !configuration.managers.isEmpty, let listening = bound.network else {
            return configuration.advertise ?? bound
        }
        let shown = try NetworkAddress.advertised(
            nil, listening: listening, toward: configuration.managers.compactMap(\.network),
            key: Schema.Scheduler.advertise.key.name)
        return .tcp(host: shown.host, port: shown.port)
    }

    private static func membership(
        _ configuration: SchedulerConfiguration, address: RPCAddress, core: SchedulerCore, log: Logger
    ) -> ManagerMembership? {
        guard !configuration.managers.isEmpty else { return nil }
        let member = Wire.Member(
            role: .scheduler, name: configuration.name, incarnation: WallClock.nowMilliseconds(),
            cluster: configuration.cluster, addresses: ["\(address)"], version: BuildInfo.version)
        let settings = ManagerMembership.Settings(
            addresses: configuration.managers, credentials: configuration.credentials, member: member)
        let isFirst = Flag()
        return ManagerMembership(
            settings,
            onConfiguration: { wire in
                // How many hosts to wait for is asked once, at the start; later counts are of hosts that are here.
                if isFirst.take() {
                    core.handle(.expectedHosts(Int(wire.liveHosts)))
                }
                core.handle(.schedulers(max(1, wire.schedulers.count { $0.live })))
                for fault in core.change(wire.settings?.changes ?? []) {
                    log.warning("a setting of the cluster was passed over", ["reason": .text(fault)])
                }
            },
            onNote: { note in
                switch note {
                case .attached(let address):
                    log.info("attached to the manager", ["manager": .text("\(address)")])
                case .lost(let address, let reason):
                    log.warning("manager lost", ["manager": .text("\(address)"), "reason": .text(reason)])
                }
            })
    }

    /// Ends it: streams are closed, hosts go on with what they know and attach elsewhere. Takes a few seconds at most.
    public func stop() async {
        // First the list without us, then the streams: hosts that hear both know where to go.
        await membership?.leave()
        for task in tasks { task.cancel() }
        await server.shutdown(grace: .zero)
        observability?.stop()
    }
}

extension Wire.ClusterSettings {
    /// What was set, by name; the two limits that have fields of their own among them.
    fileprivate var changes: [(name: String, value: String)] {
        var changes: [(name: String, value: String)] = []
        if neighbourhoodSize > 0 { changes.append(("neighbourhood_size", "\(neighbourhoodSize)")) }
        if leasePieces > 0 { changes.append(("lease_pieces", "\(leasePieces)")) }
        return changes + named.map { ($0.name, $0.value) }
    }
}

/// True once.
private final class Flag: Sendable {
    private let isUp = Mutex(true)
    func take() -> Bool {
        isUp.withLock { isUp in
            defer { isUp = false }
            return isUp
        }
    }
}

extension RPCAddress {
    /// Host and port; nil for a Unix socket.
    fileprivate var network: NetworkAddress? {
        guard case .tcp(let host, let port) = self else { return nil }
        return NetworkAddress(host: host, port: port)
    }
}
