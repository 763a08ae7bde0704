import Workers

/// Runs blocking work (disk, name resolution, joining threads) on worker threads for the async rim, which must never
/// block.
final class BlockingPool: Sendable {
    private let pool: WorkerPool

    init(_ pool: WorkerPool) { self.pool = pool }

    /// Runs it on a worker and comes back; when the workers' queue is full, on a thread of its own task's making a
    /// little later.
    func run<Answer: Sendable>(_ body: @escaping @Sendable () -> Answer) async -> Answer {
        var wait = 1
        while true {
            let answer: Answer? = await withCheckedContinuation { continuation in
                let taken = pool.submit { continuation.resume(returning: body()) }
                if !taken { continuation.resume(returning: nil) }
            }
            if let answer { return answer }
            try? await Task.sleep(for: .milliseconds(wait))
            wait = min(wait * 2, 100)
        }
    }
}
