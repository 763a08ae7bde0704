import CLinux

/// A counter that wakes a waiting thread: eventfd(2), non-blocking, for a poll loop's mailbox.
///
/// `signal` is safe from any thread and never blocks; one thread polls `raw` for reading and calls `clear`.
public struct EventCounter: ~Copyable, Sendable {
    private let descriptor: FileDescriptor

    /// Makes a counter at zero.
    public init() throws(Errno) {
        descriptor = try FileDescriptor(eventfd(0, CInt(EFD_CLOEXEC) | CInt(EFD_NONBLOCK)), "eventfd")
    }

    /// The descriptor, lent: readable while the count is not zero.
    public var raw: CInt { descriptor.raw }

    /// Adds one: whoever waits wakes up. Signals that nobody cleared yet run together.
    public func signal() {
        // The one other failure is EAGAIN, at 2⁶⁴-2 signals: readable all the same.
        while eventfd_write(descriptor.raw, 1) != 0 && martlet_errno() == EINTR {}
    }

    /// Sets the count to zero and gives what it was; 0 when there was no signal.
    @discardableResult
    public func clear() -> UInt64 {
        var count: eventfd_t = 0
        while eventfd_read(descriptor.raw, &count) != 0 {
            if martlet_errno() != EINTR { return 0 }
        }
        return UInt64(count)
    }

    /// Waits until there is a signal or the time is over; says whether there is one. Does not clear. Blocks.
    public func wait(timeoutMs: Int32) -> Bool {
        var entry = pollfd(fd: descriptor.raw, events: Int16(POLLIN), revents: 0)
        let deadlineNs = MonotonicClock.nowNs() + UInt64(max(0, timeoutMs)) * 1_000_000
        var leftMs = timeoutMs
        while true {
            let ready = poll(&entry, 1, leftMs)
            if ready >= 0 || martlet_errno() != EINTR { return ready > 0 }
            let nowNs = MonotonicClock.nowNs()
            leftMs = nowNs >= deadlineNs ? 0 : Int32((deadlineNs - nowNs) / 1_000_000)
        }
    }
}
