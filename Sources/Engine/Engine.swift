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

    /// Ends the thread after what is in the mailbox; downloads stay resumable on disk. Blocks: not in the cooperative
    /// pool.
    public func stop() {
        mailbox.close()
        let running = thread.withLock { thread in
            defer { thread = nil }
            return thread
        }
        running?.join()
    }

    private static func run(_ mailbox: EngineMailbox, _ interpreter: Interpreter) {
        while let events = mailbox.next(untilNs: interpreter.wakeAtNs) {
            interpreter.handle(events, nowNs: MonotonicClock.nowNs())
        }
    }
}
