import Artifacts
import Memory
import Storage
import Swarm
import Synchronization
import System

/// A host's engine: the interpreter on a thread of its own, with a mailbox.
///
/// Everything public may be called from any thread or task; nothing blocks but `stop`.
public final class Engine: Sendable {
    private let mailbox: EngineMailbox
    private let thread: Mutex<PinnedThread<Void>?>

    /// Where others put what happened: rails' sinks, workers, the scheduler's stream.
    public var post: @Sendable (EngineEvent) -> Void { mailbox.post }

    /// Starts the thread. `make` builds the interpreter there, since it belongs to that thread alone.
    public init(
        name: String, mailbox: EngineMailbox, make: @escaping @Sendable () -> Interpreter
    ) throws(Errno) {
        self.mailbox = mailbox
        let started = try PinnedThread(name: name) { Engine.run(mailbox, make()) }
        thread = Mutex(started)
    }

    /// Runs a question on the engine's thread and brings its answer back; nil once the engine has stopped.
    public func ask<Answer: Sendable>(_ question: @escaping @Sendable (Interpreter) -> Answer) async -> Answer? {
        await withCheckedContinuation { continuation in
            let taken = mailbox.offer(.ask { interpreter in continuation.resume(returning: question(interpreter)) })
            if !taken { continuation.resume(returning: nil) }
        }
    }

    /// Ends everything: callers are told, downloads wind down and stay resumable on disk, slots come back. Then the
    /// thread ends.
    ///
    /// Blocks until then, or until the limit has passed (a worker or an origin that hangs then keeps its slots); not
    /// in the cooperative pool. Shut down rails and origins before, so that nothing is waited for, and the workers
    /// after.
    public func stop(limitNs: UInt64 = 10_000_000_000) {
        mailbox.post(.stop(limitNs: limitNs))
        let running = thread.withLock { thread in
            defer { thread = nil }
            return thread
        }
        running?.join()
    }

    private static func run(_ mailbox: EngineMailbox, _ interpreter: Interpreter) {
        var events: [EngineEvent] = []
        while mailbox.next(
            untilNs: min(interpreter.wakeAtNs ?? .max, interpreter.stopAtNs ?? .max), into: &events)
        {
            let nowNs = MonotonicClock.nowNs()
            interpreter.handle(events, nowNs: nowNs)
            // What is in the mailbox by then is still taken in: questions get their answers.
            if let atNs = interpreter.stopAtNs, interpreter.isDrained || nowNs >= atNs { mailbox.close() }
        }
    }
}
