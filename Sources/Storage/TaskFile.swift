import Artifacts
import Digests
import Synchronization
import System

/// One task on disk: its file, and the journal of which pieces are in it.
///
/// A piece is written in full, then a record with its digest is appended to the journal; nothing is synced on the way.
/// That is safe because of what each kind of crash takes away:
/// - **The process dies** (`kill -9`). Everything written is in the kernel's page cache. A record was written after its
///   piece,
///   so a whole record proves a whole piece. A torn record at the end fails its checksum and is cut off.
/// - **The machine dies.** Of what was not synced, any part may be missing, in any order. The journal's header names
///   the boot; under
///   another boot, only pieces covered by a checkpoint (file synced, then the record, then the journal synced) are
///   believed
///   as they are. The others are read and digested again, and held only if the digest is that of their record. The
///   records' chained
///   checksums end the journal at the first hole.
/// - **A published file** was synced before its `complete` record, and the record before the rename. The record holds
///   the time of
///   the last modification: a file changed behind our back (through an exported hard link) is noticed at the next
///   start.
///
/// All calls may block on the disk and may come from any thread, several at once, except that of a rail or of the
/// cooperative pool.
public final class TaskFile: Sendable {
    static let partialName = "data.partial"
    static let publishedName = "data"
    static let journalName = "journal"

    /// Whose content it is.
    public let task: TaskID
    /// The whole file's size.
    public let sizeBytes: UInt64
    /// How the file is cut.
    public let layout: PieceLayout
    let directories: StoreDirectories
    let state: Mutex<TaskState>
    /// Held while the whole-file digest advances; before `state` where both are taken.
    let hasher: Mutex<WholeFileHasher?>
    /// Held while the file is opened for a download.
    let opening = Mutex(())

    init(_ task: TaskID, sizeBytes: UInt64, _ directories: StoreDirectories, _ state: TaskState) {
        self.task = task
        self.sizeBytes = sizeBytes
        layout = PieceLayout(fileBytes: sizeBytes)
        self.directories = directories
        self.state = Mutex(state)
        hasher = Mutex(nil)
    }

    /// The pieces that may be served.
    public var held: PieceSet { state.withLock { $0.held } }
    /// Whether the whole file was checked; it never changes afterwards.
    public var isPublished: Bool { state.withLock { $0.phase == .published } }
    /// Whether someone is downloading it.
    var isRunning: Bool { state.withLock { $0.phase == .partial && $0.downloads > 0 } }
    /// Whether pieces wait to be digested again after a crash of the machine; `Store.open` does that.
    public var hasDoubtfulPieces: Bool { state.withLock { !$0.doubtful.isEmpty } }
    /// The digest of a held piece.
    public func digest(of piece: PieceIndex) -> Digest? {
        state.withLock { Int(piece.value) < $0.digests.count ? $0.digests[Int(piece.value)] : nil }
    }
    /// The digests of all held pieces.
    public var digests: [PieceIndex: Digest] {
        let all = state.withLock { $0.digests }
        var found: [PieceIndex: Digest] = [:]
        for (place, digest) in all.enumerated() {
            if let digest { found[PieceIndex(place)] = digest }
        }
        return found
    }

    /// Writes a verified piece and records it.
    ///
    /// - Parameters:
    ///   - bytes: the whole piece; traps on another length.
    ///   - digest: the digest of these bytes, which the caller has computed.
    /// - Returns: false when the piece was held already with this digest; nothing was written.
    ///   A piece held with another digest (which must have been withdrawn) is dropped, then kept anew.
    /// - Throws: `.noSpace`, `.io` (nothing is recorded; may be tried again); `.conflict` when the task is not open or
    ///   another
    ///   thread is writing the piece with another digest; `.unknownTask` when it was forgotten.
    @discardableResult
    public func keep(
        _ piece: PieceIndex, bytes: UnsafeRawBufferPointer, digest: Digest
    ) throws(StorageError) -> Bool {
        let range = layout.range(of: piece)
        precondition(
            UInt64(bytes.count) == range.length,
            "\(piece) of \(task) has \(range.length) bytes, not \(bytes.count)")
        if let old = self.digest(of: piece), old != digest { try drop(piece) }
        guard let file = try beginWriting(piece, digest) else { return false }
        var failure: Errno? = nil
        do { try directories.write(bytes, at: range.offset, of: file.descriptor) } catch { failure = error }
        return try endWriting(piece, digest, file, failure)
    }

    private func beginWriting(_ piece: PieceIndex, _ digest: Digest) throws(StorageError) -> OpenFile? {
        try state.withLock { (state) throws(StorageError) -> OpenFile? in
            if state.phase == .forgotten { throw forgotten }
            if state.held.contains(piece) {
                if state.digests[Int(piece.value)] == digest { return nil }
                throw StorageError(
                    .conflict,
                    "\(piece) of \(task) was kept with another digest meanwhile; try again")
            }
            if let other = state.writing[piece], other.digest != digest {
                throw StorageError(
                    .conflict, "\(piece) of \(task) is being written with another digest; try again")
            }
            let data = try writer(&state)
            state.writing[piece, default: (digest, 0)].threads += 1
            return data
        }
    }

    private func endWriting(_ piece: PieceIndex, _ digest: Digest, _ file: OpenFile, _ failure: Errno?)
        throws(StorageError)
        -> Bool
    {
        try state.withLock { (state) throws(StorageError) -> Bool in
            let threads = state.writing[piece]?.threads ?? 0
            state.writing[piece] = threads > 1 ? (digest, threads - 1) : nil
            if let failure {
                throw StorageError(cannot: "write \(piece) of \(task) in \(directories.path)", failure)
            }
            // Not the file we wrote to: it was forgotten, and perhaps begun anew.
            guard state.data === file else { throw forgotten }
            if state.held.contains(piece) { return false }
            do throws(Errno) { try state.journal.append(.kept(piece, digest), directories) } catch {
                throw StorageError(cannot: "record \(piece) of \(task) in \(directories.path)", error)
            }
            state.held.insert(piece)
            state.digests[Int(piece.value)] = digest
            state.isUnsynced = true
            return true
        }
    }

    /// Takes back a kept piece that turned out wrong: it is not held any more, and may be kept anew.
    ///
    /// Synced, so that no crash can pair the old record with the bytes of the piece that follows.
    public func drop(_ piece: PieceIndex) throws(StorageError) {
        // In this order: the whole-file digest may have passed over the piece.
        try hasher.withLock { (hasher) throws(StorageError) in
            hasher = nil
            try state.withLock { (state) throws(StorageError) in
                guard state.phase == .partial else {
                    throw StorageError(
                        .conflict,
                        "\(task) is published or forgotten; its pieces cannot be dropped one by one")
                }
                guard state.held.contains(piece) else { return }
                _ = try writer(&state)
                do throws(Errno) {
                    try state.journal.append(.dropped(piece), directories)
                    try state.journal.file?.descriptor.syncData()
                } catch {
                    throw StorageError(cannot: "record that \(piece) of \(task) is dropped", error)
                }
                state.held.remove(piece)
                state.digests[Int(piece.value)] = nil
            }
        }
    }

    /// Reads a held piece into the beginning of a buffer.
    public func read(_ piece: PieceIndex, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) {
        let range = layout.range(of: piece)
        precondition(UInt64(buffer.count) >= range.length, "the buffer is smaller than \(piece)")
        let source = try use()
        defer { source.unuse() }
        let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<Int(range.length)])
        let count = try storing("read \(piece) of \(task)") { () throws(Errno) in
            try source.read(at: range.offset, into: part)
        }
        guard count == part.count else {
            throw StorageError(
                .corrupt, "the file of \(task) is shorter than its size; forget it and fetch it again")
        }
    }

    /// Reads a piece back and digests it, by the algorithm it was kept with.
    public func rehash(_ piece: PieceIndex) throws(StorageError) -> Digest {
        let buffer = UnsafeMutableRawBufferPointer.allocate(
            byteCount: Int(layout.range(of: piece).length), alignment: 4096)
        defer { buffer.deallocate() }
        try read(piece, into: buffer)
        return Digests.digest(
            digest(of: piece)?.algorithm ?? Digests.pieceAlgorithm, UnsafeRawBufferPointer(buffer))
    }

    /// Opens the file for exporting pieces; it is not evicted until `TaskSource.unuse`.
    public func use() throws(StorageError) -> TaskSource {
        let file = try state.withLock { (state) throws(StorageError) -> OpenFile in
            if state.phase == .forgotten { throw forgotten }
            if let reader = state.reader {
                state.uses += 1
                return reader
            }
            do throws(Errno) {
                let reader = try openToRead()
                state.reader = reader
                state.uses += 1
                return reader
            } catch {
                throw StorageError(cannot: "open the file of \(task) in \(directories.path)", error)
            }
        }
        return TaskSource(self, file)
    }

    private func openToRead() throws(Errno) -> OpenFile {
        // The name changes at publication, which does not wait for us.
        do { return OpenFile(try directories.tasks.open(name(TaskFile.partialName), .read)) } catch {
            if error.fileReason != .missing { throw error }
            return OpenFile(try directories.tasks.open(name(TaskFile.publishedName), .read))
        }
    }

    func endUse() {
        state.withLock { state in
            state.uses -= 1
            if state.uses == 0 { state.reader = nil }
        }
    }

    /// Ends one download; with the last, descriptors are closed, and the task may be evicted with its model.
    func pause() {
        state.withLock { state in
            state.downloads = max(0, state.downloads - 1)
            guard state.downloads == 0, state.phase == .partial, state.writing.isEmpty else { return }
            state.data = nil
            state.journal.file = nil
        }
    }

    /// Marks the task as removed, when nobody uses it or `force` says so; false when it may not be.
    func retire(force: Bool) -> Bool {
        state.withLock { state in
            guard state.phase != .publishing, force || state.isIdle else { return false }
            state.phase = .forgotten
            state.downloads = 0
            state.data = nil
            state.journal.file = nil
            return true
        }
    }

    var forgotten: StorageError {
        StorageError(
            .unknownTask, "\(task) was removed from \(directories.path); open it anew to fetch it again")
    }

    /// The path of one of the task's files, relative to `tasks`.
    func name(_ file: String) -> String { "\(task.directoryName)/\(file)" }
}

extension TaskSource {
    /// Reads at an offset; fewer bytes than asked only at the end of the file.
    func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(Errno) -> Int {
        try open.descriptor.read(at: offset, into: buffer)
    }
}
