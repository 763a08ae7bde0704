/// How a scheduler is doing: gauges of now, and counters since its start.
public struct SchedulerSnapshot: Sendable, Hashable {
    /// Peers with a stream.
    public var peersAttached = 0
    /// Seed peers with a stream.
    public var seedsAttached = 0
    /// Hosts whose stream is lost and whose leases are still theirs.
    public var hostsInGrace = 0
    /// Hosts that were blamed and are nobody's parent for now.
    public var hostsExcluded = 0
    /// Models known.
    public var models = 0
    /// Models somebody downloads.
    public var modelsActive = 0
    /// Tasks known.
    public var tasks = 0
    /// Leases that are out.
    public var leases = 0
    /// Whether the scheduler only listens, having just started.
    public var learning = false

    /// Leases granted.
    public var leasesGranted: UInt64 = 0
    /// Pieces in them.
    public var piecesLeased: UInt64 = 0
    /// Leases taken over from hosts after a restart of the scheduler.
    public var leasesAdopted: UInt64 = 0
    /// Leases whose holder was lost, left or was excluded.
    public var leasesLost: UInt64 = 0
    /// Leases returned with a failure.
    public var leasesFailed: UInt64 = 0
    /// Orders to resolve a reference.
    public var resolveOrders: UInt64 = 0
    /// Resolve requests answered.
    public var resolveReplies: UInt64 = 0
    /// Of those, answered with what was known last because the origin could not be asked.
    public var resolveRepliesStale: UInt64 = 0
    /// Neighbourhoods sent.
    public var neighbourhoods: UInt64 = 0
    /// Digests sent.
    public var digestsSent: UInt64 = 0
    /// Tasks whose digests were withdrawn.
    public var digestsWithdrawn: UInt64 = 0
    /// Accusations.
    public var blames: UInt64 = 0
    /// Models refused.
    public var refusals: UInt64 = 0
    /// Models that came from another scheduler, or went to one.
    public var modelsMoved: UInt64 = 0
    /// Shares of the origin's budget that hosts were told.
    public var originShares: UInt64 = 0
    /// Events of sessions that were over, and messages that made no sense.
    public var dropped: UInt64 = 0

    /// All zero.
    public init() {}
}
