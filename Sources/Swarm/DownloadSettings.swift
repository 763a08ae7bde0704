/// What the host is to its cluster, as far as a download cares.
public enum DownloadRole: Sendable, Hashable {
    /// A seed peer: first to read the origin; takes a piece from another seed as readily as from a peer.
    case seed
    /// An ordinary peer: leaves seeds to those pieces only they have, where it can.
    case peer
}

/// The bounds and time-outs of one download. All durations are nanoseconds.
public struct DownloadSettings: Sendable, Hashable {
    /// Bytes of slots that may be in flight at first: from a piece's want until it is kept or discarded. 256 MiB: 64
    /// pieces of 4 MiB.
    public var budgetBytes = 256 << 20
    /// Of the budget only so much is used as comes in this time by the rate found so far: pieces asked for far ahead are
    /// pieces that others, or other parents, could have brought sooner.
    public var inFlightNs: UInt64 = 500_000_000
    /// But never less than so many pieces.
    public var inFlightPiecesMin = 16
    /// Links up or coming up at once.
    public var linksMax = 32
    /// Links coming up at once.
    public var connectsMax = 8
    /// A link asked for must be up or down by then.
    public var connectTimeoutNs: UInt64 = 10_000_000_000
    /// Failures in a row after which a parent is parked until a new neighbourhood names it again.
    public var connectAttemptsMax = 8
    /// First wait before a reconnect; it doubles each time, with jitter of up to half of it.
    public var backoffNs: UInt64 = 200_000_000
    /// Longest wait before a reconnect.
    public var backoffMaxNs: UInt64 = 20_000_000_000
    /// Files opened at once on one link. The parent's own bound (`UploadSettings.sessionsPerLinkMax`) is over all our
    /// downloads.
    public var sessionsPerLinkMax = 64
    /// A parent that was told of our interest must answer with a map (or `unknown`) by then.
    public var mapTimeoutNs: UInt64 = 10_000_000_000
    /// First wait before a file unknown to a parent is opened there again; doubles up to `backoffMaxNs`.
    public var unknownRetryNs: UInt64 = 500_000_000
    /// Wants and reads together that one parent has of us, when there are few.
    public var wantsPerParentMax = 4
    /// The same when there are many.
    public var wantsPerParentMin = 2
    /// Wants and reads that parents in other racks have of us, shared out among those and parents in our own: with `n`
    /// of these up it is this over `1 + n`, at least `farWantsMin`. Without any there is no limit.
    public var farWantsMax = 16
    /// See `farWantsMax`.
    public var farWantsMin = 2
    /// The same for a parent on our own machine, whose bytes cost the network nothing.
    public var wantsPerNeighbourMax = 16
    /// How long others are not asked while a parent on our own machine is on its way (link and first map).
    public var neighbourWaitNs: UInt64 = 1_000_000_000
    /// A want must be answered by then; it is withdrawn otherwise.
    public var wantTimeoutNs: UInt64 = 5_000_000_000
    /// Wants in a row that a parent may leave unanswered before its link is dropped.
    public var wantTimeoutsMax = 3
    /// A read must have ended by then (or by its grant's lease, if sooner); the link is dropped otherwise.
    public var readTimeoutNs: UInt64 = 30_000_000_000
    /// The same for reads that still run when the download ends early.
    public var endingReadTimeoutNs: UInt64 = 5_000_000_000
    /// Reads in a row that may fail on a link before it is dropped.
    public var readFailuresMax = 3
    /// Bounds on what a busy parent may ask us to wait.
    public var busyRetryMinNs: UInt64 = 5_000_000
    /// See `busyRetryMinNs`.
    public var busyRetryMaxNs: UInt64 = 5_000_000_000
    /// Pieces that a parent may deny after having them in its map, before its link is dropped.
    public var absentLiesMax = 3
    /// How many picks in a thousand choose a parent at random, so that a parent that became fast is noticed.
    public var probesPerMille = 30
    /// The end game begins when at most so many pieces are missing and all of them are in flight; it bounds what it can
    /// waste.
    public var endGamePiecesMax = 8
    /// How long a piece is in flight before the end game asks a second parent for it.
    public var endGameAgeNs: UInt64 = 500_000_000
    /// How long a file that does not match its published digest waits for new piece digests.
    public var newDigestsTimeoutNs: UInt64 = 60_000_000_000
    /// How long after digests were withdrawn a wrong piece is not held against the parent that sent it (it may not know
    /// yet).
    public var withdrawalGraceNs: UInt64 = 10_000_000_000

    /// The defaults above.
    public init() {}

    /// Traps on settings that can never make progress.
    func check() {
        precondition(
            linksMax > 0 && connectsMax > 0 && sessionsPerLinkMax > 0, "a download needs links and sessions")
        precondition(wantsPerParentMax > 0 && budgetBytes >= 0, "a download needs wants and a budget")
        precondition(
            connectAttemptsMax > 0 && wantTimeoutsMax > 0 && readFailuresMax > 0 && absentLiesMax > 0,
            "a parent may fail at least once")
        precondition(backoffNs > 0 && backoffMaxNs >= backoffNs, "reconnects need a back-off")
        precondition(busyRetryMinNs > 0 && busyRetryMaxNs >= busyRetryMinNs, "busy parents need a wait")
    }
}
