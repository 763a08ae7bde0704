import Artifacts

/// Why a link is dropped.
public struct DropReason: Sendable, Hashable, CustomStringConvertible {
    /// One sentence.
    public let description: String
    /// Nothing came in time, or not whole: the way to the parent may be at fault, and another may be better. Otherwise it
    /// is the parent's doing, whatever way it is read over.
    public let blamesWay: Bool
    /// Gives a reason.
    public init(_ description: String, blamesWay: Bool) {
        self.description = description
        self.blamesWay = blamesWay
    }
}

/// What a download wants done. The interpreter does each in order and never decides.
public enum DownloadAction: Sendable, Hashable {
    /// Bring up a link; answered by `linkUp` or `linkDown`.
    case connect(PeerNumber)
    /// Not needed any more (the interpreter may keep the link for others).
    case leave(PeerNumber)
    /// The link is useless (silent, broken): close it; its reads end first, then `linkDown` follows.
    case drop(PeerNumber, DropReason)
    /// Tell a parent of our interest in a file.
    case open(PeerNumber, FileIndex)
    /// End our session on a file there: the file is complete, or a fresh session follows. Reads still running end as
    /// usual.
    case close(PeerNumber, FileIndex)
    /// Ask for a piece; answered by `granted`, `busy`, `absent` or `linkDown`.
    case want(PeerNumber, PieceAddress)
    /// Take a want back (or give a grant up unread).
    case withdraw(PeerNumber, PieceAddress)
    /// Read the piece into a fresh slot; answered by `readEnded`. The interpreter releases the grant afterwards.
    case read(PeerNumber, PieceAddress, GrantID)
    /// Read these pieces at the origin into fresh slots, as they become free; answered by `originPiece`… and
    /// `originEnded`.
    case fetchOrigin(LeaseID, FileIndex, Range<UInt32>, whole: Bool)
    /// Stop reading under a lease; answered by `originEnded`.
    case stopOrigin(LeaseID)
    /// Hash the piece in its slot, compare when there is something to compare with, store, journal, free the slot.
    /// Answered by `kept`, `mismatched` or `keepFailed`.
    case keep(PieceAddress, expected: Digest?, from: PieceSource)
    /// Free the slot of an arrived piece without keeping it. The source says which slot: of two copies one may be in
    /// `keep`.
    case discard(PieceAddress, from: PieceSource)
    /// Tell the scheduler what we now hold; `digest` when the piece came from the origin (we are its trusted reader).
    case announce(PieceAddress, digest: Digest?)
    /// Tell our own children.
    case have(PieceAddress)
    /// Give a lease back: done, or why not.
    case returnLease(LeaseID, failure: String?)
    /// Tell the scheduler this parent sent wrong bytes.
    case blame(PeerNumber, PieceAddress)
    /// Tell the scheduler this parent does not give what it says it has: it is silent, denies pieces that its maps name, or
    /// its reads never end. Unlike `blame` it says nothing about the bytes, and the parent may be tried again.
    case complain(PeerNumber, PieceAddress)
    /// Check the whole file against its published digest and publish it.
    case publish(FileIndex)
    /// Throw away what is stored of the file (its digest was wrong).
    case forget(FileIndex)
    /// Every file is published.
    case finished
    /// It cannot be had: one sentence.
    case failed(String)
}

/// How far a download is, for people.
public struct DownloadProgress: Sendable, Hashable {
    /// All bytes of all files.
    public var totalBytes: UInt64 = 0
    /// Verified and stored, those resumed included.
    public var keptBytes: UInt64 = 0
    /// Bytes that were here before this download began.
    public var resumedBytes: UInt64 = 0
    /// Of those kept: read at the origin by us.
    public var originBytes: UInt64 = 0
    /// Of those kept: from seed peers.
    public var seedBytes: UInt64 = 0
    /// Of those kept: from other peers.
    public var peerBytes: UInt64 = 0
    /// Bytes that were read and thrown away (wrong, or a second copy).
    public var wastedBytes: UInt64 = 0
    /// Files of the manifest.
    public var filesTotal: Int = 0
    /// Files checked as a whole and published.
    public var filesPublished: Int = 0
    /// Parents with a link up.
    public var parentsUp: Int = 0
    /// Parents that sent wrong bytes.
    public var parentsExcluded: Int = 0
    /// Reads from parents under way.
    public var readsRunning: Int = 0
    /// Nothing yet.
    public init() {}
}
