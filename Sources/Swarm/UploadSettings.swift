/// The bounds and time-outs of a host's upload side. All durations are nanoseconds.
public struct UploadSettings: Sendable, Hashable {
    /// Upload slots: exports and grants at once, over all children. With more each piece takes longer to
    /// get through and on; with 4, those that wait at a busy child's interface leave ours idle (1.08 of the bound against
    /// 1.32, 100 hosts of 100 Gb/s and 30 GB: `martlet simulate`).
    public var slotsMax = 8
    /// Upload slots one child's link may have at once. At least a child's `DownloadSettings.wantsPerParentMax` to be of
    /// use.
    public var slotsPerLinkMax = 4
    /// Sessions one link may have open, over all its downloads.
    public var sessionsPerLinkMax = 1024
    /// Wants that may wait for a slot, over all children.
    public var queuedWantsMax = 256
    /// Wants of one link that may wait for a slot.
    public var queuedWantsPerLinkMax = 16
    /// A want that waited so long is answered with busy. Well under a child's `DownloadSettings.wantTimeoutNs`.
    public var queueWaitNs: UInt64 = 500_000_000
    /// With as many wants waiting as there are slots, and longer than this by the pace of late, another is answered with
    /// busy at once: its child finds a parent with less to do (16 hosts, 512 MiB, 25 MB/s: 1.07 of the bound, 1.13
    /// without).
    public var queueGoalNs: UInt64 = 100_000_000
    /// How long a child may read under a grant; then it is revoked.
    public var leaseNs: UInt64 = 30_000_000_000
    /// Offences (leases not released in time, wants beyond the rules) after which a link is dropped; a good release
    /// takes one off.
    public var offencesMax = 3
    /// New pieces are told at the latest so long after they were kept …
    public var haveWaitNs: UInt64 = 5_000_000
    /// … or once so many wait.
    public var haveBatchMax = 64
    /// Whether a new piece is told to one child first, and to the others once that child has read it: a source that
    /// many wait for then sends each piece once, and the children the copies. nil: told to all at once. Otherwise how
    /// long the first child has to begin reading before all are told.
    public var firstChildWaitNs: UInt64?
    /// How long after the first child has read a new piece the others are told (it verifies the piece and tells them
    /// itself).
    public var firstChildMarginNs: UInt64 = 500_000_000
    /// Where links are slow both are longer: so many times what a piece takes a child here on average.
    public var firstChildTurns: UInt64 = 4
    /// Bounds on what a busy answer asks the child to wait.
    public var retryMinNs: UInt64 = 10_000_000
    /// See `retryMinNs`.
    public var retryMaxNs: UInt64 = 2_000_000_000

    /// An ordinary peer.
    public static let peer = UploadSettings()

    /// A seed peer: uploading is what it is there for.
    public static let seed: UploadSettings = {
        var settings = UploadSettings()
        settings.slotsMax = 16
        settings.slotsPerLinkMax = 8
        settings.queuedWantsMax = 1024
        settings.firstChildWaitNs = 500_000_000
        return settings
    }()

    /// The defaults above, those of a peer.
    public init() {}

    /// Traps on settings that can never serve anyone.
    func check() {
        precondition(
            slotsMax > 0 && slotsPerLinkMax > 0 && sessionsPerLinkMax > 0,
            "an upload side needs slots and sessions")
        precondition(
            leaseNs > 0 && offencesMax > 0 && haveBatchMax > 0,
            "an upload side needs leases, patience and batches")
        precondition(retryMinNs > 0 && retryMaxNs >= retryMinNs, "busy answers need a wait")
    }
}

/// How the upload side is doing, for metrics and for the scheduler's load view.
public struct UploadUsage: Sendable, Hashable {
    /// Upload slots there are.
    public var slotsMax = 0
    /// Exports and grants now.
    public var slotsTaken = 0
    /// Wants waiting for a slot now.
    public var wantsQueued = 0
    /// Sessions open now.
    public var sessions = 0
    /// Grants sent so far.
    public var granted: UInt64 = 0
    /// Wants answered with busy so far.
    public var turnedAway: UInt64 = 0
    /// Leases that ran out so far.
    public var leasesLost: UInt64 = 0
    /// Links dropped for offences so far.
    public var linksDropped: UInt64 = 0
    /// All zero.
    public init() {}
}
