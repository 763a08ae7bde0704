import Artifacts
import Digests
import System

/// How exported files come to be at their place.
public enum ExportMode: String, Sendable, Hashable, CaseIterable {
    /// The cheapest that works: hard link, else reflink, else copy.
    case auto
    /// A second name of the stored file: no bytes, no space; read-only (0444). Only on the store's own file system.
    case hardlink
    /// A file of its own that shares blocks until one of them changes. Only where the file system can (XFS, Btrfs, …).
    case reflink
    /// A file of its own with its own bytes.
    case copy
}

/// One exported file.
public struct PlacedFile: Sendable, Hashable {
    /// How it was placed.
    public enum How: String, Sendable, Hashable {
        case hardlink
        case reflink
        case copy
        /// An equal file was there already.
        case kept
    }
    /// Path relative to the export's directory.
    public let path: String
    /// The file's size.
    public let sizeBytes: UInt64
    /// How it was placed.
    public let how: How
}

extension Store {
    /// Places a complete model's files under a directory, each at once (temporary name, then rename), creating
    /// directories as needed.
    ///
    /// Paths never leave the directory: they are opened part by part beneath it, through no symbolic link; a symbolic
    /// link in a file's place is replaced, not followed. An equal file stays; another is replaced. Copies are synced.
    /// What was placed before a failure stays, and the next call goes on from there.
    /// - Throws: `.unknownModel`; `.incomplete`; `.unwritable`, `.noSpace`, `.badPath` or `.io` naming the file; `.io`
    ///   too when the mode asked
    ///   for cannot work there.
    public func export(
        _ id: ModelID, to directory: String, mode: ExportMode = .auto
    ) throws(StorageError) -> [PlacedFile] {
        try hold(id)
        defer { release(id) }
        guard let manifest = model(id)?.manifest else { throw unknown(id) }
        let sources = try manifest.files.map { (file) throws(StorageError) in
            guard let task = task(file.task), task.isPublished else {
                throw StorageError(
                    .incomplete,
                    "\(file.path) of \(manifest.reference) is not complete; fetch the model before exporting it"
                )
            }
            return task
        }
        let root = try storing("write to \(directory)") { () throws(Errno) in
            try Directory.create(path: directory, permissions: 0o755)
            return try Directory(path: directory)
        }
        var placed: [PlacedFile] = []
        for (file, source) in zip(manifest.files, sources) {
            let how = try place(source, as: file.path, in: root, mode, shown: directory)
            placed.append(PlacedFile(path: file.path, sizeBytes: file.sizeBytes, how: how))
        }
        return placed
    }

    private func place(
        _ task: TaskFile, as path: String, in root: borrowing Directory, _ mode: ExportMode,
        shown directory: String
    ) throws(StorageError) -> PlacedFile.How {
        // The manifest has refused such paths; nothing is written on its word alone.
        if let fault = Manifest.pathFault(path) {
            throw StorageError(.badPath, "a file may not be exported as \(fault); the manifest is wrong")
        }
        let source = try task.use()
        defer { source.unuse() }
        return try storing("write \(directory)/\(path)") { () throws(Errno) in
            var place = try root.duplicate()
            let parts = path.split(separator: "/").map { String($0) }
            for part in parts.dropLast() { place = try place.openBeneath(creating: part, permissions: 0o755) }
            let leaf = parts[parts.count - 1]
            if try isEqual(task, source, place, leaf, mode) { return .kept }
            let temporary = ".martlet-\(CurrentProcess.id)-\(directories.temporaryName())"
            do throws(Errno) {
                let how = try make(temporary, in: place, task, source, mode)
                try place.rename(temporary, to: place, leaf)
                return how
            } catch {
                // The failure itself is what to report.
                try? place.unlink(temporary)
                throw error
            }
        }
    }

    /// Whether what stands there needs no replacing.
    private func isEqual(
        _ task: TaskFile, _ source: TaskSource, _ place: borrowing Directory, _ leaf: String,
        _ mode: ExportMode
    ) throws(Errno) -> Bool {
        guard let there = try place.status(leaf), there.kind == .regular, there.sizeBytes == task.sizeBytes
        else { return false }
        let ours = try source.status()
        if (there.device, there.inode) == (ours.device, ours.inode) {
            return mode == .auto || mode == .hardlink
        }
        let file: FileDescriptor
        do throws(Errno) { file = try place.open(leaf, .read) } catch {
            // Unreadable, so not known to be equal.
            if error.fileReason == .forbidden { return false }
            throw error
        }
        let buffer = UnsafeMutableRawBufferPointer.allocate(
            byteCount: Int(task.layout.pieceBytes), alignment: 4096)
        defer { buffer.deallocate() }
        for place in 0..<task.layout.count {
            let piece = PieceIndex(place)
            let range = task.layout.range(of: piece)
            let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<Int(range.length)])
            guard try file.read(at: range.offset, into: part) == part.count,
                let digest = task.digest(of: piece),
                Digests.digest(digest.algorithm, UnsafeRawBufferPointer(part)) == digest
            else { return false }
        }
        return true
    }

    private func make(
        _ temporary: String, in place: borrowing Directory, _ task: TaskFile, _ source: TaskSource,
        _ mode: ExportMode
    ) throws(Errno) -> PlacedFile.How {
        if mode == .auto || mode == .hardlink {
            do throws(Errno) {
                try directories.tasks.link(task.name(TaskFile.publishedName), to: place, temporary)
                return .hardlink
            } catch {
                // Some file systems answer "not permitted" where they have no hard links; a real refusal comes again
                // below.
                guard mode == .auto, error.fileReason == .unsupported || error.fileReason == .forbidden else {
                    throw error
                }
            }
        }
        let file = try place.open(temporary, .createNew, permissions: 0o644)
        if mode == .auto || mode == .reflink {
            if try source.clone(into: file) { return .reflink }
            guard mode == .auto else { throw .cannotReflink }
        }
        try source.copy(into: file)
        try file.syncData()
        return .copy
    }
}

extension TaskSource {
    fileprivate func status() throws(Errno) -> FileStatus { try open.descriptor.status() }
    fileprivate func clone(into file: borrowing FileDescriptor) throws(Errno) -> Bool {
        try file.clone(from: open.descriptor)
    }
    fileprivate func copy(into file: borrowing FileDescriptor) throws(Errno) {
        try file.copy(from: open.descriptor, sizeBytes: sizeBytes)
    }
}
