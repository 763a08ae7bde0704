import Synchronization

/// What a host's engine has done and is doing, for metrics: a copy taken now and then, readable from any thread.
public struct EngineTotals: Sendable {
    /// Bytes of all downloads since the start.
    public var traffic = Traffic()
    /// Bytes thrown away: wrong, or a second copy.
    public var wastedBytes: UInt64 = 0
    public var downloadsRunning = 0
    public var downloadsFinished: UInt64 = 0
    public var downloadsFailed: UInt64 = 0
    public var linksInbound = 0
    public var linksOutbound = 0
    public var readsRunning = 0
    public var readsWaitingForSlots = 0
    public var uploadsRunning = 0
    public var leasesHeld = 0
}

/// Where the engine's thread leaves its totals.
public final class EngineTotalsBox: Sendable {
    private let totals = Mutex(EngineTotals())
    /// An empty box.
    public init() {}
    /// The latest copy, at most 100 ms older than the last thing that happened.
    public var value: EngineTotals { totals.withLock { $0 } }
    func put(_ new: EngineTotals) { totals.withLock { $0 = new } }
}
