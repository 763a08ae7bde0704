import Artifacts
import Digests
import System

/// How the check of a whole file ended.
public enum PublishOutcome: Sendable, Hashable {
    /// The file is complete, checked and immutable; the digest that was compared, nil where none is published.
    case published(Digest?)
    /// The file is not what was published; nothing was published. Remove it with `Store.forget`.
    case mismatched(expected: Digest, found: Digest)
}

extension TaskFile {
    /// The algorithm of the whole-file check: the task's own, unless it has no digest of content.
    private var wholeAlgorithm: Digest.Algorithm? {
        task.digest.algorithm == .origin ? nil : task.digest.algorithm
    }

    /// Advances the whole-file digest over pieces that are kept already, so that the end of the download is no stall.
    ///
    /// One thread does it at a time; others return at once. Call it after keeping a piece.
    /// - Parameter limitBytes: about how much to read and digest at most.
    public func advanceHash(limitBytes: UInt64) throws(StorageError) {
        guard let algorithm = wholeAlgorithm else { return }
        let failure = hasher.withLockIfAvailable { hasher -> StorageError? in
            var whole = WholeFileHasher(algorithm, sizeBytes: sizeBytes)
            if let begun = hasher.take() { whole = begun }
            let begin = whole.hashedBytes
            let (file, prefix) = state.withLock { state -> (OpenFile?, UInt64) in
                guard state.phase == .partial,
                    state.held.contains(PieceIndex(begin / UInt64(layout.pieceBytes)))
                else {
                    return (nil, 0)
                }
                return (try? writer(&state), heldPrefix(state.held, from: begin))
            }
            guard let file else {
                hasher = consume whole
                return nil
            }
            do throws(Errno) {
                try whole.advance(over: file.descriptor, to: min(prefix, begin + limitBytes))
            } catch {
                return StorageError(cannot: "read back \(task) in \(directories.path)", error)
            }
            hasher = consume whole
            return nil
        }
        if let failure = failure ?? nil { throw failure }
    }

    /// The end of the pieces held without a gap from `begin` on.
    private func heldPrefix(_ held: PieceSet, from begin: UInt64) -> UInt64 {
        var piece = Int(begin / UInt64(layout.pieceBytes))
        while piece < layout.count, held.contains(PieceIndex(piece)) { piece += 1 }
        return min(UInt64(piece) * UInt64(layout.pieceBytes), sizeBytes)
    }

    /// Checks the whole file against its digest and, if it is right, makes it immutable under its final name.
    ///
    /// Reads and digests what `advanceHash` has not; syncs the file; so call it on a worker thread. A published task is
    /// published at once.
    /// - Parameter expected: the published digest; where nil, the task's own digest of content, if it has one, is
    ///   checked.
    /// - Throws: `.incomplete` when pieces are missing; `.conflict` while another thread publishes it; `.noSpace`,
    ///   `.io`.
    public func publish(expected: Digest?) throws(StorageError) -> PublishOutcome {
        let expected = expected ?? (wholeAlgorithm == nil ? nil : task.digest)
        guard let file = try beginPublishing() else { return .published(expected) }
        do throws(StorageError) {
            if let expected {
                let found = try wholeDigest(expected.algorithm, file)
                if found != expected {
                    state.withLock { $0.phase = .partial }
                    return .mismatched(expected: expected, found: found)
                }
            }
            try storing("publish \(task) in \(directories.path)") { () throws(Errno) in try seal(file) }
        } catch {
            state.withLock { $0.phase = .partial }
            throw error
        }
        return .published(expected)
    }

    private func beginPublishing() throws(StorageError) -> OpenFile? {
        try state.withLock { (state) throws(StorageError) -> OpenFile? in
            switch state.phase {
            case .published: return nil
            case .forgotten: throw forgotten
            case .publishing:
                throw StorageError(.conflict, "\(task) is being published already; wait for that")
            case .partial, .emptying: break
            }
            guard state.held.isFull, state.writing.isEmpty else {
                throw StorageError(
                    .incomplete,
                    "\(task) lacks \(state.held.capacity - state.held.count) pieces; fetch them before publishing"
                )
            }
            let data = try writer(&state)
            state.phase = .publishing
            return data
        }
    }

    private func wholeDigest(_ algorithm: Digest.Algorithm, _ file: OpenFile) throws(StorageError) -> Digest {
        do {
            // A thread that advances the digest is waited for: at most one step of its limit.
            let begun = hasher.withLock { $0.take() }
            var whole = WholeFileHasher(algorithm, sizeBytes: sizeBytes)
            if algorithm == wholeAlgorithm, let begun { whole = begun }
            try whole.advance(over: file.descriptor, to: sizeBytes)
            return whole.finish()
        } catch {
            throw StorageError(cannot: "read back \(task) in \(directories.path)", error)
        }
    }

    /// Content, then record, then name: each on the device before the next.
    private func seal(_ file: OpenFile) throws(Errno) {
        try file.descriptor.syncData()
        let modifiedNs = try file.descriptor.status().modifiedNs
        let journal = try state.withLock { (state) throws(Errno) -> OpenFile? in
            try state.journal.append(.checkpoint(covers: state.journal.records), directories)
            try state.journal.append(.complete(modifiedNs: modifiedNs), directories)
            return state.journal.file
        }
        try journal?.descriptor.syncData()
        try file.descriptor.setPermissions(0o444)
        let directory = try directories.tasks.openDirectory(task.directoryName)
        try directory.rename(TaskFile.partialName, to: directory, TaskFile.publishedName)
        try directory.sync()
        try directories.tasks.sync()
        state.withLock { state in
            state.phase = .published
            state.downloads = 0
            state.data = nil
            state.journal.file = nil
        }
    }

    /// Makes the pieces kept so far survive a crash of the machine: syncs the file, then records that it did.
    ///
    /// Not needed for surviving a crash of the process. Does nothing unless the task is being downloaded.
    public func checkpoint() throws(StorageError) {
        let (data, covered) = try state.withLock { (state) throws(StorageError) -> (OpenFile?, UInt64) in
            guard state.phase == .partial, state.downloads > 0, state.isUnsynced else { return (nil, 0) }
            return (try writer(&state), state.journal.records)
        }
        guard let data else { return }
        try storing("sync \(task) in \(directories.path)") { () throws(Errno) in
            try data.descriptor.syncData()
            let journal = try state.withLock { (state) throws(Errno) -> OpenFile? in
                // Forgotten or paused meanwhile: nothing to say about it any more.
                guard state.data === data else { return nil }
                state.isUnsynced = state.journal.records > covered
                try state.journal.append(.checkpoint(covers: covered), directories)
                return state.journal.file
            }
            try journal?.descriptor.syncData()
        }
    }
}
