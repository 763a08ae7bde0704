import Artifacts
import Synchronization
import System

/// A file descriptor shared by those who read or write through it; closed when the last lets it go.
final class OpenFile: Sendable {
    let descriptor: FileDescriptor
    init(_ descriptor: consuming FileDescriptor) { self.descriptor = descriptor }
}

/// A task's file, open for reading, while its pieces are exported: it is not evicted before `unuse`.
///
/// The descriptor is read-only and shared with the task's other users. It stays valid until `unuse`, also when the file
/// is published or forgotten meanwhile.
public final class TaskSource: Sendable {
    /// Whose file it is.
    public let task: TaskID
    /// The file's full size; pieces not yet held read as anything.
    public let sizeBytes: UInt64
    let open: OpenFile
    private let owner: TaskFile
    private let isOver = Atomic(false)

    init(_ owner: TaskFile, _ file: OpenFile) {
        task = owner.task
        sizeBytes = owner.sizeBytes
        self.owner = owner
        open = file
    }

    /// The descriptor, lent: neither close it nor move its position.
    public var descriptor: CInt { open.descriptor.raw }

    /// Reads a range into memory; blocks on the disk.
    ///
    /// A published file is read past the page cache where that can be: its bytes are on the device, and the processor
    /// copies nothing. One that is still being written has its last pieces in the page cache.
    /// - Parameter memory: at least as long as the range; direct reads want it at an address and of a size that are
    ///   multiples of 4 KiB.
    /// - Throws: `.io`, also when the file ends before the range does.
    public func read(_ range: ByteRange, into memory: UnsafeMutableRawBufferPointer) throws(StorageError) {
        let length = Int(range.length)
        precondition(length <= memory.count, "\(length) bytes do not fit into \(memory.count)")
        let count: Int
        do throws(Errno) {
            if owner.isPublished,
                let direct = try open.descriptor.readDirect(at: range.offset, lengthBytes: length, into: memory)
            {
                count = direct
            } else {
                let part = UnsafeMutableRawBufferPointer(rebasing: memory[..<length])
                count = try open.descriptor.read(at: range.offset, into: part)
            }
        } catch {
            throw StorageError(cannot: "read \(task) at \(range.offset)", error)
        }
        guard count == length else {
            throw StorageError(
                .io, "the file of \(task) ends at \(range.offset + UInt64(count)): it was changed; remove the model")
        }
    }

    /// Ends the use; further calls do nothing. Also done when the last reference goes.
    public func unuse() {
        if !isOver.exchange(true, ordering: .acquiringAndReleasing) { owner.endUse() }
    }

    deinit { unuse() }
}
