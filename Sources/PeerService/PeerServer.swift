import Artifacts
import Configuration
import ControlAPI
import Engine
import Memory
import Observability
import Origins
import RPC
import Rails
import Storage
import Swarm
import Synchronization
import System
import Transport
import TransportLocal
import TransportTCP
import Workers

/// A running peer or seed peer: store, slots, rails, engine, its stream to the scheduler and its socket on the node.
public final class PeerServer: Sendable {
    /// What `start` is told besides the configuration.
    public struct Options: Sendable {
        /// Whether it is a seed peer.
        public var isSeed: Bool
        /// Whether to listen on the node's Unix socket.
        public var servesNode: Bool
        /// Schedulers known without a manager or configuration (all in one process).
        public var schedulers: [RPCAddress]

        /// Whether `file:` references may name any file this process may read: it serves nobody but who started it.
        public var readsAnyFile: Bool

        /// Describes a peer.
        public init(
            isSeed: Bool, servesNode: Bool = true, schedulers: [RPCAddress] = [], readsAnyFile: Bool = false
        ) {
            self.isSeed = isSeed
            self.readsAnyFile = readsAnyFile
            self.servesNode = servesNode
            self.schedulers = schedulers
        }
    }

    private let parts: PeerParts
    private let rails: [RailHandle]
    private let workers: WorkerPool
    private let origins: Origins
    private let server: RPCServer?
    private let observability: ObservabilityServer?
    private let tasks: Mutex<[Task<Void, Never>]>
    private let log: Logger

    /// The host's name.
    public var host: HostID { parts.host }
    /// Where its transports listen.
    public var addresses: [String] { parts.addresses }
    /// Where the metrics are, when they are served.
    public var metricsPort: UInt16? { observability?.port }
    /// What the node's own programs ask, without the socket.
    public var node: any NodeHandler { NodeService(peer: parts) }
    /// Whether a scheduler is attached.
    public var isAttached: Bool { parts.scheduler.attachedTo != nil }

    private init(
        parts: PeerParts, rails: [RailHandle], workers: WorkerPool, origins: Origins, server: RPCServer?,
        observability: ObservabilityServer?, tasks: [Task<Void, Never>], log: Logger
    ) {
        self.parts = parts
        self.rails = rails
        self.workers = workers
        self.origins = origins
        self.server = server
        self.observability = observability
        self.tasks = Mutex(tasks)
        self.log = log
    }

    /// Puts a host together and starts it. Blocks for a moment (memory is pre-faulted, the store is read): call it
    /// before serving anything.
    public static func start(
        _ configuration: Configuration, _ options: Options, credentials: RPCCredentials,
        revocations: Revocations = Revocations(), log: Logger
    ) throws -> PeerServer {
        var started = StartedParts()
        do {
            return try assemble(
                configuration, options, credentials: credentials, revocations: revocations, log: log, &started)
        } catch {
            started.end()
            throw error
        }
    }

    private static func assemble(
        _ configuration: Configuration, _ options: Options, credentials: RPCCredentials, revocations: Revocations,
        log: Logger, _ started: inout StartedParts
    ) throws -> PeerServer {
        let identity = try HostIdentity(configuration)
        // Where this fails, listening on the socket says so.
        try? Directory.createParent(of: configuration[Schema.Peer.socket], permissions: 0o755)
        let mailbox = try EngineMailbox()
        let store = try Store(
            StoreConfiguration(
                directory: configuration[Schema.Peer.dataDirectory],
                budgetBytes: configuration[Schema.Peer.diskBudget],
                freeBytesMin: configuration[Schema.Peer.freeBytesMin]),
            log: { log.warning("store", ["note": .text($0)]) }, gone: { mailbox.post(.gone($0)) })
        started.add {
            do throws(StorageError) { try store.close() } catch { log.error("store", ["note": .text("\(error)")]) }
        }
        let ports = try RDMAPorts.find(configuration, log: log)
        let placement = Placement(rdmaDevices: ports?.ports.map(\.device) ?? [])
        log.info("placement", ["note": .text(placement.reason)])
        let arena = try Arena(
            ArenaConfiguration(
                name: "slots", totalBytes: Int(configuration[Schema.Peer.slotsBytes]), numaNode: placement.numaNode))
        for note in arena.report { log.info("memory", ["note": .text(note)]) }
        let asked = Int(configuration[Schema.Peer.workers])
        let workers = try WorkerPool(
            WorkerConfiguration(
                name: "worker", threadCount: asked == 0 ? placement.cpuCount : asked, queueLimit: 4096,
                numaNode: placement.numaNode))
        started.add { workers.stop() }
        let blocking = BlockingPool(workers)
        let built = try PeerRails.start(
            configuration, identity: identity, security: RailSecurity(credentials, revocations: revocations),
            ports: ports, arena: arena, placement: placement,
            faults: FaultPlan.fromEnvironment(configuration.environment), mailbox: mailbox, log: log)
        started.add { for rail in built.rails { rail.shutdown() } }
        var settings = try OriginSettings(configuration)
        if options.readsAnyFile { settings.fileRoots = ["/"] }
        let origins = try Origins(settings: settings)
        started.add { origins.shutdown() }
        let limiter = OriginLimiter()
        let reader = OriginReader(origins: origins, arena: arena, limiter: limiter, post: mailbox.post)
        let policy = configuration[Schema.Peer.originPolicy]
        var member = identity.forScheduler(
            isSeed: options.isSeed, addresses: built.addresses,
            uploadSlots: Int(configuration[Schema.Peer.uploadSlots]))
        member.readsNoOrigin = policy == .never
        let scheduler = SchedulerFleet(
            identity: member, credentials: credentials, store: store, blocking: blocking, limiter: limiter, log: log,
            resolveAtOrigin: { text in
                guard await limiter.enter(isTransfer: false, isGivenUp: { false }) else {
                    return .failure(
                        OriginFailure(code: "cancelled", description: "the peer is stopping", retryable: true))
                }
                return await resolveAtOrigin(text, origins: origins, policy: policy)
            })
        let totals = EngineTotalsBox()
        let engineConfiguration = EngineConfiguration(
            configuration, identity: identity, isSeed: options.isSeed)
        let engine = try Engine(name: "engine", mailbox: mailbox) {
            Interpreter(
                configuration: engineConfiguration, rails: built.rails, dialing: built.dialing, arena: arena,
                store: store, workers: workers, scheduler: scheduler, origin: reader, totals: totals,
                post: mailbox.post, log: { log.warning("engine", ["note": .text($0)]) })
        }
        started.add { engine.stop() }
        let managerLink = ManagerLink(
            configuration, identity: identity, options: options, addresses: built.addresses, credentials: credentials,
            scheduler: scheduler, blocking: blocking,
            list: SchedulerList(directory: configuration[Schema.Peer.dataDirectory]), log: log)
        let parts = PeerParts(
            host: identity.host, incarnation: identity.incarnation, cluster: identity.cluster, isSeed: options.isSeed,
            addresses: built.addresses, version: BuildInfo.version, engine: engine, store: store, arena: arena,
            blocking: blocking, scheduler: scheduler,
            resolveLimit: .seconds(60), managerAttached: { managerLink?.isAttached ?? false })
        let observability = try PeerMetrics.serve(
            configuration, parts: parts, totals: totals, rails: built, workers: workers, origins: origins,
            limiter: limiter)
        started.add { observability?.stop() }
        let server = try options.servesNode ? listen(configuration, parts: parts) : nil
        let fixed =
            options.schedulers + configuration[Schema.Peer.schedulers].map { .tcp(host: $0.host, port: $0.port) }
        // Named by hand, a scheduler is known by its address: every host must then name it alike.
        scheduler.use(Dictionary(fixed.map { ("\($0)", [$0]) }, uniquingKeysWith: { first, _ in first }))
        managerLink?.useLastList()
        var tasks = [Task { await scheduler.run(engine: engine) }]
        if let managerLink { tasks.append(Task { await managerLink.run() }) }
        log.info(
            options.isSeed ? "seed peer is up" : "peer is up",
            ["host": .text(identity.host.name), "listens": .text(built.addresses.joined(separator: " "))])
        return PeerServer(
            parts: parts, rails: built.rails, workers: workers, origins: origins, server: server,
            observability: observability, tasks: tasks, log: log)
    }

    /// Ends it: callers get an error, links are closed, what is verified stays. Takes a few seconds at most.
    public func stop() async {
        for task in tasks.withLock({ $0 }) { task.cancel() }
        await server?.shutdown(grace: .seconds(1))
        observability?.stop()
        // Joining threads blocks: not in the cooperative pool.
        let (ending, ended) = AsyncStream<Void>.makeStream()
        let finish: @Sendable () -> Void = { [parts, rails, workers, origins, log] in
            // Movers first: what they held is given back while the engine still takes it in; the workers last, since
            // the engine waits for what they have in hand.
            for rail in rails { rail.shutdown() }
            origins.shutdown()
            parts.engine.stop()
            parts.blocking.stop()
            workers.stop()
            let left = parts.arena.usage.takenSlots
            if left > 0 {
                log.error("slots are still out; their memory stays until the process ends", ["slots": .count(left)])
                // Somebody may still write there: the arena must not be unmapped by its last reference.
                _ = Unmanaged.passRetained(parts.arena)
            }
            do throws(StorageError) { try parts.store.close() } catch {
                log.error("store", ["note": .text(error.description)])
            }
        }
        do throws(Errno) {
            let thread = try PinnedThread(name: "stop") {
                finish()
                ended.finish()
            }
            for await _ in ending {}
            thread.join()
        } catch {
            finish()
        }
    }

    private static func listen(_ configuration: Configuration, parts: PeerParts) throws -> RPCServer {
        let path = configuration[Schema.Peer.socket]
        let gatekeeper = Gatekeeper(cluster: parts.cluster, revocations: Revocations(), isOpen: false)
        var options = RPCServerOptions()
        options.admit = { gatekeeper.admit($0) }
        return try RPCServer.start(
            listeners: [RPCListener(.unix(path: path), credentials: .insecure)],
            services: [.node(NodeService(peer: parts))], options: options)
    }

    private static func resolveAtOrigin(
        _ text: String, origins: Origins, policy: Schema.Peer.OriginPolicy
    ) async -> Result<(Manifest, ModelID), OriginFailure> {
        guard policy != .never else {
            return .failure(
                OriginFailure(
                    code: "policy", description: "this host may not ask origins (peer.origin_policy)", retryable: true))
        }
        do {
            let resolved = try await origins.resolve(ModelReference(text))
            return .success((resolved.manifest, resolved.model))
        } catch let error as OriginError {
            return .failure(OriginFailure(error))
        } catch {
            return .failure(OriginFailure(code: "invalid_reference", description: "\(error)", retryable: false))
        }
    }
}
