import ControlAPI
import Engine
import Observability
import RPC
import Synchronization
import System

/// The host's stream to one scheduler, brought up again whenever it breaks.
///
/// What is said while the scheduler is not attached is not kept: at the next attachment the host says everything that
/// concerns it again (who it is, what it holds, which leases it still reads under, what it downloads), which is what
/// fills a restarted scheduler. A scheduler that says when to come back is left alone until then.
final class SchedulerLink: Sendable {
    /// What the stream is for; all but `log` are called on the cooperative pool.
    struct Host: Sendable {
        /// Who we are, with the leases this scheduler answers for.
        let hello: @Sendable () async -> Wire.Hello?
        /// What we hold and download of what belongs to the scheduler, in order.
        let account: @Sendable () async throws -> [Wire.HostMessage]
        /// The scheduler has let us in, and hears of its hosts for so long.
        let attached: @Sendable (_ learningMs: UInt32) -> Void
        /// It said something else.
        let received: @Sendable (Wire.SchedulerMessage) -> Void
        /// The stream is over that was up.
        let detached: @Sendable () -> Void
        /// It will not have us, for a reason that stays.
        let refused: @Sendable (RPCError) -> Void
    }

    private struct State {
        var addresses: [RPCAddress]
        var attachedTo: RPCAddress?
        /// Since when it is not attached.
        var awaySinceNs: UInt64
        /// It is there, and told us to come back then.
        var returnNs: UInt64 = 0
    }

    /// Ends an attempt: the scheduler is there, and has no time now.
    private struct ToldToComeBack: Error {
        let afterMs: UInt32
        let reason: String
    }

    /// How long a scheduler may take to say whether we may stay.
    private static let welcomeLimit = Duration.seconds(30)

    /// Its name, or where it is.
    let key: String
    private let credentials: RPCCredentials
    private let outbox = SchedulerOutbox()
    private let state: Mutex<State>
    private let host: Host
    private let log: Logger

    init(_ key: String, at addresses: [RPCAddress], credentials: RPCCredentials, host: Host, log: Logger) {
        self.key = key
        self.credentials = credentials
        self.host = host
        self.log = log
        state = Mutex(State(addresses: addresses, awaySinceNs: MonotonicClock.nowNs()))
    }

    /// Where it is attached, as text.
    var attachedTo: String? { state.withLock { $0.attachedTo.map { "\($0)" } } }

    /// Where the scheduler is; takes effect at the next attachment.
    func use(_ addresses: [RPCAddress]) { state.withLock { $0.addresses = addresses } }

    /// Whether it has not been there for so long. One that told us to come back is there.
    func isLost(afterNs: UInt64, nowNs: UInt64) -> Bool {
        state.withLock { $0.attachedTo == nil && nowNs >= max($0.awaySinceNs, $0.returnNs) + afterNs }
    }

    /// Queues a message, if the scheduler is attached.
    func put(_ message: Wire.HostMessage) { outbox.put(message) }

    /// Keeps the stream up until the task is cancelled.
    func run() async {
        var failures = 0
        while !Task.isCancelled {
            let addresses = state.withLock { $0.addresses }
            guard !addresses.isEmpty else {
                try? await Task.sleep(for: .milliseconds(200))
                continue
            }
            let address = addresses[failures % addresses.count]
            let began = MonotonicClock.nowNs()
            var waitMs: Int?
            do { try await attach(to: address) } catch {
                waitMs = Task.isCancelled ? nil : pause(after: error, at: address)
            }
            outbox.shut()
            let wasAttached = state.withLock { state in
                defer { state.attachedTo = nil }
                if state.attachedTo != nil { state.awaySinceNs = MonotonicClock.nowNs() }
                return state.attachedTo != nil
            }
            if wasAttached { host.detached() }
            // A stream that lived for a while was a good one: begin counting afresh.
            failures = MonotonicClock.nowNs() - began > 5_000_000_000 ? 0 : failures + 1
            if let waitMs {
                failures = 0
                try? await Task.sleep(for: .milliseconds(waitMs))
                continue
            }
            // 50 ms, doubled to 3 s; half of it by chance, so that hosts do not all come back at once.
            let backoffMs = min(3_000, 50 << min(failures, 6))
            try? await Task.sleep(for: .milliseconds(Int.random(in: backoffMs / 2...backoffMs)))
        }
    }

    /// Says why an attempt ended; how long the scheduler wants to be left alone, if it said so.
    private func pause(after error: any Error, at address: RPCAddress) -> Int? {
        if let told = error as? ToldToComeBack {
            // Never earlier than told; up to a tenth later, so that those told the same do not meet again.
            let waitMs = Int(told.afterMs) + Int.random(in: 0...Int(told.afterMs / 10 + 10))
            state.withLock { $0.returnNs = MonotonicClock.nowNs() + UInt64(waitMs) * 1_000_000 }
            log.info(
                "the scheduler has no time for this host yet",
                ["scheduler": .text("\(address)"), "reason": .text(told.reason), "wait_ms": .count(waitMs)])
            return waitMs
        }
        if let error = error as? RPCError, error.status == .failedPrecondition { host.refused(error) }
        log.warning("scheduler lost", ["scheduler": .text("\(address)"), "reason": .text("\(error)")])
        return nil
    }

    private func attach(to address: RPCAddress) async throws {
        let channel = try RPCChannel(to: address, credentials: credentials, options: ControlLimits.channel)
        defer { channel.close() }
        try await channel.waitUntilReady(timeout: .seconds(3))
        let call = SchedulerClient(channel).attach()
        defer { call.cancel() }
        // From here on nothing that is said is missed; what the account says as well does no harm twice.
        outbox.open()
        guard let hello = await host.hello() else { return }
        try await call.send(.hello(hello))
        // What we hold may be long: only a scheduler that has time for it gets it.
        let learningMs = try await welcome(call)
        for message in try await host.account() { try await call.send(message) }
        state.withLock { state in
            state.attachedTo = address
            state.returnNs = 0
        }
        log.info("attached to the scheduler", ["scheduler": .text("\(address)")])
        host.attached(learningMs)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { [outbox] in
                while let messages = await outbox.take() {
                    for message in messages { try await call.send(message) }
                }
                throw RPCError(.aborted, "too much to say at once; attaching anew")
            }
            group.addTask { [host] in
                while let message = try await call.receive() { host.received(message) }
                throw RPCError(.unavailable, "the scheduler ended the stream")
            }
            defer { group.cancelAll() }
            try await group.next()
        }
    }

    /// Waits until the scheduler lets us in.
    private func welcome(_ call: RPCCall<Wire.HostMessage, Wire.SchedulerMessage>) async throws -> UInt32 {
        try await withThrowingTaskGroup(of: UInt32.self) { group in
            group.addTask { [host] in
                while let message = try await call.receive() {
                    switch message.kind {
                    case .welcome(let welcome): return welcome.learningMs
                    case .tryLater(let later):
                        throw ToldToComeBack(afterMs: later.retryAfterMs, reason: String(later.reason.prefix(200)))
                    default: host.received(message)
                    }
                }
                throw RPCError(.unavailable, "the scheduler ended the stream")
            }
            group.addTask {
                try await Task.sleep(for: SchedulerLink.welcomeLimit)
                throw RPCError(.deadlineExceeded, "the scheduler did not answer the hello in 30 s")
            }
            defer { group.cancelAll() }
            return try await group.next()!
        }
    }
}
