import Artifacts

/// What child and parent say to each other on a link, besides the bytes themselves.
///
/// Only content identities and piece numbers cross the peer-facing port: never a URL, path, header or credential. A
/// session is one child's interest in one task over one link; the child numbers it. `Key` is the transport's opaque
/// capability.
public enum PeerMessage<Key: Sendable & Hashable>: Sendable, Hashable {
    /// Child: I am interested in this task, cut into so many pieces; tell me which you have.
    case open(session: UInt32, task: TaskID, pieceCount: UInt32)
    /// Parent: pieces `base ..< base + 8 * bits.count` that I have (bit order of `PieceSet.bytes`). Several make a map;
    /// `last` ends it.
    case map(session: UInt32, base: UInt32, bits: [UInt8], last: Bool)
    /// Parent: I now also have these.
    case have(session: UInt32, pieces: [PieceIndex])
    /// Parent: I do not hold that task (or you may not have it: the answers are the same). The session is over.
    case unknown(session: UInt32)
    /// Child: I would like to read this piece.
    case want(session: UInt32, piece: PieceIndex)
    /// Parent: read it with this key, until `leaseMs` from now.
    case grant(session: UInt32, piece: PieceIndex, key: Key, lengthBytes: UInt32, leaseMs: UInt32)
    /// Parent: no upload slot is free; ask again after so long. The want is over.
    case busy(session: UInt32, piece: PieceIndex, retryAfterMs: UInt32)
    /// Parent: I do not have that piece. The want is over.
    case absent(session: UInt32, piece: PieceIndex)
    /// Child: I have read it (or given up); the slot is yours again. Also withdraws a want that was not answered.
    case release(session: UInt32, piece: PieceIndex)
    /// Child: I am no longer interested.
    case close(session: UInt32)
    /// Either: are you there? The data plane's own proof of life.
    case ping(nonce: UInt64)
    /// Either: yes.
    case pong(nonce: UInt64)
}
