import Artifacts

/// A lease of the origin in this download's hands.
///
/// ```
///   originLease ──▶ idle ── a run of missing pieces ──▶ reading ── originEnded ──▶ idle …
///                    │ all kept, or failed and nothing with a worker     │ leaseEnded, download ends: stopOrigin
///                    ▼                                                   ▼
///              (given back)                                           stopping ── originEnded ──▶ (gone)
/// ```
struct OriginLease: Sendable {
    enum Phase: Sendable, Hashable {
        /// Nothing is being read under it.
        case idle
        /// `fetchOrigin` was asked for these piece numbers.
        case reading(Range<Int>)
        /// `stopOrigin` was asked; what still arrives is discarded.
        case stopping
    }
    let id: LeaseID
    let file: FileIndex
    /// Piece numbers.
    let range: Range<Int>
    /// The origin can only be read as one stream.
    let isWhole: Bool
    var phase = Phase.idle
    /// Why it will be given back undone.
    var failure: String?
    /// The scheduler took it back: nothing is returned.
    var isRevoked = false
}
