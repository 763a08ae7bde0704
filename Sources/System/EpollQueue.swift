import CLinux

/// The kernel's list of descriptors that are ready: epoll(7), level-triggered.
///
/// One thread waits; each descriptor carries the owner's token. Its own descriptor is readable when something is ready,
/// so that queues nest.
public struct EpollQueue: ~Copyable, Sendable {
    /// What a descriptor is watched for, and what is ready.
    public struct Interest: OptionSet, Sendable, Hashable {
        /// The kernel's bits.
        public let rawValue: UInt32
        /// Wraps the kernel's bits.
        public init(rawValue: UInt32) { self.rawValue = rawValue }
        /// Bytes, connections or an end of stream can be read.
        public static let reading = Interest(rawValue: EPOLLIN.rawValue)
        /// Bytes can be written, or a connect has ended.
        public static let writing = Interest(rawValue: EPOLLOUT.rawValue)
        /// Reported always: the connection is broken or closed on both sides.
        public static let broken = Interest(rawValue: EPOLLERR.rawValue | EPOLLHUP.rawValue)
    }

    /// A descriptor that is ready.
    public struct Ready: Sendable {
        /// The owner's mark.
        public let token: UInt64
        /// What is ready.
        public let interest: Interest
    }

    /// The most a wait reports.
    public static let readyMax = 64

    private let descriptor: FileDescriptor

    /// Opens an empty queue.
    public init() throws(Errno) {
        descriptor = FileDescriptor(owning: try Sockets.checked(martlet_epoll_open(), "epoll_create1"))
    }

    /// The queue's own descriptor, lent.
    public var raw: CInt { descriptor.raw }

    /// Watches a descriptor.
    public func add(_ watched: CInt, _ interest: Interest, token: UInt64) throws(Errno) {
        try set(EPOLL_CTL_ADD, watched, interest, token)
    }

    /// Changes what a watched descriptor is watched for.
    public func change(_ watched: CInt, _ interest: Interest, token: UInt64) throws(Errno) {
        try set(EPOLL_CTL_MOD, watched, interest, token)
    }

    /// Stops watching; must come before the descriptor's close when it has duplicates.
    public func remove(_ watched: CInt) { _ = martlet_epoll_set(raw, EPOLL_CTL_DEL, watched, 0, 0) }

    /// Appends what is ready to `ready` (at most `readyMax`), waiting up to `limitMs` (0: not at all, nil: for ever).
    public func wait(limitMs: Int?, into ready: inout [Ready]) throws(Errno) {
        try withUnsafeTemporaryAllocation(of: martlet_ready.self, capacity: Self.readyMax) {
            buffer throws(Errno) in
            let limit = limitMs.map { CInt(clamping: $0) } ?? -1
            let found = try Sockets.checked(
                martlet_epoll_wait(raw, buffer.baseAddress!, CInt(Self.readyMax), limit), "epoll_wait")
            for place in 0..<Int(found) {
                ready.append(
                    Ready(token: buffer[place].token, interest: Interest(rawValue: buffer[place].events)))
            }
        }
    }

    private func set(_ operation: CInt, _ watched: CInt, _ interest: Interest, _ token: UInt64) throws(Errno) {
        _ = try Sockets.checked(
            martlet_epoll_set(raw, operation, watched, interest.rawValue, token), "epoll_ctl")
    }
}

/// A descriptor that one thread makes readable to wake another: eventfd(2).
public struct EventDescriptor: ~Copyable, Sendable {
    private let descriptor: FileDescriptor

    /// Opens one that is not signalled.
    public init() throws(Errno) {
        descriptor = FileDescriptor(owning: try Sockets.checked(martlet_eventfd_open(), "eventfd"))
    }

    /// The descriptor to watch, lent.
    public var raw: CInt { descriptor.raw }

    /// Makes it readable. Any thread.
    public func signal() {
        var one: UInt64 = 1
        // A full counter is readable already.
        _ = write(raw, &one, 8)
    }

    /// Makes it unreadable again.
    public func clear() {
        var count: UInt64 = 0
        _ = read(raw, &count, 8)
    }
}
