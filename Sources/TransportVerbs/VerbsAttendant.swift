import Synchronization
import System

/// A thread for what may block in the kernel: bringing queue pairs up (their neighbours are resolved), destroying them
/// (rxe waits for packets of theirs that a dead link keeps queued). A rail hands it jobs and never waits for one.
final class VerbsAttendant: Sendable {
    /// Numbers a job; its result carries the number.
    typealias JobNumber = UInt64

    private struct State {
        var waiting: [(number: JobNumber, job: @Sendable () -> String?)] = []
        var done: [(number: JobNumber, failure: String?)] = []
        var isStopping = false
    }

    /// What the thread and its owner share: the thread must not keep its owner alive.
    private final class Desk: Sendable {
        // Safety: only touched under the monitor.
        nonisolated(unsafe) var state = State()
        let monitor = Monitor()
        let done: EventDescriptor

        init() throws(Errno) { done = try EventDescriptor() }

        func run() {
            while true {
                monitor.lock()
                while state.waiting.isEmpty && !state.isStopping { monitor.wait() }
                guard !state.waiting.isEmpty else {
                    monitor.unlock()
                    return
                }
                let next = state.waiting.removeFirst()
                monitor.unlock()
                let failure = next.job()
                monitor.lock()
                state.done.append((next.number, failure))
                monitor.unlock()
                done.signal()
            }
        }
    }

    private let desk: Desk
    private let thread: PinnedThread<Void>

    init(name: String) throws(Errno) {
        let desk = try Desk()
        self.desk = desk
        thread = try PinnedThread(name: name) { desk.run() }
    }

    /// Readable when a job is done.
    var descriptor: CInt { desk.done.raw }

    /// Queues a job; it returns why it failed, or nil.
    func submit(_ number: JobNumber, _ job: @escaping @Sendable () -> String?) {
        desk.monitor.lock()
        desk.state.waiting.append((number, job))
        desk.monitor.unlock()
        desk.monitor.signal()
    }

    /// The jobs that were done since the last call.
    func takeDone() -> [(number: JobNumber, failure: String?)] {
        desk.done.clear()
        desk.monitor.lock()
        defer { desk.monitor.unlock() }
        let done = desk.state.done
        desk.state.done.removeAll(keepingCapacity: true)
        return done
    }

    /// Does what is queued and ends the thread. Blocks as long as that takes.
    func stop() {
        desk.monitor.lock()
        desk.state.isStopping = true
        desk.monitor.unlock()
        desk.monitor.broadcast()
        thread.join()
    }
}
