import Configuration
import ControlAPI
import Identity
import Observability
import RPC
import Registry
import System

/// A running manager: its database, its gRPC server and its metrics.
///
/// The one durable part of a cluster. Without it running downloads go on; a restart keeps clusters, schedulers, seeds
/// and hosts.
public final class ManagerServer: Sendable {
    private let core: ManagerCore
    private let database: DatabaseQueue
    private let server: RPCServer
    private let observability: ObservabilityServer?
    private let ticking: [Task<Void, Never>]
    private let trust: TrustKeeper?
    private let log: Logger

    /// Where it listens, with the port that was chosen.
    public var address: RPCAddress { server.addresses[0] }
    /// Where its metrics are, when they are served.
    public var metricsPort: UInt16? { observability?.port }

    /// Opens the database, listens and serves.
    ///
    /// Throws `DatabaseError` (in use, damaged, newer), `RPCError` (port in use) or the metrics server's error, each
    /// with a sentence that says what to do.
    public static func start(_ configuration: ManagerConfiguration, log: Logger) async throws -> ManagerServer {
        // Where this fails, opening the database says so.
        try? Directory.createParent(of: configuration.database, permissions: 0o700)
        let (database, rows) = try await DatabaseQueue.open(path: configuration.database)
        do {
            let trust = try await TrustKeeper.start(configuration, database: database, log: log)
            return try ManagerServer(configuration, database, rows, trust, log)
        } catch {
            _ = await database.close()
            throw error
        }
    }

    /// The same, from the process's configuration; without credentials, with those of the cluster's own authority.
    public static func start(
        _ configuration: Configuration, credentials: RPCCredentials?, log: Logger
    ) async throws -> ManagerServer {
        try await start(ManagerConfiguration(configuration, credentials: credentials), log: log)
    }

    private init(
        _ configuration: ManagerConfiguration, _ database: DatabaseQueue, _ rows: RegistryRows, _ trust: TrustKeeper?,
        _ log: Logger
    ) throws {
        let registry = Registry(
            settings: configuration.settings, clusters: rows.clusters, members: rows.members,
            nowNs: MonotonicClock.nowNs(), unixMs: WallClock.nowMilliseconds())
        let core = ManagerCore(registry, database: database, outboxMax: configuration.outboxMax)
        // A new database gets its cluster; one that is there keeps its settings.
        if !rows.clusters.contains(where: { $0.name == configuration.cluster }),
            let failure = core.handle(.putCluster(name: configuration.cluster, ClusterSettings()))
        {
            throw failure.rpc
        }
        let credentials = trust?.credentials ?? configuration.credentials
        let gatekeeper = Gatekeeper(
            cluster: configuration.cluster, revocations: trust?.core.revocations ?? Revocations(),
            isOpen: credentials.isInsecure, log: log)
        var services: [RPCService] = [.manager(ManagerCalls(core: core, gatekeeper: gatekeeper, log: log))]
        if let trust { services.append(.trust(TrustCalls(core: trust.core, gatekeeper: gatekeeper, log: log))) }
        // Before the gRPC server: this one is easily taken back.
        let observability = try configuration.metricsListen.map {
            try ManagerMetrics.serve($0, core: core, database: database, gatekeeper: gatekeeper, trust: trust?.core)
        }
        do throws(RPCError) {
            server = try RPCServer.start(
                listeners: [RPCListener(configuration.listen, credentials: credentials)]
                    + (configuration.socket.map { [RPCListener(.unix(path: $0), credentials: .insecure)] } ?? []),
                services: services,
                // Each member has two streams: its membership and what it is to know of others' certificates.
                options: ControlLimits.server(callsMax: configuration.settings.membersMax * 2, gatekeeper: gatekeeper))
        } catch {
            observability?.stop()
            throw error
        }
        self.core = core
        self.database = database
        self.observability = observability
        self.log = log
        self.trust = trust
        ticking = [Task { await core.tick() }] + (trust.map { trust in [Task { await trust.run() }] } ?? [])
        log.info(
            "manager is up",
            ["listens": .text("\(server.addresses[0])"), "database": .text(configuration.database)])
    }

    /// A token for a server that is started along with this one; throws where it has no authority of its own.
    public func makeToken(role: Role, host: String, lifeS: Int64) async throws(RPCError) -> JoinToken {
        guard let trust else {
            throw RPCError(.failedPrecondition, "this manager was given its certificates, and can make none")
        }
        return try await trust.core.createToken(roles: [role], host: host, lifeS: lifeS, usesMax: 1).0
    }

    /// Ends it: members' streams are closed, everything is saved. Takes a few seconds at most.
    public func stop() async {
        for task in ticking { task.cancel() }
        // Members' streams have no end of their own: there is nothing to wait for.
        await server.shutdown(grace: .zero)
        observability?.stop()
        if let failure = await database.close() {
            log.error("the last changes are not saved", ["reason": .text(failure.description)])
        }
    }
}
