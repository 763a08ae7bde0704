import Artifacts
import Memory
import Rails
import Storage
import Swarm
import Transport
import Workers

/// Which rail of the engine's list.
public typealias RailNumber = Int

/// A running download of the engine, numbered for the process.
public struct DownloadNumber: Hashable, Sendable {
    /// The number.
    public let value: UInt32
}

/// A task opened for serving.
public struct ServedFile: Sendable {
    /// What of it is here.
    let file: TaskFile
    /// Its descriptor for exports.
    let source: TaskSource
}

/// Everything that can reach the engine's thread.
public enum EngineEvent: Sendable {
    /// Something happened on a rail.
    case rail(RailNumber, RailEvent)
    /// The scheduler said something.
    case scheduler(SchedulerDownlink)
    /// A piece of a lease is in this slot, which is the engine's now.
    case originPiece(LeaseID, PieceIndex, Slot)
    /// Reading under a lease is over; no further slot comes.
    case originEnded(LeaseID, OriginFailure?)
    /// A worker opened the files of a download, or could not.
    case prepared(DownloadNumber, Result<[TaskFile], StorageError>)
    /// A worker verified and stored a piece, or could not; the slot is free again.
    case keepEnded(DownloadNumber, PieceAddress, Slot, KeepOutcome)
    /// A worker advanced a file's whole-file hash.
    case hashAdvanced(DownloadNumber, FileIndex)
    /// A worker checked a whole file and published it, or not.
    case publishEnded(DownloadNumber, FileIndex, Result<PublishOutcome, StorageError>)
    /// A worker opened a task for serving; nil when it is not here.
    case sourceOpened(TaskID, ServedFile?)
    /// A worker threw away what was stored of a task, or could not.
    case forgotten(TaskID)
    /// A worker read a stored piece into a slot for serving, or could not.
    case pieceLoaded(ResidentNumber, StorageError?)
    /// The origin's reader waits for a slot.
    case slotsShort
    /// The store evicted or removed these tasks.
    case gone([TaskID])
    /// A link sent more than could be taken in; what it said was dropped.
    case flooded(RailNumber, LinkID)
    /// Somebody asks something of the interpreter on its thread.
    case ask(@Sendable (Interpreter) -> Void)
    /// Take nothing new and bring everything to its end.
    case stop(limitNs: UInt64)
}
