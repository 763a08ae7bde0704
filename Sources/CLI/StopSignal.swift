import Glibc
import Synchronization
import System

/// Asks a command to stop: Ctrl-C or SIGTERM, once. A second Ctrl-C ends the process at once, as after a crash.
public final class StopSignal: Sendable {
    /// Who asked.
    public enum Reason: Sendable, Hashable {
        /// Ctrl-C.
        case interrupt
        /// The service manager.
        case terminate

        /// The exit code of a command that was stopped before it had done its work. Servers that were stopped end with
        /// `ok`.
        public var exitCode: ExitCode { self == .interrupt ? .interrupted : .terminated }
    }

    private struct State {
        var reason: Reason?
        var handlers: [@Sendable (Reason) -> Void] = []
        var waiters: [Int: CheckedContinuation<Reason?, Never>] = [:]
        var nextWaiter = 0
    }

    private let state = Mutex(State())

    /// Nobody has asked yet.
    public init() {}

    /// Why to stop; nil while nobody has asked.
    public var reason: Reason? { state.withLock { $0.reason } }

    /// Whether to stop.
    public var isRequested: Bool { reason != nil }

    /// Asks to stop. Only the first time counts.
    public func request(_ reason: Reason) {
        let (handlers, waiters) = state.withLock {
            state -> ([@Sendable (Reason) -> Void], [CheckedContinuation<Reason?, Never>]) in
            guard state.reason == nil else { return ([], []) }
            state.reason = reason
            defer {
                state.handlers = []
                state.waiters = [:]
            }
            return (state.handlers, Array(state.waiters.values))
        }
        for handler in handlers { handler(reason) }
        for waiter in waiters { waiter.resume(returning: reason) }
    }

    /// Runs once when somebody asks (at once if somebody has), on the thread of who asks: it must not block.
    public func onRequest(_ handler: @escaping @Sendable (Reason) -> Void) {
        let reason = state.withLock { state in
            if state.reason == nil { state.handlers.append(handler) }
            return state.reason
        }
        if let reason { handler(reason) }
    }

    /// Waits until somebody asks; nil when the waiting task was cancelled first.
    public func wait() async -> Reason? {
        let number = state.withLock { state in
            state.nextWaiter += 1
            return state.nextWaiter
        }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let answer: Reason?? = state.withLock { state in
                    if let reason = state.reason { return .some(reason) }
                    if Task.isCancelled { return .some(nil) }
                    state.waiters[number] = continuation
                    return nil
                }
                if let answer { continuation.resume(returning: answer) }
            }
        } onCancel: {
            let waiter = state.withLock { $0.waiters.removeValue(forKey: number) }
            waiter?.resume(returning: nil)
        }
    }

    /// Listens to the process's signals until the watch is closed.
    func watch(_ console: Console) throws(Errno) -> SignalWatch {
        try SignalWatch { signal in
            let reason: Reason = signal == .interrupt ? .interrupt : .terminate
            if self.isRequested, reason == .interrupt {
                console.note("martlet: stopped at once; what was verified is kept")
                _exit(ExitCode.interrupted.rawValue)
            }
            self.request(reason)
        }
    }
}
