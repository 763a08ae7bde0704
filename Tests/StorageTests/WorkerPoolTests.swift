import Glibc
import Synchronization
import System
import Testing
import Workers

/// Bounded pools of threads.
@Suite struct WorkerPoolTests {
    @Test func refusesWhenFullAndDrainsWhenStopped() throws {
        let pool = try WorkerPool(WorkerConfiguration(name: "test", threadCount: 1, queueLimit: 3))
        let gate = Gate()
        let order = Mutex<[Int]>([])
        #expect(pool.submit { gate.pass() })
        // The one thread has the first job; three more fit the queue.
        while pool.counters.running == 0 { sched_yield() }
        for number in 0..<3 { #expect(pool.submit { order.withLock { $0.append(number) } }) }
        #expect(!pool.submit {})
        #expect(pool.counters.queued == 3 && pool.counters.refused == 1)
        gate.open()
        pool.stop()
        #expect(order.withLock { $0 } == [0, 1, 2])
        #expect(!pool.submit {})
        let counters = pool.counters
        #expect(counters.submitted == 4 && counters.finished == 4 && counters.refused == 2)
        #expect(counters.queued == 0 && counters.running == 0 && counters.queuedPeak == 3)
        pool.stop()
    }

    @Test func worksOnSeveralThreadsAtOnce() throws {
        let pool = try WorkerPool(
            WorkerConfiguration(name: "test", threadCount: 3, queueLimit: 8, numaNode: 0))
        let gate = Gate()
        for _ in 0..<3 { #expect(pool.submit { gate.pass() }) }
        // All three are in the gate together, or this never ends.
        while pool.counters.running < 3 { sched_yield() }
        gate.open()
        pool.stop()
        #expect(pool.counters.finished == 3)
    }

    @Test func aNodeWithoutProcessorsIsReported() throws {
        let pool = try WorkerPool(
            WorkerConfiguration(name: "test", threadCount: 1, queueLimit: 1, numaNode: 4000))
        #expect(pool.report.count == 1)
        pool.stop()
    }
}

/// Closed until it is opened.
final class Gate: @unchecked Sendable {
    // Safety: `isOpen` is touched between lock and unlock only.
    private let monitor = Monitor()
    private var isOpen = false

    func pass() {
        monitor.lock()
        while !isOpen { monitor.wait() }
        monitor.unlock()
    }

    func open() {
        monitor.lock()
        isOpen = true
        monitor.broadcast()
        monitor.unlock()
    }
}
