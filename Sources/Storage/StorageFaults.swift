import Synchronization
import System

/// Where tests make the disk fail: asked before every allocation and write of the store.
///
/// Called on many threads at once.
public protocol StorageFaults: Sendable {
    /// Whether giving a new task its blocks finds the disk full.
    func allocationFails(sizeBytes: UInt64) -> Bool
    /// Whether writing a piece or a journal record finds the disk full.
    func writeFails(sizeBytes: Int) -> Bool
}

/// A disk that is full once so many bytes were written. For tests only.
///
/// Allocations succeed, as on a file system that cannot preallocate, so that the failure comes in the middle of a
/// download:
/// the harder way. With `failsAllocations` they count and fail too.
public final class DiskFullAfter: StorageFaults {
    private let leftBytes: Atomic<Int64>
    private let failsAllocations: Bool

    /// A disk with room for this many bytes.
    public init(bytes: Int64, failsAllocations: Bool = false) {
        leftBytes = Atomic(bytes)
        self.failsAllocations = failsAllocations
    }

    /// The disk that `MARTLET_FAULT_DISK_FULL_AFTER=<bytes>` asks for, in tests of whole processes; nil where it is not
    /// set.
    public static func fromEnvironment() -> DiskFullAfter? {
        guard let text = CurrentProcess.environment("MARTLET_FAULT_DISK_FULL_AFTER"), let bytes = Int64(text)
        else {
            return nil
        }
        return DiskFullAfter(bytes: bytes)
    }

    /// Room again: as if someone had freed it.
    public func free(bytes: Int64) { leftBytes.store(bytes, ordering: .relaxed) }

    /// Never, unless made with `failsAllocations`.
    public func allocationFails(sizeBytes: UInt64) -> Bool {
        failsAllocations && leftBytes.load(ordering: .relaxed) < Int64(clamping: sizeBytes)
    }

    /// From the write on that goes beyond the room.
    public func writeFails(sizeBytes: Int) -> Bool {
        leftBytes.subtract(Int64(sizeBytes), ordering: .relaxed).newValue < 0
    }
}
