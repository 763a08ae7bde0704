import Synchronization
import System

/// How a pool of workers is made.
public struct WorkerConfiguration: Sendable, Hashable {
    /// What the threads are called, with their number behind it.
    public var name: String
    /// How many threads: at least 1.
    public var threadCount: Int
    /// How many jobs may wait: at least 1. Enough for each slot of the arena that may be full at once is enough.
    public var queueLimit: Int
    /// The NUMA node whose CPUs they stay on; nil for anywhere.
    public var numaNode: Int?

    /// Describes a pool.
    public init(name: String, threadCount: Int, queueLimit: Int, numaNode: Int? = nil) {
        self.name = name
        self.threadCount = threadCount
        self.queueLimit = queueLimit
        self.numaNode = numaNode
    }
}

/// What a pool has done and is doing.
public struct WorkerCounters: Sendable, Hashable {
    /// Jobs taken.
    public var submitted: UInt64 = 0
    /// Jobs not taken because the queue was full or the pool stopping.
    public var refused: UInt64 = 0
    /// Jobs done.
    public var finished: UInt64 = 0
    /// Jobs waiting now.
    public var queued = 0
    /// Jobs being done now.
    public var running = 0
    /// The most jobs that ever waited.
    public var queuedPeak = 0
}

/// Threads for hashing and for calls that block: everything that neither a rail nor the cooperative pool may do.
///
/// Jobs begin in the order they were submitted. The queue is bounded: `submit` says so when it is full, and the caller
/// keeps the job for later. One pool serves one NUMA node, so that a slot is digested by a CPU near it.
public final class WorkerPool: Sendable {
    /// A piece of work. It may block as long as its own limits let it; whoever stops the pool waits for it.
    public typealias Job = @Sendable () -> Void

    /// How the pool was made.
    public let configuration: WorkerConfiguration
    /// What could not be done, as sentences for the log.
    public let report: [String]
    private let queue: JobQueue
    private let threads: Mutex<[PinnedThread<Void>]>

    /// Starts the threads; traps without a thread or a place in the queue.
    ///
    /// - Throws: when the system has no room for another thread; none is left running then.
    public init(_ configuration: WorkerConfiguration) throws(Errno) {
        precondition(
            configuration.threadCount > 0 && configuration.queueLimit > 0, "a pool has threads and a queue")
        self.configuration = configuration
        let queue = JobQueue(limit: configuration.queueLimit)
        self.queue = queue
        var report: [String] = []
        var cpus: CPUSet? = nil
        if let node = configuration.numaNode {
            let topology = Topology()
            cpus = topology.nodes.first { $0.id == node }?.cpus.intersection(topology.allowedCPUs)
            if cpus?.isEmpty != false {
                report.append(
                    "workers \(configuration.name) are not pinned: NUMA node \(node) has no CPU that this process may use"
                )
                cpus = nil
            }
        }
        var threads: [PinnedThread<Void>] = []
        do throws(Errno) {
            for number in 0..<configuration.threadCount {
                threads.append(
                    try PinnedThread(name: "\(configuration.name)-\(number)", cpus: cpus) { queue.work() })
            }
        } catch {
            queue.stop()
            for thread in threads { thread.join() }
            throw error
        }
        report += Set(threads.flatMap(\.report)).sorted()
        self.report = report
        self.threads = Mutex(threads)
    }

    /// Queues a job.
    ///
    /// - Returns: false when the queue is full or the pool is stopping: the job was not taken. Never blocks for long.
    public func submit(_ job: @escaping Job) -> Bool { queue.push(job) }

    /// Takes no more jobs, does those that wait, and returns when all threads have ended. Further calls return at once.
    ///
    /// Never from one of its own jobs: a thread cannot wait for itself.
    public func stop() {
        queue.stop()
        let threads = threads.withLock { threads in
            defer { threads = [] }
            return threads
        }
        for thread in threads { thread.join() }
    }

    /// What it has done and is doing.
    public var counters: WorkerCounters { queue.counters }
}
