import CLinux
import Synchronization

/// The signals that ask a server to stop, given to a callback on a thread of their own.
///
/// SIGINT and SIGTERM are watched, SIGPIPE is ignored (every socket call says EPIPE anyway). The handler itself writes
/// one byte to a pipe, so the callback may do what it likes. One watch at a time in a process.
public final class SignalWatch: Sendable {
    /// A signal that was sent to us.
    public enum Signal: Sendable, Hashable {
        /// SIGINT: Ctrl-C.
        case interrupt
        /// SIGTERM: the service manager.
        case terminate
    }

    private static let active = Atomic<Bool>(false)
    // As long-lived as the process: a handler may still be about to write when its watch closes.
    private static let pipe = Result { () throws(Errno) in try SignalPipe() }

    private let thread: PinnedThread<Void>
    private let pipe: SignalPipe
    private let closed = Mutex(false)

    /// Starts watching. The callback runs once for each signal that arrives, one after the other.
    public init(_ callback: @escaping @Sendable (Signal) -> Void) throws(Errno) {
        guard
            Self.active.compareExchange(expected: false, desired: true, ordering: .sequentiallyConsistent)
                .exchanged
        else { fatalError("signals are watched already: a process has one SignalWatch") }
        do throws(Errno) {
            let pipe = try Self.pipe.get()
            thread = try PinnedThread(name: "signals") { deliverSignals(from: pipe, to: callback) }
            self.pipe = pipe
            _ = martlet_signal_ignore(SIGPIPE)
            for number in [SIGINT, SIGTERM] { _ = martlet_signal_forward(number, pipe.writer) }
        } catch {
            Self.active.store(false, ordering: .sequentiallyConsistent)
            throw error
        }
    }

    /// Ends watching: the signals do again what they do by default, and the callback does not run any more.
    ///
    /// Waits for a callback that is running; called from the callback itself it would wait for ever. A second time does
    /// nothing.
    public func close() {
        let already = closed.withLock { flag in
            defer { flag = true }
            return flag
        }
        if already { return }
        for number in [SIGINT, SIGTERM] { _ = martlet_signal_forward(number, -1) }
        pipe.end()
        thread.join()
        Self.active.store(false, ordering: .sequentiallyConsistent)
    }

    deinit { close() }
}

/// What the handlers write to and the thread reads from.
private struct SignalPipe: Sendable {
    let reader: CInt
    let writer: CInt

    init() throws(Errno) {
        var ends: [CInt] = [-1, -1]
        // Non-blocking: a handler must not wait for a thread that it may be running on.
        try retrying("pipe2") { pipe2(&ends, O_CLOEXEC | O_NONBLOCK) }
        (reader, writer) = (ends[0], ends[1])
    }

    /// The next signal's number, or zero at the watch's end. Waits as long as it takes: that is the thread's purpose.
    func next() -> UInt8 {
        var number: UInt8 = 0
        while read(reader, &number, 1) != 1 {
            var entry = pollfd(fd: reader, events: Int16(POLLIN), revents: 0)
            _ = poll(&entry, 1, -1)
        }
        return number
    }

    /// Writes the zero that ends the thread, after waiting for room.
    func end() {
        var zero: UInt8 = 0
        while write(writer, &zero, 1) != 1 {
            var entry = pollfd(fd: writer, events: Int16(POLLOUT), revents: 0)
            _ = poll(&entry, 1, -1)
        }
    }
}

/// The thread's body.
private func deliverSignals(from pipe: SignalPipe, to callback: @Sendable (SignalWatch.Signal) -> Void) {
    while true {
        switch CInt(pipe.next()) {
        case 0: return
        case SIGINT: callback(.interrupt)
        case SIGTERM: callback(.terminate)
        default: break
        }
    }
}
