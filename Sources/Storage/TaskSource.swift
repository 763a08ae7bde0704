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

    /// Ends the use; further calls do nothing. Also done when the last reference goes.
    public func unuse() {
        if !isOver.exchange(true, ordering: .acquiringAndReleasing) { owner.endUse() }
    }

    deinit { unuse() }
}
