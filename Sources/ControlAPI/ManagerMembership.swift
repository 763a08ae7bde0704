import RPC
import Synchronization

/// A member's stream to its manager: registers, gives signs of life, takes configuration, and comes back when it
/// breaks.
///
/// Nothing waits for the manager: without one a member goes on with what it was told last. Several managers' addresses
/// are tried in turn.
public final class ManagerMembership: Sendable {
    /// What to say, and to whom.
    public struct Settings: Sendable {
        /// Where managers are; tried in turn.
        public var addresses: [RPCAddress]
        /// How to prove who we are.
        public var credentials: RPCCredentials
        /// Who we are. Incarnation: wall-clock milliseconds at the start of the process.
        public var member: Wire.Member

        /// Describes a membership.
        public init(addresses: [RPCAddress], credentials: RPCCredentials, member: Wire.Member) {
            self.addresses = addresses
            self.credentials = credentials
            self.member = member
        }
    }

    /// What may be worth a line in the log.
    public enum Note: Sendable, Hashable {
        /// Registered with the manager at this address.
        case attached(RPCAddress)
        /// The stream broke, or could not be had: why. It is tried again.
        case lost(RPCAddress, String)
    }

    private let settings: Settings
    private let onConfiguration: @Sendable (Wire.DynamicConfiguration) -> Void
    private let onNote: @Sendable (Note) -> Void
    private let attached = Mutex(false)
    private let current = Mutex<RPCCall<Wire.MemberMessage, Wire.ManagerMessage>?>(nil)

    /// Makes a membership; `run` begins it.
    ///
    /// - Parameters:
    ///   - onConfiguration: called for every configuration, in order, on the cooperative pool; must not block.
    ///   - onNote: called when the stream comes and goes.
    public init(
        _ settings: Settings, onConfiguration: @escaping @Sendable (Wire.DynamicConfiguration) -> Void,
        onNote: @escaping @Sendable (Note) -> Void = { _ in }
    ) {
        self.settings = settings
        self.onConfiguration = onConfiguration
        self.onNote = onNote
    }

    /// Whether the manager has accepted us, and the stream is up.
    public var isAttached: Bool { attached.withLock { $0 } }

    /// Keeps the membership up until the task is cancelled.
    ///
    /// Throws when the manager refuses this member for good: an unknown cluster, or a bad name. The error's
    /// message says what to do. While a later start of the same name is live elsewhere it keeps trying.
    public func run() async throws(RPCError) {
        var failures = 0
        while !Task.isCancelled, !settings.addresses.isEmpty {
            let address = settings.addresses[failures % settings.addresses.count]
            var wasAttached = false
            do throws(RPCError) {
                try await attach(to: address)
            } catch {
                wasAttached = isAttached
                attached.withLock { $0 = false }
                if Task.isCancelled { return }
                if isFinal(error) { throw error }
                if wasAttached || failures == 0 { onNote(.lost(address, error.message)) }
            }
            failures = wasAttached ? 0 : failures + 1
            // 100 ms, doubled to 3 s; half of it by chance, so that members do not all come back at once.
            let backoffMs = min(3_000, 100 << min(failures, 5))
            try? await Task.sleep(for: .milliseconds(Int.random(in: backoffMs / 2...backoffMs)))
        }
    }

    /// Says that we end in order, so that the others need not wait until our lease has ended; half a second at most.
    /// To be called before the task of `run` is cancelled.
    public func leave() async {
        guard isAttached, let call = current.withLock({ $0 }) else { return }
        await withTaskGroup { group in
            group.addTask {
                try? await call.send(.farewell(Wire.Farewell()))
                // The manager ends nothing by itself: given time to take it in, the stream may be cut.
                try? await Task.sleep(for: .milliseconds(100))
            }
            group.addTask { try? await Task.sleep(for: .milliseconds(500)) }
            await group.next()
            group.cancelAll()
        }
    }

    /// Whether trying again cannot help. A certificate that has expired is renewed by somebody else meanwhile.
    private func isFinal(_ error: RPCError) -> Bool {
        switch error.status {
        case .failedPrecondition, .invalidArgument, .permissionDenied: true
        case .unauthenticated: if case .rotating = settings.credentials { false } else { true }
        default: false
        }
    }

    private func attach(to address: RPCAddress) async throws(RPCError) {
        let channel = try RPCChannel(
            to: address, credentials: settings.credentials.toward(.manager, cluster: settings.member.cluster),
            options: ControlLimits.channel)
        defer { channel.close() }
        let call = ManagerClient(channel).attach()
        current.withLock { $0 = call }
        defer {
            current.withLock { $0 = nil }
            call.cancel()
        }
        try await call.send(.register(settings.member))
        let pulse = Pulse(call)
        defer { pulse.stop() }
        while let message = try await call.receive() {
            switch message.kind {
            case .configuration(let configuration):
                setAttached(address)
                onConfiguration(configuration)
            case .heartbeat(let answer):
                setAttached(address)
                pulse.beat(everyMs: max(50, answer.leaseMs / 3))
            case nil: break
            }
        }
        throw RPCError(.unavailable, "the manager ended the stream")
    }

    private func setAttached(_ address: RPCAddress) {
        let isNew = attached.withLock { attached in
            defer { attached = true }
            return !attached
        }
        if isNew { onNote(.attached(address)) }
    }

    /// Sends heartbeats at the pace the manager asks for.
    private final class Pulse: Sendable {
        private let intervalMs = Mutex<UInt32>(3_000)
        private let task: Mutex<Task<Void, Never>?> = Mutex(nil)

        init(_ call: RPCCall<Wire.MemberMessage, Wire.ManagerMessage>) {
            let task = Task { [weak self] in
                while let intervalMs = self?.intervalMs.withLock({ $0 }), !Task.isCancelled {
                    try? await Task.sleep(for: .milliseconds(intervalMs))
                    // A broken stream is noticed by its reader.
                    if !Task.isCancelled { try? await call.send(.heartbeat(Wire.Heartbeat())) }
                }
            }
            self.task.withLock { $0 = task }
        }

        func beat(everyMs: UInt32) { intervalMs.withLock { $0 = everyMs } }
        func stop() { task.withLock { $0?.cancel() } }
    }
}
