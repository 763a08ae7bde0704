import Artifacts
import Digests
import System

// How a task comes to be: created, found at the start of the store, opened for a download.
extension TaskFile {
    /// Makes a new task, not yet open for a download.
    static func create(
        _ task: TaskID, sizeBytes: UInt64, _ directories: StoreDirectories
    ) throws(StorageError) -> TaskFile {
        let header = try createDirectory(of: task, sizeBytes: sizeBytes, directories)
        return TaskFile(task, sizeBytes: sizeBytes, directories, TaskState(empty: header))
    }

    /// Makes a new task's directory whole in `tmp`, then names it into place, so that a half-made one is never found.
    private static func createDirectory(
        of task: TaskID, sizeBytes: UInt64, _ directories: StoreDirectories
    ) throws(StorageError) -> JournalHeader {
        let header = JournalHeader(task: task, fileBytes: sizeBytes, boot: directories.boot)
        let temporary = directories.temporaryName()
        do throws(Errno) {
            try directories.temporary.makeDirectory(temporary, permissions: 0o700)
            let directory = try directories.temporary.openDirectory(temporary)
            let data = try directory.open(partialName, .createNew)
            if let faults = directories.faults, faults.allocationFails(sizeBytes: sizeBytes) {
                throw Errno.injectedDiskFull
            }
            // Blocks now, so that a full disk is known before the first byte is fetched; sparse where that cannot be.
            if try !data.allocate(sizeBytes: sizeBytes) { try data.truncate(sizeBytes: sizeBytes) }
            let journal = try directory.open(journalName, .createNew)
            try directories.write(header.bytes, at: 0, of: journal)
            try directories.temporary.rename(temporary, to: directories.tasks, task.directoryName)
        } catch {
            // What was made so far is emptied out at the latest when the store is opened again.
            try? directories.temporary.removeTree(temporary)
            throw StorageError(
                cannot: "make room for \(task) (\(byteText(sizeBytes))) in \(directories.path)", error)
        }
        return header
    }

    /// Throws away what is kept and begins with an empty file, under the downloads that are running.
    ///
    /// Sources in use go on reading the old file. Pieces being written meanwhile are lost: their threads are told so.
    func startOver() throws(StorageError) {
        try opening.withLock { (_) throws(StorageError) in
            try state.withLock { (state) throws(StorageError) in
                guard state.phase == .partial else {
                    throw StorageError(
                        .conflict, "\(task) is being published; wait for that before forgetting it")
                }
                // Nobody serves or writes it while it changes places.
                state.phase = .emptying
                state.held = PieceSet(capacity: layout.count)
                state.data = nil
                state.journal.file = nil
                state.reader = nil
            }
            hasher.withLock { $0 = nil }
            do throws(Errno) { try discard([self], directories) } catch {
                throw StorageError(cannot: "remove \(task) from \(directories.path)", error)
            }
            let header = try TaskFile.createDirectory(of: task, sizeBytes: sizeBytes, directories)
            state.withLock { state in
                var fresh = TaskState(empty: header)
                fresh.downloads = state.downloads
                fresh.uses = state.uses
                fresh.writing = state.writing
                state = fresh
            }
        }
    }

    /// Why a directory under `tasks` is not believed.
    struct Distrust: Error, Sendable {
        let reason: String
    }

    /// Reads a task's directory; nothing in it is believed unless its journal proves it.
    static func recover(_ name: String, _ directories: StoreDirectories) throws(Distrust) -> TaskFile {
        do {
            return try recovered(name, directories)
        } catch let error as Distrust {
            throw error
        } catch {
            throw Distrust(reason: "it cannot be read (\(error))")
        }
    }

    private static func recovered(_ name: String, _ directories: StoreDirectories) throws -> TaskFile {
        guard let task = TaskID(directoryName: name) else {
            throw Distrust(reason: "its name is not that of a task")
        }
        let directory = try directories.tasks.openDirectory(name)
        guard let size = try directory.status(journalName) else {
            throw Distrust(reason: "it has no journal")
        }
        guard size.kind == .regular,
            let bytes = try directories.readAll(
                try directory.open(journalName, .read), bytesMax: JournalReplay.bytesMax(pieces: piecesMax)),
            let replay = JournalReplay(bytes), replay.header.task == task
        else { throw Distrust(reason: "its journal is damaged or of another version") }
        let published = try directory.status(publishedName)
        guard let file = try published ?? directory.status(partialName) else {
            throw Distrust(reason: "it has no file")
        }
        guard file.kind == .regular, file.sizeBytes == replay.header.fileBytes else {
            throw Distrust(reason: "its file has another size than its journal says")
        }
        guard published == nil || replay.completeModifiedNs != nil else {
            throw Distrust(reason: "its file bears the final name without having been checked")
        }
        let recovered = TaskFile(
            task, sizeBytes: file.sizeBytes, directories, TaskState(replay, directories.boot))
        guard let modifiedNs = replay.completeModifiedNs else { return recovered }
        if published == nil {
            // It died between the record and the new name.
            try directory.open(partialName, .read).setPermissions(0o444)
            try directory.rename(partialName, to: directory, publishedName)
            try directory.sync()
        }
        if file.modifiedNs != modifiedNs {
            directories.log(
                "the file of \(task) was changed since it was published: digesting its pieces again")
            try recovered.verifyEveryPiece()
            // The pieces are right, so only the time was touched; what the record says is put back.
            try directory.open(publishedName, .read).setModified(ns: modifiedNs)
        }
        return recovered
    }

    private static let piecesMax = PieceLayout(fileBytes: Limits.fileBytesMax).count

    private func verifyEveryPiece() throws {
        for piece in held.members where try rehash(piece) != digest(of: piece) {
            throw Distrust(reason: "its file was changed after it was published (\(piece) is wrong)")
        }
    }

    /// Counts one download more, until `pause`; nothing to do for a published task.
    ///
    /// After a crash of the machine, digests again what was not synced then (see the type's comment), drops what is
    /// wrong, syncs, and begins a journal under this boot.
    func openForDownload() throws(StorageError) {
        try opening.withLock { (_) throws(StorageError) in
            let isStale = try state.withLock { (state) throws(StorageError) -> Bool in
                if state.phase == .forgotten { throw forgotten }
                if state.phase != .published { state.downloads += 1 }
                return state.phase == .partial && state.isStale
            }
            guard isStale else { return }
            do throws(Errno) {
                try readmitDoubtful(OpenFile(try directories.tasks.open(name(TaskFile.partialName), .write)))
            } catch {
                state.withLock { $0.downloads -= 1 }
                throw StorageError(cannot: "open \(task) in \(directories.path) for a download", error)
            }
        }
    }

    /// The file, open for writing as is the journal: opened at the first use, since a model may have more files than
    /// descriptors are allowed.
    func writer(_ state: inout TaskState) throws(StorageError) -> OpenFile {
        guard state.phase != .forgotten else { throw forgotten }
        guard state.downloads > 0, state.phase == .partial else {
            throw StorageError(.conflict, "\(task) is not open for a download; open it first")
        }
        if let data = state.data { return data }
        do throws(Errno) {
            let data = OpenFile(try directories.tasks.open(name(TaskFile.partialName), .write))
            let journal = OpenFile(try directories.tasks.open(name(TaskFile.journalName), .write))
            // A torn record of an earlier life.
            try journal.descriptor.truncate(sizeBytes: state.journal.endOffset)
            state.data = data
            state.journal.file = journal
            return data
        } catch {
            throw StorageError(cannot: "open \(task) in \(directories.path) for a download", error)
        }
    }

    /// Digests doubtful pieces again, and writes the journal anew under this boot.
    private func readmitDoubtful(_ data: OpenFile) throws(Errno) {
        let doubtful = state.withLock { $0.doubtful }
        var right: [PieceIndex: Digest] = [:]
        let buffer = UnsafeMutableRawBufferPointer.allocate(
            byteCount: Int(layout.pieceBytes), alignment: 4096)
        defer { buffer.deallocate() }
        for (piece, digest) in doubtful {
            let range = layout.range(of: piece)
            let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<Int(range.length)])
            let count = try data.descriptor.read(at: range.offset, into: part)
            if count == part.count, Digests.digest(digest.algorithm, UnsafeRawBufferPointer(part)) == digest {
                right[piece] = digest
            }
        }
        if !doubtful.isEmpty {
            directories.log(
                "after a restart of this machine, \(right.count) of \(doubtful.count) pieces of \(task) that were not synced are intact"
            )
        }
        try data.descriptor.syncData()
        try rewriteJournal(adding: right)
    }

    private func rewriteJournal(adding right: [PieceIndex: Digest]) throws(Errno) {
        var (held, digests) = state.withLock { ($0.held, $0.digests) }
        for (piece, digest) in right {
            held.insert(piece)
            digests[Int(piece.value)] = digest
        }
        let header = JournalHeader(task: task, fileBytes: sizeBytes, boot: directories.boot)
        var bytes = header.bytes
        var chain = header.chain
        for piece in held.members {
            guard let digest = digests[Int(piece.value)] else {
                fatalError("\(piece) of \(task) is held without a digest")
            }
            bytes += JournalRecord.kept(piece, digest).encoded(chain: &chain)
        }
        bytes += JournalRecord.checkpoint(covers: UInt64(held.count)).encoded(chain: &chain)
        let directory = try directories.tasks.openDirectory(task.directoryName)
        let temporary = "journal.new"
        try directory.unlink(temporary)
        let file = try directory.open(temporary, .createNew)
        try directories.write(bytes, at: 0, of: file)
        try file.syncData()
        try directory.rename(temporary, to: directory, TaskFile.journalName)
        try directory.sync()
        let end = UInt64(bytes.count)
        state.withLock { state in
            state.held = held
            state.digests = digests
            state.doubtful = [:]
            state.isStale = false
            state.isUnsynced = false
            state.journal = JournalWriter(endOffset: end, records: UInt64(held.count) + 1, chain: chain)
        }
    }
}

extension TaskState {
    /// Nothing held yet.
    fileprivate init(empty header: JournalHeader) {
        let pieces = PieceLayout(fileBytes: header.fileBytes).count
        self.init(
            phase: .partial, held: PieceSet(capacity: pieces), digests: Array(repeating: nil, count: pieces),
            isStale: false,
            journal: JournalWriter(
                endOffset: UInt64(JournalHeader.sizeBytes), records: 0, chain: header.chain))
    }

    /// What a journal proves under the boot we live in.
    fileprivate init(_ replay: JournalReplay, _ boot: BootID) {
        let isSameBoot = replay.header.boot == boot && boot != .unknown
        var held = replay.held
        var digests = replay.digests
        var doubtful: [PieceIndex: Digest] = [:]
        if !isSameBoot, replay.completeModifiedNs == nil {
            for piece in replay.uncovered.keys {
                doubtful[piece] = digests[Int(piece.value)]
                digests[Int(piece.value)] = nil
                held.remove(piece)
            }
        }
        self.init(
            phase: replay.completeModifiedNs == nil ? .partial : .published, held: held, digests: digests,
            doubtful: doubtful, isStale: !isSameBoot,
            journal: JournalWriter(endOffset: replay.endOffset, records: replay.records, chain: replay.chain),
            isUnsynced: !replay.uncovered.isEmpty)
    }
}
