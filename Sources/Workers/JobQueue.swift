import System

/// A bounded queue of jobs between those who submit and the threads that work.
// Safety: everything mutable is touched only between `monitor.lock()` and `monitor.unlock()`.
final class JobQueue: @unchecked Sendable {
    private let monitor = Monitor()
    private let limit: Int
    /// A ring: `count` jobs from `head` on.
    private var jobs: [WorkerPool.Job?]
    private var head = 0
    private var isStopping = false
    private var counts = WorkerCounters()

    init(limit: Int) {
        self.limit = limit
        jobs = Array(repeating: nil, count: limit)
    }

    func push(_ job: @escaping WorkerPool.Job) -> Bool {
        monitor.lock()
        defer { monitor.unlock() }
        guard !isStopping, counts.queued < limit else {
            counts.refused += 1
            return false
        }
        jobs[(head + counts.queued) % limit] = job
        counts.queued += 1
        counts.queuedPeak = max(counts.queuedPeak, counts.queued)
        counts.submitted += 1
        monitor.signal()
        return true
    }

    /// A thread's life: does jobs until the queue is stopped and empty.
    func work() {
        while let job = next() {
            job()
            monitor.lock()
            counts.running -= 1
            counts.finished += 1
            monitor.unlock()
        }
    }

    private func next() -> WorkerPool.Job? {
        monitor.lock()
        defer { monitor.unlock() }
        while counts.queued == 0 {
            if isStopping { return nil }
            // Idle: ended by the next job or by stop, which both signal under the lock.
            monitor.wait()
        }
        let job = jobs[head]
        jobs[head] = nil
        head = (head + 1) % limit
        counts.queued -= 1
        counts.running += 1
        return job
    }

    func stop() {
        monitor.lock()
        isStopping = true
        monitor.broadcast()
        monitor.unlock()
    }

    var counters: WorkerCounters {
        monitor.lock()
        defer { monitor.unlock() }
        return counts
    }
}
