import CLinux
import Synchronization

/// A thread of its own, outside Swift concurrency: it may poll, block and hash as long as it likes.
///
/// It has a name (seen in `top -H` and debuggers, cut to 15 bytes) and, when CPUs are given, runs only there from its
/// first instruction on, so that memory it touches first comes from its node. Joined exactly once; dropping it
/// unjoined traps with its name.
public final class PinnedThread<Result: Sendable>: Sendable {
    /// The thread's name.
    public let name: String
    /// What could not be done, as sentences for the log: e.g. that none of the CPUs is usable here.
    public let report: [String]

    private let start: ThreadStart<Result>
    private let handle: pthread_t
    private let joined = Mutex(false)

    /// Starts the thread. Throws only when the system has no room for another thread.
    public init(
        name: String, cpus: CPUSet? = nil, _ body: @escaping @Sendable () -> Result
    ) throws(Errno) {
        let start = ThreadStart(name: name, body: body)
        var report: [String] = []
        var attempt = Self.create(start, words: cpus?.words ?? [])
        if attempt.failure == EINVAL, let cpus {
            report.append("thread \(name) is not pinned: none of the CPUs \(cpus) is usable by this process")
            attempt = Self.create(start, words: [])
        }
        guard let handle = attempt.handle else { throw Errno(attempt.failure, "pthread_create") }
        self.name = name
        self.report = report
        self.start = start
        self.handle = handle
    }

    /// Waits until the body has returned, and gives its result. Blocks: never from the cooperative pool.
    public func join() -> Result {
        let already = joined.withLock { flag in
            defer { flag = true }
            return flag
        }
        if already { fatalError("thread \(name) was joined twice") }
        let failure = pthread_join(handle, nil)
        guard failure == 0, let result = start.takeResult() else {
            fatalError("thread \(name) cannot be joined: \(Errno(failure, "pthread_join"))")
        }
        return result
    }

    deinit {
        if !joined.withLock({ $0 }) { fatalError("thread \(name) was dropped without being joined") }
    }

    private static func create(
        _ start: ThreadStart<Result>, words: [UInt64]
    ) -> (handle: pthread_t?, failure: Int32) {
        // Safety: the thread takes over the one reference that is retained here; where it does not start, we drop it.
        let retained = Unmanaged<ThreadStartBase>.passRetained(start)
        var handle = pthread_t()
        let result = words.withUnsafeBufferPointer {
            martlet_thread_start(&handle, $0.baseAddress, $0.count, enterThread, retained.toOpaque())
        }
        if result == 0 { return (handle, 0) }
        retained.release()
        return (nil, -result)
    }
}

/// The C entry point: one function for all result types, since C function pointers cannot be generic.
private func enterThread(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    // Safety: the argument is the reference that `create` retained for this thread alone.
    Unmanaged<ThreadStartBase>.fromOpaque(argument!).takeRetainedValue().run()
    return nil
}

/// What a new thread runs.
private class ThreadStartBase {
    func run() { fatalError("a thread start runs its subclass") }
}

// Safety: immutable but for the result, which a mutex guards; a plain Sendable class may not have a superclass.
private final class ThreadStart<Result: Sendable>: ThreadStartBase, @unchecked Sendable {
    private let name: String
    private let body: @Sendable () -> Result
    private let result = Mutex<Result?>(nil)

    init(name: String, body: @escaping @Sendable () -> Result) {
        self.name = name
        self.body = body
    }

    override func run() {
        // The kernel keeps 15 bytes and refuses longer names; a name is a convenience, so its failure is no news.
        _ = pthread_setname_np(pthread_self(), String(decoding: name.utf8.prefix(15), as: UTF8.self))
        // sendfile(2) has no MSG_NOSIGNAL: a reader that has gone must not end the process. Blocked, the signal dies with
        // the thread it is meant for.
        var pipe = sigset_t()
        sigemptyset(&pipe)
        sigaddset(&pipe, SIGPIPE)
        pthread_sigmask(SIG_BLOCK, &pipe, nil)
        let value = body()
        result.withLock { $0 = value }
    }

    func takeResult() -> Result? { result.withLock { $0.take() } }
}
