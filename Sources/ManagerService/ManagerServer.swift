import Configuration
import ControlAPI
import Observability
import RPC
import Registry
import System

/// A running manager: its database, its gRPC server and its metrics.
///
/// The one durable part of a cluster. Without it running downloads go on; a restart keeps clusters, schedulers, seeds and hosts.
public final class ManagerServer: Sendable {
    private let core: ManagerCore
    private let database: DatabaseQueue
    private let server: RPCServer
    private let observability: ObservabilityServer?
    private let ticking: Task<Void, Never>
    private let log: Logger

    /// Where it listens, with the port that was chosen.
    public var address: RPCAddress { server.addresses[0] }
    /// Where its metrics are, when they are served.
    public var metricsPort: UInt16? { observability?.port }

    /// Opens the database, listens and serves. Blocks for a moment while it reads the database: call it before serving anything.
    ///
    /// Throws `DatabaseError` (in use, damaged, newer), `RPCError` (port in use) or the metrics server's error, each with a
    /// sentence that says what to do.
    public static func start(_ configuration: ManagerConfiguration, log: Logger) throws -> ManagerServer {
        try ManagerServer(configuration, log)
    }

    /// The same, from the process's configuration.
    public static func start(
        _ configuration: Configuration, credentials: RPCCredentials, log: Logger
    ) throws -> ManagerServer {
        try ManagerServer(ManagerConfiguration(configuration, credentials: credentials), log)
    }

    private init(_ configuration: ManagerConfiguration, _ log: Logger) throws {
        self.log = log
        let (queue, registry) = try ManagerServer.open(configuration)
        database = queue
        let core = ManagerCore(registry, database: queue, outboxMax: configuration.outboxMax)
        self.core = core
        // A new database gets its cluster; one that is there keeps its settings.
        if !registry.clusters.contains(where: { $0.name == configuration.cluster }),
            let failure = core.handle(.putCluster(name: configuration.cluster, ClusterSettings()))
        {
            Task { _ = await queue.close() }
            throw failure.rpc
        }
        do {
            server = try RPCServer.start(
                listeners: [RPCListener(configuration.listen, credentials: configuration.credentials)],
                services: [.manager(ManagerCalls(core: core, log: log))],
                options: ControlLimits.server(callsMax: configuration.settings.membersMax))
        } catch {
            Task { _ = await queue.close() }
            throw error
        }
        do {
            observability = try configuration.metricsListen.map {
                try ManagerMetrics.serve($0, core: core, database: queue)
            }
        } catch {
            let server = server
            Task {
                await server.shutdown(grace: .zero)
                _ = await queue.close()
            }
            throw error
        }
        ticking = Task { await core.tick() }
        log.info(
            "manager is up",
            ["listens": .text("\(server.addresses[0])"), "database": .text(configuration.database)])
    }

    private static func open(
        _ configuration: ManagerConfiguration
    ) throws(DatabaseError) -> (DatabaseQueue, Registry) {
        let database = try RegistryDatabase(path: configuration.database)
        let (clusters, members) = try database.load()
        let registry = Registry(
            settings: configuration.settings, clusters: clusters, members: members, nowNs: MonotonicClock.nowNs(),
            unixMs: WallClock.nowMilliseconds())
        return (DatabaseQueue(database), registry)
    }

    /// Ends it: members' streams are closed, everything is saved. Takes a few seconds at most.
    public func stop() async {
        ticking.cancel()
        // Members' streams have no end of their own: there is nothing to wait for.
        await server.shutdown(grace: .zero)
        observability?.stop()
        if let failure = await database.close() {
            log.error("the last changes are not saved", ["reason": .text(failure.description)])
        }
    }
}
