import Artifacts

/// A parent as its download knows it: a small number its interpreter gives each host, stable for the process.
public struct PeerNumber: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// The number.
    public let value: UInt32
    /// Wraps a number.
    @inlinable
    public init(_ value: some BinaryInteger) { self.value = UInt32(value) }
    /// By number.
    public static func < (left: PeerNumber, right: PeerNumber) -> Bool { left.value < right.value }
    /// `peer 7`.
    public var description: String { "peer \(value)" }
}

/// A grant of a parent, as its interpreter filed it (it keeps the key).
public struct GrantID: Hashable, Sendable {
    /// Unique for the process.
    public let value: UInt64
    /// Wraps a number.
    public init(_ value: UInt64) { self.value = value }
}

/// A lease of the origin, unique in the cluster.
public struct LeaseID: Hashable, Sendable, CustomStringConvertible {
    /// The scheduler's number.
    public let value: UInt64
    /// Wraps a number.
    public init(_ value: UInt64) { self.value = value }
    /// `lease 7`.
    public var description: String { "lease \(value)" }
}

/// A member of the neighbourhood the scheduler gave us.
public struct ParentOffer: Hashable, Sendable {
    /// Which peer.
    public let peer: PeerNumber
    /// Whether it is a seed peer.
    public let isSeed: Bool
    /// Distance class: 0 same host, 1 same rack, 2 same zone, 3 farther.
    public let distance: UInt8
    /// Describes an offer.
    public init(peer: PeerNumber, isSeed: Bool, distance: UInt8) {
        self.peer = peer
        self.isSeed = isSeed
        self.distance = distance
    }
}

/// Where a piece came from.
public enum PieceSource: Hashable, Sendable {
    /// A parent.
    case peer(PeerNumber)
    /// The origin, under a lease.
    case origin(LeaseID)
}

/// What can happen to a download. Times are nanoseconds of the interpreter's clock and come with every event.
public enum DownloadEvent: Sendable {
    /// The neighbourhood is now this; parents not in it any more are left once their running reads end.
    case neighbourhood([ParentOffer])
    /// A link asked for is up, or went down.
    case linkUp(PeerNumber)
    case linkDown(PeerNumber)
    /// Another link to the same host brought wrong bytes: nothing is taken over this one either.
    case banned(PeerNumber)
    /// A parent's piece map of a file we opened (union with what we knew), or news of it.
    case map(PeerNumber, FileIndex, PieceSet)
    case have(PeerNumber, FileIndex, [PieceIndex])
    /// The parent does not hold this file's task.
    case unknown(PeerNumber, FileIndex)
    /// Answers to a want.
    case granted(PeerNumber, PieceAddress, GrantID, leaseUntilNs: UInt64)
    case busy(PeerNumber, PieceAddress, retryAfterNs: UInt64)
    case absent(PeerNumber, PieceAddress)
    /// A read ended (all its parts); `ok` false when the bytes are not all there.
    case readEnded(PeerNumber, PieceAddress, ok: Bool)
    /// A read ended unread in favour of another link to the same parent: instead of `readEnded`, and nobody's fault.
    case readCut(PeerNumber, PieceAddress)
    /// Piece digests from the scheduler, and their withdrawal (the reader they came from was wrong): verified pieces of
    /// the file are verified again against the new ones.
    case digests(FileIndex, [PieceIndex: Digest])
    case digestsWithdrawn(FileIndex)
    /// We may read these pieces at the origin; `whole` when the origin cannot do ranges and must be read as one stream.
    case originLease(LeaseID, FileIndex, Range<UInt32>, whole: Bool)
    /// The lease is no longer ours: stop reading the origin under it.
    case leaseEnded(LeaseID)
    /// One piece of a lease is in its slot.
    case originPiece(LeaseID, PieceAddress)
    /// Reading under the lease ended: nil for all pieces delivered, otherwise the origin's sentence.
    case originEnded(LeaseID, failure: String?, retryable: Bool)
    /// A worker compared (where an expected digest was given), then stored and journalled the piece.
    case kept(PieceAddress, digest: Digest)
    /// A worker found another digest than the expected one; nothing was stored.
    case mismatched(PieceAddress)
    /// A worker could not store (disk full, I/O error): its sentence.
    case keepFailed(PieceAddress, reason: String)
    /// The whole file's published digest was checked and the file published, or is wrong.
    case filePublished(FileIndex)
    case fileMismatched(FileIndex)
    case publishFailed(FileIndex, reason: String)
    /// The scheduler says this model cannot be had (origin's sentence).
    case refused(reason: String)
    /// The caller gave up.
    case cancel
    /// Time passed; sent at the latest when `wakeAtNs` asked.
    case tick
}
