import Glibc
import HTTP

/// The file origin's own thread: runs jobs one after another, in the order they came.
///
/// Safety: `state` is touched under `mutex` only; mutex and condition live as long as the object, which the thread
/// holds.
final class FileThread: @unchecked Sendable {
    typealias Job = @Sendable () -> Void

    private struct State {
        var jobs: [Job] = []
        var isStopped = false
    }
    private var state = State()
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let arrived = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

    init() {
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(arrived, nil)
    }

    deinit {
        pthread_cond_destroy(arrived)
        pthread_mutex_destroy(mutex)
        arrived.deallocate()
        mutex.deallocate()
    }

    /// Starts the thread; false when the system gives none.
    func start() -> Bool { NamedThread.start("martlet-files") { self.run() } }

    /// Leaves a job; false when the thread was told to stop, and the job is not taken.
    func post(_ job: @escaping Job) -> Bool {
        locked {
            guard !state.isStopped else { return false }
            state.jobs.append(job)
            pthread_cond_signal(arrived)
            return true
        }
    }

    /// Ends the thread once it has run what was left before.
    func stop() {
        locked {
            state.isStopped = true
            pthread_cond_signal(arrived)
        }
    }

    private func run() {
        while true {
            let jobs: [Job]? = locked {
                // Idle: without a limit, because nothing is awaited. `stop` wakes it as a job does.
                while state.jobs.isEmpty && !state.isStopped { pthread_cond_wait(arrived, mutex) }
                let taken = state.jobs
                state.jobs = []
                return taken.isEmpty ? nil : taken
            }
            guard let jobs else { return }
            for job in jobs { job() }
        }
    }

    private func locked<Result>(_ body: () -> Result) -> Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return body()
    }
}
