import Artifacts

/// A piece on its way: asked for, being read, or in a slot.
///
/// ```
///   (absent) ── want ──▶ wanted ── granted ──▶ reading ── readEnded ok ──▶ arrived ── kept ──▶ (present)
///      ▲                   │ busy, absent, time-out    │ readEnded not ok      │ mismatched
///      └───────────────────┴───────────────────────────┴──────────────────────┘
///   originPiece goes straight to arrived. A second copy may run beside the first (end game, or the first's
///   parent was given up); the first to arrive wins.
/// ```
struct Flight: Sendable {
    struct Copy: Sendable {
        enum State: Sendable, Hashable { case wanted, reading }
        let peer: PeerNumber
        var state: State
        /// When it was wanted, then when it was granted.
        var sinceNs: UInt64
        /// When it was wanted.
        let wantedNs: UInt64
        var deadlineNs: UInt64
        /// Its link was given up: it only waits for the read to end, and counts for nothing but its slot.
        var isAbandoned = false
    }

    var copies: [Copy] = []
    /// Set while a worker verifies the piece: where that copy came from.
    var arrived: PieceSource?

    /// Copies that may still bring the piece.
    var liveCopies: Int { copies.reduce(0) { $0 + ($1.isAbandoned ? 0 : 1) } }
    /// Whether the piece is on its way at all.
    var isBusy: Bool { arrived != nil || liveCopies > 0 }
    var isEmpty: Bool { arrived == nil && copies.isEmpty }
}

/// One file of a download.
///
/// ```
///   fetching ── all kept ──▶ publishing ── filePublished ──▶ published
///    ▲   │ digestsWithdrawn      │ fileMismatched
///    │   ▼                       ▼
///    └─ clearing           awaitingDigests ── digestsWithdrawn ──▶ fetching
///       (until no piece of it is being stored, then forget)
/// ```
struct FileState: Sendable {
    enum Phase: Sendable, Hashable {
        /// Pieces are missing.
        case fetching
        /// Digests were withdrawn; pieces of it are still with workers. Nothing is asked for.
        case clearing
        /// Every piece is kept; the whole is being checked.
        case publishing
        /// Done.
        case published
        /// The whole was wrong though every piece matched; new digests are due.
        case awaitingDigests(untilNs: UInt64)
    }
    var phase = Phase.fetching
    /// Pieces not kept.
    var missing: Int
    /// Pieces of it with a worker.
    var verifying = 0
    /// Pieces we read at the origin ourselves.
    var fromOrigin = 0
    /// Pieces that were here before.
    var resumed = 0
    /// Digests were withdrawn while the whole was being checked.
    var withdrawnMeanwhile = false
    /// Some piece digest is known, so something can be asked for.
    var hasDigests = false
    /// Wrong pieces are forgiven until then.
    var forgiveUntilNs: UInt64 = 0
    /// Pieces that differed once when read at the origin.
    var originMismatches: Set<PieceIndex> = []
}
