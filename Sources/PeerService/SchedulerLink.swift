import Artifacts
import ControlAPI
import Engine
import Observability
import RPC
import Storage
import Swarm
import Synchronization
import System

/// The host's one stream to its scheduler, brought up again whenever it breaks.
///
/// What the engine says while no scheduler is attached is not kept: at the next attachment the host says everything
/// again (who it is, what it holds, which leases it still reads under, what it downloads), which is what fills a
/// restarted scheduler.
final class SchedulerLink: SchedulerPort {
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
    }

    private struct State {
        var addresses: [RPCAddress] = []
        var attachedTo: String?
        /// Why no scheduler will have us, as long as none has since: waiting would not help.
        var refusal: RPCError?
        var pending: [UInt64: PendingResolve] = [:]
        var nextRequest: UInt64 = 1
    }

    /// A question that waits for its answer; asked again of the next scheduler when this one is lost.
    private struct PendingResolve {
        let reference: String
        let refresh: Bool
        let continuation: CheckedContinuation<Wire.ResolveReply, any Error>
    }

    private let identity: Identity
    private let credentials: RPCCredentials
    private let store: Store
    private let blocking: BlockingPool
    private let outbox = SchedulerOutbox()
    private let state = Mutex(State())
    private let log: Logger
    private let resolveAtOrigin: @Sendable (String) async -> Result<(Manifest, ModelID), OriginFailure>
    private let engine = Mutex<Engine?>(nil)

    init(
        identity: Identity, credentials: RPCCredentials, store: Store, blocking: BlockingPool, log: Logger,
        resolveAtOrigin: @escaping @Sendable (String) async -> Result<(Manifest, ModelID), OriginFailure>
    ) {
        self.identity = identity
        self.credentials = credentials
        self.store = store
        self.blocking = blocking
        self.log = log
        self.resolveAtOrigin = resolveAtOrigin
    }

    /// Which scheduler is attached, as text.
    var attachedTo: String? { state.withLock { $0.attachedTo } }

    /// Where schedulers are, in order of preference; takes effect at the next attachment.
    func use(_ addresses: [RPCAddress]) { state.withLock { $0.addresses = addresses } }

    /// A scheduler or the manager will not have us, for a reason that stays: whoever waits for an answer is told.
    func refused(_ error: RPCError) {
        state.withLock { $0.refusal = error }
        failPending(error)
    }

    func send(_ message: SchedulerUplink) { outbox.put(message.wire) }

    /// Keeps the stream up until the task is cancelled.
    func run(engine: Engine) async {
        self.engine.withLock { $0 = engine }
        var failures = 0
        while !Task.isCancelled {
            let addresses = state.withLock { $0.addresses }
            guard !addresses.isEmpty else {
                try? await Task.sleep(for: .milliseconds(200))
                continue
            }
            let address = addresses[failures % addresses.count]
            let began = MonotonicClock.nowNs()
            do {
                try await attach(to: address, engine: engine)
            } catch {
                if let error = error as? RPCError, error.status == .failedPrecondition { refused(error) }
                if !Task.isCancelled {
                    log.warning("scheduler lost", ["scheduler": .text("\(address)"), "reason": .text("\(error)")])
                }
            }
            outbox.shut()
            if state.withLock({ state in
                defer { state.attachedTo = nil }
                return state.attachedTo != nil
            }) {
                engine.post(.scheduler(.detached))
            }
            // A stream that lived for a while was a good one: begin counting afresh.
            failures = MonotonicClock.nowNs() - began > 5_000_000_000 ? 0 : failures + 1
            let backoff = min(1000, 50 << min(failures, 5))
            try? await Task.sleep(for: .milliseconds(Int.random(in: backoff / 2...backoff)))
        }
        failPending(RPCError(.cancelled, "the peer is stopping"))
    }

    private func attach(to address: RPCAddress, engine: Engine) async throws {
        let channel = try RPCChannel(to: address, credentials: credentials, options: ControlLimits.channel)
        defer { channel.close() }
        try await channel.waitUntilReady(timeout: .seconds(3))
        let call = SchedulerClient(channel).attach()
        defer { call.cancel() }
        // From here on nothing the engine says is missed; what the inventory says as well does no harm twice.
        outbox.open()
        guard let attachment = await engine.ask({ $0.attachment() }) else { return }
        try await call.send(.hello(hello(leases: attachment.leases)))
        let inventory = try await blocking.run { [store] in Inventory.messages(of: store) }
        for message in inventory { try await call.send(.inventory(message)) }
        for download in attachment.downloads {
            try await call.send(.join(Wire.Join(model: download.model.description, manifest: download.manifest.wire)))
        }
        state.withLock { state in
            state.attachedTo = "\(address)"
            state.refusal = nil
        }
        engine.post(.scheduler(.attached))
        log.info("attached to the scheduler", ["scheduler": .text("\(address)")])
        askPendingAgain()
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { [outbox] in
                while let messages = await outbox.take() {
                    for message in messages { try await call.send(message) }
                }
                throw RPCError(.aborted, "too much to say at once; attaching anew")
            }
            group.addTask { [self] in
                while let message = try await call.receive() { received(message, engine: engine) }
                throw RPCError(.unavailable, "the scheduler ended the stream")
            }
            defer { group.cancelAll() }
            try await group.next()
        }
    }

    private func hello(leases: [HeldLease]) -> Wire.Hello {
        Wire.Hello(
            host: identity.host.name, incarnation: identity.incarnation, cluster: identity.cluster,
            role: identity.isSeed ? .seed : .peer, addresses: identity.addresses, zone: identity.zone,
            rack: identity.rack, machine: identity.machine, uploadSlots: UInt32(clamping: identity.uploadSlots),
            version: BuildInfo.version, leases: leases.map { $0.wire })
    }

    private func received(_ message: Wire.SchedulerMessage, engine: Engine) {
        switch message.kind {
        case .resolveReply(let reply):
            let pending = state.withLock { $0.pending.removeValue(forKey: reply.request) }
            pending?.continuation.resume(returning: reply)
        case .resolveOrder(let order):
            Task { [self] in
                let answer: Wire.Resolved
                switch await resolveAtOrigin(order.reference) {
                case .success(let (manifest, model)):
                    answer = Wire.Resolved(
                        request: order.request, reference: order.reference, model: model.description,
                        manifest: manifest.wire, failure: nil)
                case .failure(let failure):
                    answer = Wire.Resolved(
                        request: order.request, reference: order.reference, model: "", manifest: nil,
                        failure: failure.wire)
                }
                outbox.put(.resolved(answer))
            }
        default:
            guard let downlink = SchedulerDownlink(wire: message) else { return }
            engine.post(.scheduler(downlink))
        }
    }

    // MARK: resolving

    /// Asks what a reference means; waits over a lost scheduler, up to the time limit.
    func resolve(_ reference: String, refresh: Bool, limit: Duration) async throws -> Wire.ResolveReply {
        let request = state.withLock { state in
            defer { state.nextRequest += 1 }
            return state.nextRequest
        }
        let timer = Task {
            try await Task.sleep(for: limit)
            let pending = state.withLock { $0.pending.removeValue(forKey: request) }
            let sentence =
                attachedTo == nil
                ? "no scheduler answers; is one running at the configured address?"
                : "the scheduler did not find out what \(reference) means within \(limit.components.seconds) s"
            pending?.continuation.resume(throwing: RPCError(.deadlineExceeded, sentence))
        }
        defer { timer.cancel() }
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let refusal = state.withLock { state in
                    if state.refusal == nil {
                        state.pending[request] = PendingResolve(
                            reference: reference, refresh: refresh, continuation: continuation)
                    }
                    return state.refusal
                }
                if let refusal { return continuation.resume(throwing: refusal) }
                if Task.isCancelled { cancel(request) }
                outbox.put(.resolve(Wire.Resolve(request: request, reference: reference, refresh: refresh)))
            }
        } onCancel: {
            cancel(request)
        }
    }

    private func cancel(_ request: UInt64) {
        let pending = state.withLock { $0.pending.removeValue(forKey: request) }
        pending?.continuation.resume(throwing: CancellationError())
    }

    private func askPendingAgain() {
        let pending = state.withLock { $0.pending }
        for (request, question) in pending {
            outbox.put(
                .resolve(Wire.Resolve(request: request, reference: question.reference, refresh: question.refresh)))
        }
    }

    private func failPending(_ error: RPCError) {
        let pending = state.withLock { state in
            defer { state.pending = [:] }
            return state.pending
        }
        for question in pending.values { question.continuation.resume(throwing: error) }
    }
}
