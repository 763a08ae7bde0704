import CVerbs

/// Requests to be posted with one ringing of the doorbell: linked, in one piece of memory, reused for ever.
///
/// Of the owner's one thread. Nothing here allocates after creation. A completion comes for a request that is
/// signalled, and for any that fails; a signalled one vouches for those before it on the same queue pair.
public struct SendList: ~Copyable, @unchecked Sendable {
    // Safety: memory of its own, reached through the one owner.
    @usableFromInline let requests: UnsafeMutablePointer<ibv_send_wr>
    @usableFromInline let ranges: UnsafeMutablePointer<ibv_sge>
    /// Requests it can hold.
    public let capacity: Int
    @usableFromInline var head = 0
    @usableFromInline var tail = 0
    @usableFromInline var binds = 0

    /// Takes memory for so many requests.
    public init(capacity: Int) {
        precondition(capacity > 0, "a list holds at least one request")
        self.capacity = capacity
        requests = .allocate(capacity: capacity)
        ranges = .allocate(capacity: capacity)
        requests.initialize(repeating: ibv_send_wr(), count: capacity)
        ranges.initialize(repeating: ibv_sge(), count: capacity)
    }

    deinit {
        requests.deallocate()
        ranges.deallocate()
    }

    /// Requests in it that are not posted.
    @inlinable public var count: Int { tail - head }
    /// Requests that can still be appended. Less than `capacity - count` after a partial posting, until it is empty.
    @inlinable public var room: Int { capacity - tail }
    /// Whether there is nothing to post.
    @inlinable public var isEmpty: Bool { head == tail }

    /// Forgets what is in it.
    @inlinable public mutating func removeAll() {
        head = 0
        tail = 0
        binds = 0
    }

    @inlinable @inline(__always)
    mutating func next() -> UnsafeMutablePointer<ibv_send_wr> {
        precondition(tail < capacity, "the send list is full")
        let request = requests + tail
        request.pointee.next = nil
        if tail > head { requests[tail - 1].next = request }
        tail += 1
        return request
    }

    /// Appends a READ of the remote range into local memory.
    @inlinable @inline(__always)
    public mutating func appendRead(
        localAddress: UInt64, lengthBytes: UInt32, localKey: UInt32, remoteAddress: UInt64, remoteKey: UInt32,
        id: UInt64, isSignaled: Bool
    ) {
        let range = ranges + tail
        martlet_wr_rdma(
            next(), range, 0, id, localAddress, lengthBytes, localKey, remoteAddress, remoteKey,
            isSignaled ? IBV_SEND_SIGNALED.rawValue : 0)
    }

    /// Has the last request say when it and all before it are done.
    @inlinable
    public mutating func signalLast() {
        if tail > head { requests[tail - 1].send_flags |= IBV_SEND_SIGNALED.rawValue }
    }

    /// Appends a WRITE of local memory to the remote range. Martlet's data never travels so; tests show it refused.
    public mutating func appendWrite(
        localAddress: UInt64, lengthBytes: UInt32, localKey: UInt32, remoteAddress: UInt64, remoteKey: UInt32,
        id: UInt64, isSignaled: Bool
    ) {
        let range = ranges + tail
        martlet_wr_rdma(
            next(), range, 1, id, localAddress, lengthBytes, localKey, remoteAddress, remoteKey,
            isSignaled ? IBV_SEND_SIGNALED.rawValue : 0)
    }

    /// Appends the binding of a window to the queue pair it is posted to, for reading part of a region.
    ///
    /// Once posted, `newKey` is the window's `remoteKey`. At most one binding of a window in a list.
    public mutating func appendBind(
        _ window: borrowing MemoryWindow, newKey: UInt32, region: borrowing MemoryRegion, address: UInt64,
        lengthBytes: UInt64, access: MemoryAccess = .remoteRead, id: UInt64, isSignaled: Bool
    ) {
        martlet_wr_bind(
            next(), id, window.raw, newKey, region.raw, address, lengthBytes, access.rawValue,
            isSignaled ? IBV_SEND_SIGNALED.rawValue : 0)
        binds += 1
    }

    /// Appends the revocation of a window's remote key.
    public mutating func appendInvalidate(remoteKey: UInt32, id: UInt64, isSignaled: Bool) {
        martlet_wr_invalidate(next(), id, remoteKey, isSignaled ? IBV_SEND_SIGNALED.rawValue : 0)
    }

    /// Takes away the first requests, which were posted; the windows they bind have their new keys from now on.
    @usableFromInline
    mutating func removePosted(_ posted: Int) {
        if binds > 0 {
            for index in head..<head + posted where requests[index].opcode == IBV_WR_BIND_MW {
                martlet_wr_bind_window(requests + index).pointee.rkey = martlet_wr_bind_key(requests + index)
                binds -= 1
            }
        }
        head += posted
        if head == tail { removeAll() }
    }
}

/// What a posting took.
@frozen public struct PostOutcome: Hashable, Sendable {
    /// Requests the device has, from the first: each ends with a completion, its own or that of a later one.
    public let posted: Int
    /// Why the next one was refused: ENOMEM when the queue is full; 0 when all were taken.
    public let errorNumber: CInt

    /// An outcome.
    @inlinable public init(posted: Int, errorNumber: CInt) {
        self.posted = posted
        self.errorNumber = errorNumber
    }

    /// Whether all were taken.
    @inlinable public var isComplete: Bool { errorNumber == 0 }
    /// Whether the rest fits once something has completed: back-pressure, no failure.
    @inlinable public var isFull: Bool { errorNumber == ENOMEM || errorNumber == EAGAIN }
}
