import Synchronization
import System
import Transport

/// Threads for what may block in the kernel: bringing queue pairs up (their neighbours are resolved, a second for each
/// that does not exist), destroying them (rxe waits for packets of theirs that a dead link keeps queued). A rail hands
/// them jobs and never waits for one.
///
/// Fair: jobs of one address follow each other, and addresses take turns, so that whoever makes slow ones waits for
/// himself.
final class VerbsAttendant: Sendable {
    /// Numbers a job; its result carries the number.
    typealias JobNumber = UInt64

    private struct State {
        /// Jobs that wait, and addresses with one under way; an address with neither has no entry.
        var waiting: [PeerAddress: [(number: JobNumber, job: @Sendable () -> String?)]] = [:]
        var underWay: Set<PeerAddress> = []
        /// Addresses with waiting jobs and none under way, in turn.
        var turns = Fifo<PeerAddress>()
        var done: [(number: JobNumber, failure: String?)] = []
        var isStopping = false

        mutating func takeNext() -> (address: PeerAddress, number: JobNumber, job: @Sendable () -> String?)? {
            while let address = turns.popFirst() {
                // It may stand here twice, after a withdrawal.
                guard !underWay.contains(address), let next = waiting[address]?.first else { continue }
                waiting[address]?.removeFirst()
                if waiting[address]?.isEmpty == true { waiting[address] = nil }
                underWay.insert(address)
                return (address, next.number, next.job)
            }
            return nil
        }

        mutating func end(_ address: PeerAddress) {
            underWay.remove(address)
            if waiting[address] != nil { turns.append(address) }
        }
    }

    /// What the threads and their owner share: a thread must not keep its owner alive.
    private final class Desk: Sendable {
        // Safety: only touched under the monitor.
        nonisolated(unsafe) var state = State()
        let monitor = Monitor()
        let done: EventDescriptor

        init() throws(Errno) { done = try EventDescriptor() }

        func run() {
            monitor.lock()
            while true {
                guard let next = state.takeNext() else {
                    // What waits behind a job under way is its thread's.
                    if state.isStopping { break }
                    monitor.wait()
                    continue
                }
                monitor.unlock()
                let failure = next.job()
                monitor.lock()
                state.end(next.address)
                state.done.append((next.number, failure))
                done.signal()
            }
            monitor.unlock()
        }

        func stop() {
            monitor.lock()
            state.isStopping = true
            monitor.unlock()
            monitor.broadcast()
        }
    }

    private let desk: Desk
    private let threads: [PinnedThread<Void>]

    init(name: String, threads count: Int) throws(Errno) {
        let desk = try Desk()
        self.desk = desk
        var threads: [PinnedThread<Void>] = []
        do throws(Errno) {
            for number in 0..<count { threads.append(try PinnedThread(name: "\(name)-\(number)") { desk.run() }) }
        } catch {
            desk.stop()
            for thread in threads { thread.join() }
            throw error
        }
        self.threads = threads
    }

    /// Readable when a job is done.
    var descriptor: CInt { desk.done.raw }

    /// Queues a job behind others of its address; it returns why it failed, or nil.
    func submit(_ number: JobNumber, for address: PeerAddress, _ job: @escaping @Sendable () -> String?) {
        desk.monitor.lock()
        if desk.state.waiting[address] == nil {
            desk.state.waiting[address] = []
            if !desk.state.underWay.contains(address) { desk.state.turns.append(address) }
        }
        desk.state.waiting[address]?.append((number, job))
        desk.monitor.unlock()
        desk.monitor.signal()
    }

    /// Takes a job back that has not begun; whether that was so.
    func withdraw(_ number: JobNumber, for address: PeerAddress) -> Bool {
        desk.monitor.lock()
        defer { desk.monitor.unlock() }
        guard let place = desk.state.waiting[address]?.firstIndex(where: { $0.number == number }) else { return false }
        desk.state.waiting[address]?.remove(at: place)
        if desk.state.waiting[address]?.isEmpty == true { desk.state.waiting[address] = nil }
        return true
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

    /// Does what is queued and ends the threads. Blocks as long as that takes.
    func stop() {
        desk.stop()
        for thread in threads { thread.join() }
    }
}
