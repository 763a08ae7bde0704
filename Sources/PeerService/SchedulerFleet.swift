import Artifacts
import ControlAPI
import Engine
import Observability
import RPC
import Storage
import Swarm
import Synchronization
import System

/// The host's streams to all schedulers of its cluster, and who of them is told what.
///
/// The list comes from the manager or from the configuration. The host keeps a stream to each; models and references
/// are spread over those that live (`SchedulerRouting`). All methods are called from any thread and never block.
final class SchedulerFleet: SchedulerPort {
    /// Who we say we are.
    struct Identity: Sendable {
        var host: HostID
        var incarnation: Incarnation
        var cluster: String
        var isSeed: Bool
        var addresses: [String]
        var zone: String
        var rack: String
        var machine: String
        var uploadSlots: Int
        var readsNoOrigin = false
    }

    struct State {
        var links: [String: SchedulerLink] = [:]
        var running: [String: Task<Void, Never>] = [:]
        var routing = SchedulerRouting()
        /// Why no scheduler will have us, as long as none has since: waiting would not help.
        var refusal: RPCError?
        var pending: [UInt64: PendingResolve] = [:]
        var nextRequest: UInt64 = 1
        var engine: Engine?
        var isStopped = false
        var modelsMoved: UInt64 = 0
    }

    /// How long a scheduler may be away before its models go to others.
    private static let lostNs: UInt64 = 5_000_000_000
    /// How often what is due is looked at.
    private static let turn = Duration.milliseconds(250)

    let identity: Identity
    private let credentials: RPCCredentials
    private let store: Store
    private let blocking: BlockingPool
    private let limiter: OriginLimiter
    let log: Logger
    let resolveAtOrigin: @Sendable (String) async -> Result<(Manifest, ModelID), OriginFailure>
    let state = Mutex(State())

    init(
        identity: Identity, credentials: RPCCredentials, store: Store, blocking: BlockingPool, limiter: OriginLimiter,
        log: Logger,
        resolveAtOrigin: @escaping @Sendable (String) async -> Result<(Manifest, ModelID), OriginFailure>
    ) {
        self.identity = identity
        self.credentials = credentials
        self.store = store
        self.blocking = blocking
        self.limiter = limiter
        self.log = log
        self.resolveAtOrigin = resolveAtOrigin
    }

    /// Which schedulers are attached, as text; nil for none.
    var attachedTo: String? {
        let links = state.withLock { $0.links }
        let attached = links.sorted { $0.key < $1.key }.compactMap(\.value.attachedTo)
        return attached.isEmpty ? nil : attached.joined(separator: ", ")
    }
    /// How many are attached.
    var attachedCount: Int { state.withLock { $0.links }.values.count { $0.attachedTo != nil } }
    /// How many there are, as far as is known.
    var listedCount: Int { state.withLock { $0.routing.listed.count } }
    /// Downloads that went on under another scheduler.
    var modelsMoved: UInt64 { state.withLock { $0.modelsMoved } }

    // MARK: Which there are

    /// The cluster's schedulers are these, by name.
    func use(_ schedulers: [String: [RPCAddress]]) {
        let ended = state.withLock { state -> [Task<Void, Never>] in
            guard !state.isStopped else { return [] }
            let gone = state.links.keys.filter { schedulers[$0] == nil }
            for (key, addresses) in schedulers {
                if let known = state.links[key] {
                    known.use(addresses)
                    continue
                }
                let link = SchedulerLink(
                    key, at: addresses, credentials: credentials.toward(.scheduler, cluster: identity.cluster),
                    host: host(of: key), log: log)
                state.links[key] = link
                if state.engine != nil { state.running[key] = Task { await link.run() } }
            }
            for key in gone { state.links[key] = nil }
            return gone.compactMap { state.running.removeValue(forKey: $0) }
        }
        reroute()
        for task in ended { task.cancel() }
    }

    /// A scheduler or the manager will not have us, for a reason that stays: whoever waits for an answer is told.
    func refused(_ error: RPCError) {
        let pending = state.withLock { state -> [UInt64: PendingResolve] in
            guard !state.links.values.contains(where: { $0.attachedTo != nil }) else { return [:] }
            state.refusal = error
            defer { state.pending = [:] }
            return state.pending
        }
        for question in pending.values { question.continuation.resume(throwing: error) }
    }

    /// Keeps the streams up until the task is cancelled.
    func run(engine: Engine) async {
        state.withLock { state in
            state.engine = engine
            for (key, link) in state.links where state.running[key] == nil {
                state.running[key] = Task { await link.run() }
            }
        }
        while !Task.isCancelled {
            try? await Task.sleep(for: SchedulerFleet.turn)
            reroute()
            for (model, parents) in state.withLock({ $0.routing.settled(nowNs: MonotonicClock.nowNs()) }) {
                engine.post(.scheduler(.neighbourhood(model, parents)))
            }
        }
        let running = state.withLock { state in
            state.isStopped = true
            // Links know us and we know them: this lets go.
            state.links = [:]
            defer { state.running = [:] }
            return state.running
        }
        for task in running.values { task.cancel() }
        for task in running.values { await task.value }
        failPending(RPCError(.cancelled, "the peer is stopping"))
    }

    /// Looks at who is there, and moves what that changes.
    private func reroute() {
        let nowNs = MonotonicClock.nowNs()
        let (moves, links, before, after) = state.withLock { state in
            let before = state.routing.live
            let lost = state.links.filter { $0.value.isLost(afterNs: SchedulerFleet.lostNs, nowNs: nowNs) }
            let moves = state.routing.change(
                listed: state.links.keys.sorted(), lost: Set(lost.keys), nowNs: nowNs)
            state.modelsMoved += UInt64(moves.count)
            return (moves, state.links, before, state.routing.live)
        }
        guard before != after else { return }
        log.info(
            "models are spread anew",
            ["schedulers": .text(after.joined(separator: " ")), "downloads_moved": .count(moves.count)])
        for move in moves { carryOut(move, links) }
        // Holdings go to their new schedulers too; an attachment says them by itself.
        for (key, link) in links where link.attachedTo != nil && !before.isEmpty { announce(to: key, link) }
        askPendingAgain { state, question in
            state.routing.owner(ofReference: question.reference)
                != state.routing.ownerBefore(ofReference: question.reference)
        }
    }

    private func carryOut(_ move: SchedulerRouting.Move, _ links: [String: SchedulerLink]) {
        if let from = move.from {
            links[from]?.put(.leave(Wire.Leave(model: move.model.description, moved: true)))
        }
        guard let join = joinMessage(move.model, at: move.to, moved: true) else { return }
        links[move.to]?.put(.join(join))
    }

    private func joinMessage(_ model: ModelID, at scheduler: String, moved: Bool) -> Wire.Join? {
        state.withLock { state in
            guard let manifest = state.routing.manifest(of: model) else { return nil }
            let leases = moved ? state.routing.leases(of: scheduler, model: model) : [:]
            return Wire.Join(
                model: model.description, manifest: manifest.wire, moved: moved,
                leases: leases.sorted { $0.key.value < $1.key.value }.map { $0.value.wire($0.key) })
        }
    }

    // MARK: What we say

    func send(_ message: SchedulerUplink) {
        let nowNs = MonotonicClock.nowNs()
        let links: [SchedulerLink] = state.withLock { state in
            let keys: Set<String>?
            switch message {
            case .join(let model, let manifest): keys = Set([state.routing.joined(model, manifest)].compactMap { $0 })
            case .leave(let model, _): keys = Set([state.routing.left(model)].compactMap { $0 })
            case .kept(let task, _, _), .blame(_, let task, _): keys = state.routing.schedulers(of: task)
            case .leaseReturn(let lease, _): keys = Set([state.routing.returned(lease)].compactMap { $0 })
            case .forgot: keys = nil
            }
            return keys.map { $0.compactMap { state.links[$0] } } ?? Array(state.links.values)
        }
        if case .join(let model, _) = message {
            let moved = state.withLock { $0.routing.hasMoved(model, nowNs: nowNs) }
            for link in links {
                if let join = joinMessage(model, at: link.key, moved: moved) { link.put(.join(join)) }
                announce(model, to: link)
            }
            return
        }
        let wire = message.wire
        for link in links { link.put(wire) }
    }

    /// What a stream to a scheduler is for.
    private func host(of key: String) -> SchedulerLink.Host {
        SchedulerLink.Host(
            hello: { [self] in hello(to: key) }, account: { [self] in try await account(to: key) },
            attached: { [self] learningMs in attached(key, learningMs: learningMs) },
            received: { [self] in received($0, from: key) },
            detached: { [self] in
                if attachedTo == nil { state.withLock { $0.engine }?.post(.scheduler(.detached)) }
            },
            refused: { [self] in refused($0) })
    }

    private func hello(to key: String) -> Wire.Hello {
        let leases = state.withLock { $0.routing.leases(of: key) }
        return Wire.Hello(
            host: identity.host.name, incarnation: identity.incarnation, cluster: identity.cluster,
            role: identity.isSeed ? .seed : .peer, addresses: identity.addresses, zone: identity.zone,
            rack: identity.rack, machine: identity.machine, uploadSlots: UInt32(clamping: identity.uploadSlots),
            version: BuildInfo.version,
            leases: leases.sorted { $0.key.value < $1.key.value }.map { $0.value.wire($0.key) },
            readsNoOrigin: identity.readsNoOrigin)
    }

    /// Everything that concerns a scheduler, for a new stream: what we hold, then what we download.
    private func account(to key: String) async throws -> [Wire.HostMessage] {
        guard let engine = state.withLock({ $0.engine }) else { return [] }
        let routing = state.withLock { $0.routing }
        let inventory = try await blocking.run { [store] in
            Inventory.messages(
                of: store,
                concerning: { model, reference in
                    InventoryPart(
                        isModel: routing.owner(of: model) == key,
                        isReference: routing.owner(ofReference: reference) == key)
                })
        }
        let downloads = await engine.ask { $0.attachment() }?.downloads ?? []
        let nowNs = MonotonicClock.nowNs()
        let joins = downloads.compactMap { download -> Wire.HostMessage? in
            let (isOwner, moved) = state.withLock {
                ($0.routing.owner(of: download.model) == key, $0.routing.hasMoved(download.model, nowNs: nowNs))
            }
            guard isOwner else { return nil }
            return joinMessage(download.model, at: key, moved: moved).map { .join($0) }
        }
        return inventory.map { .inventory($0) } + joins
    }

    /// Tells an attached scheduler what we hold of what has come to belong to it.
    private func announce(to key: String, _ link: SchedulerLink) {
        let routing = state.withLock { $0.routing }
        Task { [self] in
            let messages = try? await blocking.run { [store] in
                Inventory.messages(
                    of: store, isWhole: false,
                    concerning: { model, reference in
                        InventoryPart(
                            isModel: routing.owner(of: model) == key && routing.ownerBefore(of: model) != key,
                            isReference: routing.owner(ofReference: reference) == key
                                && routing.ownerBefore(ofReference: reference) != key)
                    })
            }
            for message in messages ?? [] { link.put(.inventory(message)) }
        }
    }

    /// Tells a scheduler what we hold of a model that we download under it: files that it shares with models of other
    /// schedulers, who alone have heard of them. With one scheduler there is nothing it has not heard.
    private func announce(_ model: ModelID, to link: SchedulerLink) {
        guard listedCount > 1 else { return }
        Task { [self] in
            let messages = try? await blocking.run { [store] in
                Inventory.messages(
                    of: store, isWhole: false,
                    concerning: { other, _ in InventoryPart(isModel: other == model, isReference: false) })
            }
            for message in messages ?? [] where !message.tasks.isEmpty { link.put(.inventory(message)) }
        }
    }

    // MARK: What we hear

    private func attached(_ key: String, learningMs: UInt32) {
        let nowNs = MonotonicClock.nowNs()
        let engine = state.withLock { state in
            state.refusal = nil
            state.routing.learns(key, untilNs: nowNs + UInt64(learningMs) * 1_000_000)
            return state.engine
        }
        engine?.post(.scheduler(.attached))
        reroute()
        askPendingAgain { state, question in state.routing.owner(ofReference: question.reference) == key }
    }

    private func received(_ message: Wire.SchedulerMessage, from key: String) {
        switch message.kind {
        case .resolveReply(let reply): answered(reply)
        case .resolveOrder(let order): carryOut(order, of: key)
        case .originShare(let share): limiter.set(OriginLimiter.Share(wire: share), of: key)
        default:
            guard let downlink = SchedulerDownlink(wire: message) else { return }
            let (engine, allowed) = state.withLock { state in
                (state.engine, SchedulerFleet.admitted(downlink, from: key, &state.routing))
            }
            if let allowed {
                engine?.post(.scheduler(allowed))
            } else if case .lease(let lease, _, _, _, _) = downlink {
                let failure = OriginFailure(
                    code: "not_downloading", description: "the model belongs to another scheduler now", retryable: true)
                state.withLock { $0.links[key] }?.put(SchedulerUplink.leaseReturn(lease, failure).wire)
            }
        }
    }

    /// What the engine is to hear of it; nil when it comes from a scheduler whose business it is not any more.
    private static func admitted(
        _ message: SchedulerDownlink, from key: String, _ routing: inout SchedulerRouting
    ) -> SchedulerDownlink? {
        switch message {
        case .lease(let id, let model, let task, let pieces, let whole):
            let lease = SchedulerRouting.Lease(
                model: model, task: task, pieces: pieces, whole: whole, scheduler: key)
            return routing.granted(id, lease) ? message : nil
        case .leaseEnded(let id): return routing.ended(id, by: key) ? message : nil
        case .neighbourhood(let model, let parents):
            return routing.neighbourhood(model, parents, of: key, nowNs: MonotonicClock.nowNs())
                .map { .neighbourhood(model, $0) }
        case .refused(let model, _): return routing.owner(of: model) == key ? message : nil
        case .fetch, .digests, .digestsWithdrawn, .attached, .detached: return message
        }
    }

    private func carryOut(_ order: Wire.ResolveOrder, of key: String) {
        Task { [self] in
            var answer = Wire.Resolved(request: order.request, reference: order.reference)
            switch await resolveAtOrigin(order.reference) {
            case .success(let (manifest, model)):
                answer.model = model.description
                answer.manifest = manifest.wire
            case .failure(let failure): answer.failure = failure.wire
            }
            state.withLock { $0.links[key] }?.put(.resolved(answer))
        }
    }
}

extension SchedulerRouting.Lease {
    /// The wire form.
    func wire(_ id: LeaseID) -> Wire.HeldLease {
        Wire.HeldLease(
            lease: id.value, task: task.description, firstPiece: pieces.lowerBound, pieceCount: UInt32(pieces.count),
            whole: whole)
    }
}
