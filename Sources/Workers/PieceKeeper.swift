import Artifacts
import Digests
import Storage

/// How keeping a piece ended.
public enum KeepOutcome: Sendable {
    /// It is written and recorded; its digest.
    case kept(Digest)
    /// It is not what was expected; nothing was written.
    case mismatch(found: Digest)
    /// It could not be written.
    case failed(StorageError)
}

/// The one job every piece passes: digest it where it lies, compare, write, record.
///
/// On a worker thread; `bytes` are lent for the call. Without an expected digest (we are the origin's trusted reader),
/// what is found is what counts.
public func keepPiece(
    _ bytes: UnsafeRawBufferPointer, expected: Digest?, task: TaskFile, piece: PieceIndex
) -> KeepOutcome {
    let found = Digests.digest(expected?.algorithm ?? Digests.pieceAlgorithm, bytes)
    if let expected, found != expected { return .mismatch(found: found) }
    do throws(StorageError) {
        try task.keep(piece, bytes: bytes, digest: found)
        return .kept(found)
    } catch {
        return .failed(error)
    }
}
