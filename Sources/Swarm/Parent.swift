import Artifacts

/// A parent as a download sees it.
///
/// ```
///              connect            linkUp
///   idle ───────────────▶ connecting ───▶ up ──── drop (silent, wrong) ──▶ dropping
///    ▲                        │ linkDown  │ linkDown                          │ linkDown
///    │ back-off over          ▼           ▼                                   ▼
///   waiting ◀──────────────────────────────────────────────────────────────── ●
///    (too many failures in a row: parked, until a new neighbourhood names it)
///   any ── sent wrong bytes ──▶ excluded (for the rest of the download)
/// ```
struct Parent: Sendable {
    enum State: Sendable, Hashable {
        /// No link, none asked for. May become connecting when a link is free.
        case idle
        /// `connect` was asked. May become up, waiting (down) or dropping (time-out).
        case connecting(deadlineNs: UInt64)
        /// The link is up. May become waiting (down) or dropping.
        case up
        /// `drop` was asked; becomes waiting at `linkDown`.
        case dropping
        /// On probation until the time given, then idle.
        case waiting(untilNs: UInt64)
        /// Failed too often; a new neighbourhood that names it makes it waiting once more.
        case parked
        /// Sent wrong bytes. Terminal.
        case excluded
    }

    /// Our interest in one file there.
    struct Session: Sendable, Hashable {
        enum State: Sendable, Hashable {
            /// `open` was asked; the map is due.
            case opening(deadlineNs: UInt64)
            /// The map came.
            case open
            /// The parent does not hold it; asked again at the time given.
            case unknown(retryAtNs: UInt64)
            /// To be asked again as soon as there is room.
            case again
        }
        var state: State
        /// How often in a row the parent did not know it.
        var unknowns = 0

        /// Whether something happens to it at a time.
        var isTimed: Bool {
            switch state {
            case .opening, .unknown: true
            case .open, .again: false
            }
        }

        /// Whether there is a session on the link.
        var isOnLink: Bool {
            switch state {
            case .opening, .open: true
            case .unknown, .again: false
            }
        }
    }

    let peer: PeerNumber
    var isSeed: Bool
    var distance: UInt8
    var state = State.idle
    /// Not in the neighbourhood any more: left once its reads ended.
    var departing = false
    /// Which pieces it has, by its own word. Empty unless up.
    var has: PieceBits
    /// Keyed by file; iterate only where the order does not show.
    var sessions: [FileIndex: Session] = [:] {
        didSet { timedSessions = sessions.values.reduce(0) { $0 + ($1.isTimed ? 1 : 0) } }
    }
    /// Sessions that wait for time.
    private(set) var timedSessions = 0
    /// Something changed that may let another file be opened here.
    var sessionsDirty = false
    /// Wants not answered and reads not ended.
    var wants = 0
    var reads = 0
    /// Reads of a link given up that have not ended: nothing new is asked before they did.
    var staleReads = 0
    /// Nothing is asked before then: it said busy, or did not answer.
    var pausedUntilNs: UInt64?
    /// Decayed average of bytes a second over its reads; nil before the first.
    var rate: Double?
    /// Links failed in a row without a kept piece between.
    var attempts = 0
    /// In a row, on this link.
    var wantTimeouts = 0
    var readFailures = 0
    var lies = 0
    /// It denied a piece: its maps are asked for afresh once nothing else is asked of it.
    var hasDenied = false

    init(_ offer: ParentOffer, pieceCount: Int) {
        peer = offer.peer
        isSeed = offer.isSeed
        distance = offer.distance
        has = PieceBits(capacity: pieceCount)
    }

    /// When something of it is over its limit: its link, its pause, a session.
    var dueNs: UInt64? {
        var earliest = pausedUntilNs ?? .max
        switch state {
        case .connecting(let untilNs), .waiting(let untilNs): earliest = min(earliest, untilNs)
        case .up where timedSessions > 0:
            for session in sessions.values {
                switch session.state {
                case .opening(let atNs), .unknown(let atNs): earliest = min(earliest, atNs)
                case .open, .again: break
                }
            }
        case .idle, .up, .dropping, .parked, .excluded: break
        }
        return earliest == .max ? nil : earliest
    }

    var outstanding: Int { wants + reads }
    var isUp: Bool { state == .up }
    /// Whether a link is up or coming up.
    var hasLink: Bool {
        switch state {
        case .connecting, .up: true
        case .idle, .dropping, .waiting, .parked, .excluded: false
        }
    }

    /// Whether it is on our own machine: read over the local transport, or at least over no cable.
    var isNeighbour: Bool { distance == 0 }

    /// How long the next piece would take there by its rate, per byte; 0 before its first read, so that it is tried.
    var turnNs: Double { rate.map { Double(outstanding + 1) / $0 } ?? 0 }

    /// Whether its bytes cross a rack's uplink. A seed is asked for what only it has, however far it is.
    var isFar: Bool { distance >= 2 && !isSeed }

    /// Whether its first map is still to come: the link is not up yet, or has no answer to an open so far.
    var isArriving: Bool {
        switch state {
        case .idle, .connecting: true
        case .up: sessions.isEmpty || !sessions.values.contains { $0.state == .open || $0.unknowns > 0 }
        case .dropping, .waiting, .parked, .excluded: false
        }
    }

    /// Whether another want may go there: a parent on probation gets one at a time.
    ///
    /// - Parameter wantsMax: of a parent in good standing that is not on our own machine.
    func mayBeAsked(_ settings: DownloadSettings, wantsMax: Int) -> Bool {
        let most = isNeighbour ? settings.wantsPerNeighbourMax : wantsMax
        return isUp && !departing && pausedUntilNs == nil && staleReads == 0
            && outstanding < (attempts > 0 || wantTimeouts > 0 ? 1 : most)
    }
}
