import ControlAPI
import RPC
import Synchronization
import Workers

/// Runs blocking work (disk, name resolution, joining threads) on worker threads for the async rim, which must never
/// block.
final class BlockingPool: Sendable {
    private let pool: WorkerPool
    private let isStopped = Atomic(false)

    init(_ pool: WorkerPool) { self.pool = pool }

    /// Refuses everything from now on; to be said before the workers stop, who refuse without saying why.
    func stop() { isStopped.store(true, ordering: .releasing) }

    /// Runs it on a worker and comes back; waits while the workers' queue is full.
    ///
    /// - Throws: `.unavailable` when the host is stopping, `.cancelled` when the caller's task ends while it waits.
    func run<Answer: Sendable>(_ body: @escaping @Sendable () -> Answer) async throws(RPCError) -> Answer {
        var waitMs = 1
        while true {
            if isStopped.load(ordering: .acquiring) { throw RPCError(.unavailable, "the peer is stopping") }
            let answer: Answer? = await withCheckedContinuation { continuation in
                let taken = pool.submit { continuation.resume(returning: body()) }
                if !taken { continuation.resume(returning: nil) }
            }
            if let answer { return answer }
            do { try await Task.sleep(for: .milliseconds(waitMs)) } catch {
                throw RPCError(.cancelled, "given up while the workers were busy")
            }
            waitMs = min(waitMs * 2, 100)
        }
    }
}
