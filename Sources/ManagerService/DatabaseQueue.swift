import Dispatch
import Registry
import Synchronization

/// The only way to the database after its start: a serial queue with a thread of its own, never the cooperative pool's.
///
/// Batches are saved in the order they are given. One that cannot be saved (a full disk) is kept and tried again with
/// the next;
/// the manager goes on from memory meanwhile, and says so.
final class DatabaseQueue: Sendable {
    /// Rows that may wait for a disk that does not take them; beyond it the manager refuses changes.
    private static let waitingMax = 1_000_000

    /// Safety: `database` is touched by blocks of `queue` only, which run one after the other.
    private struct Owned: @unchecked Sendable {
        let database: RegistryDatabase
    }
    private struct State {
        var waiting: [RegistryAction] = []
        var failure: DatabaseError?
        var batchesSaved: UInt64 = 0
    }

    private let queue: DispatchQueue
    private let owned: Owned
    private let state = Mutex(State())

    private init(_ queue: DispatchQueue, _ owned: Owned) {
        self.queue = queue
        self.owned = owned
    }

    /// Opens the file, and reads all its rows.
    static func open(path: String) async throws(DatabaseError) -> (DatabaseQueue, RegistryRows) {
        let queue = DispatchQueue(label: "martlet.database")
        let opened = await withCheckedContinuation {
            (continuation: CheckedContinuation<Result<(DatabaseQueue, RegistryRows), DatabaseError>, Never>)
            in
            queue.async {
                continuation.resume(
                    returning: Result { () throws(DatabaseError) in
                        let database = try RegistryDatabase(path: path)
                        do throws(DatabaseError) {
                            let rows = try database.load()
                            return (DatabaseQueue(queue, Owned(database: database)), rows)
                        } catch {
                            database.close()
                            throw error
                        }
                    })
            }
        }
        return try opened.get()
    }

    /// Why the last batch is not saved yet; nil when all is well.
    var failure: DatabaseError? { state.withLock { $0.failure } }
    /// Batches made durable since the start.
    var batchesSaved: UInt64 { state.withLock { $0.batchesSaved } }

    /// Has rows saved soon, in order. Returns at once; false when too many wait already.
    func post(_ changes: [RegistryAction]) -> Bool {
        let (isTaken, isFirst) = state.withLock { state in
            guard state.waiting.count + changes.count <= DatabaseQueue.waitingMax else {
                return (false, false)
            }
            let isFirst = state.waiting.isEmpty || state.failure != nil
            state.waiting += changes
            return (true, isFirst)
        }
        if isFirst { queue.async { [self] in saveWaiting() } }
        return isTaken
    }

    /// Waits until everything posted is durable; throws when it is not.
    func flush() async throws(DatabaseError) {
        let failure = await withCheckedContinuation {
            (continuation: CheckedContinuation<DatabaseError?, Never>) in
            queue.async { [self] in
                saveWaiting()
                continuation.resume(returning: state.withLock { $0.failure })
            }
        }
        if let failure { throw failure }
    }

    /// Runs statements on the queue, behind what was posted before.
    func run<Value: Sendable>(
        _ body: @escaping @Sendable (SQLiteConnection) throws(DatabaseError) -> Value
    ) async throws(DatabaseError) -> Value {
        let result = await withCheckedContinuation {
            (continuation: CheckedContinuation<Result<Value, DatabaseError>, Never>) in
            queue.async { [self] in
                continuation.resume(
                    returning: Result { () throws(DatabaseError) in try body(owned.database.connection) })
            }
        }
        return try result.get()
    }

    /// Saves what waits, and lets go of the file.
    func close() async -> DatabaseError? {
        await withCheckedContinuation { continuation in
            queue.async { [self] in
                saveWaiting()
                owned.database.close()
                continuation.resume(returning: state.withLock { $0.failure })
            }
        }
    }

    /// On the queue.
    private func saveWaiting() {
        let batch = state.withLock { state in
            defer { state.waiting = [] }
            return state.waiting
        }
        guard !batch.isEmpty else { return }
        do throws(DatabaseError) {
            try owned.database.save(batch)
            state.withLock { state in
                state.failure = nil
                state.batchesSaved += 1
            }
        } catch {
            state.withLock { state in
                state.failure = error
                state.waiting = batch + state.waiting
            }
        }
    }
}
