/// What a transport has done since it was made. A value: the rail hands copies to other threads.
public struct TransportCounters: Sendable, Hashable {
    /// Bytes of pieces that arrived in registered memory.
    public var receivedBytes: UInt64 = 0
    /// Bytes of pieces given to readers.
    public var sentBytes: UInt64 = 0
    /// Calls into the kernel on the data path (send, receive, wait).
    public var syscalls: UInt64 = 0
    /// Bytes of pieces that a CPU of this host copied, in user space or in the kernel for us; twice where twice. As far
    /// as the transport knows: a loopback's own copies are not among them.
    public var copiedBytes: UInt64 = 0
    /// Times work requests were handed to a NIC: calls of ibv_post_send. 0 where there is none.
    public var doorbells: UInt64 = 0
    /// Work requests handed to a NIC. 0 where there is none.
    public var workRequests: UInt64 = 0
    /// Reads taken by `post`.
    public var readsPosted: UInt64 = 0
    /// Reads whose bytes all arrived.
    public var readsCompleted: UInt64 = 0
    /// Reads that ended otherwise.
    public var readsFailed: UInt64 = 0
    /// Reads of others that we served whole.
    public var readsServed: UInt64 = 0
    /// Reads of others that we refused: unknown or revoked key, or outside its range.
    public var readsDenied: UInt64 = 0
    /// Messages given to links.
    public var messagesSent: UInt64 = 0
    /// Messages handed over by `poll`.
    public var messagesReceived: UInt64 = 0
    /// Links that came up.
    public var linksUp: UInt64 = 0
    /// Links that went down, or never came up although we asked.
    public var linksDown: UInt64 = 0
    /// Connections refused to others: wrong cluster, bad handshake, no room.
    public var handshakesRefused: UInt64 = 0

    /// Times a lost device was opened again.
    public var deviceReopenings: UInt64 = 0

    /// All zero.
    public init() {}
}
