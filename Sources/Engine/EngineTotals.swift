import Synchronization
import Transport

/// What a host's engine has done and is doing, for metrics: a copy taken now and then, readable from any thread.
public struct EngineTotals: Sendable {
    /// Bytes of all downloads since the start.
    public var traffic = Traffic()
    /// Bytes thrown away: wrong, or a second copy.
    public var wastedBytes: UInt64 = 0
    /// Downloads that are not over.
    public var downloadsRunning = 0
    /// Downloads whose files are all published.
    public var downloadsFinished: UInt64 = 0
    /// Downloads that ended with a reason.
    public var downloadsFailed: UInt64 = 0
    /// Links over which others read from us.
    public var linksInbound = 0
    /// Links over which we read from others.
    public var linksOutbound = 0
    /// Reads in the hands of rails.
    public var readsRunning = 0
    /// How often reads of a host moved from one transport to another.
    public var transportChanges: [TransportChange: UInt64] = [:]
    /// Granted reads that wait for a slot.
    public var readsWaitingForSlots = 0
    /// Pieces exported to children.
    public var uploadsRunning = 0
    /// Memory of pieces kept ready for serving, whether read at the moment or not.
    public var residentBytes = 0
    /// Pieces kept ready as they arrived, without a copy; pieces read from the store for it; exports of pieces that were
    /// ready.
    public var residentKept: UInt64 = 0
    /// See `residentKept`.
    public var residentLoaded: UInt64 = 0
    /// See `residentKept`.
    public var residentHits: UInt64 = 0
    /// Origin leases.
    public var leasesHeld = 0
}

/// Reads moving from one transport to another.
public struct TransportChange: Hashable, Sendable {
    /// What they went over.
    public let from: TransportKind
    /// What they go over now.
    public let to: TransportKind
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
