import Artifacts

/// Files: their digests, and the check of the whole before publication.
extension Download {
    /// Digests by way of the scheduler; what they name can be asked for from now on.
    mutating func takeDigests(_ file: FileIndex, _ found: [PieceIndex: Digest]) {
        guard ending == nil else { return }
        let range = numbering.range(of: file)
        var isNews = false
        for (piece, digest) in found where Int(piece.value) < range.count {
            let number = range.lowerBound + Int(piece.value)
            // A piece we hold keeps the digest it was verified with; the whole file's digest has the last word.
            if held.contains(number) && digests[number] != nil { continue }
            digests[number] = digest
            isNews = true
            refresh(number)
        }
        guard isNews, !files[Int(file.value)].hasDigests else { return }
        files[Int(file.value)].hasDigests = true
        markSessionsDirty()
    }

    /// The reader that a file's digests came from was wrong: whatever was verified with them is worth nothing.
    ///
    /// Every piece is fetched again rather than hashed again: it happens once in a blue moon, and a piece that our
    /// children were told of must not silently become another. A file already published was checked as a whole, and
    /// stays.
    mutating func withdrawDigests(_ file: FileIndex, _ nowNs: UInt64) {
        guard ending == nil else { return }
        switch files[Int(file.value)].phase {
        case .published, .clearing: return
        case .publishing: files[Int(file.value)].withdrawnMeanwhile = true
        case .fetching, .awaitingDigests:
            let wasForgotten = files[Int(file.value)].phase != .fetching
            setPhase(file, .clearing)
            clearDigests(file, nowNs)
            if wasForgotten { setPhase(file, .fetching) } else { forgetWhenClear(file) }
        }
    }

    /// Forgets a file's digests and maps; pieces from parents that have not heard of it are forgiven for a while.
    private mutating func clearDigests(_ file: FileIndex, _ nowNs: UInt64) {
        for number in numbering.range(of: file) {
            digests[number] = nil
            refresh(number)
        }
        files[Int(file.value)].hasDigests = false
        files[Int(file.value)].forgiveUntilNs = nowNs + settings.withdrawalGraceNs
        closeSessions(file)
    }

    /// Once no piece of a cleared file is with a worker, forgets what is stored of it and begins it again.
    mutating func forgetWhenClear(_ file: FileIndex) {
        let index = Int(file.value)
        guard files[index].phase == .clearing, files[index].verifying == 0, ending == nil else { return }
        forget(file)
        setPhase(file, .fetching)
    }

    /// Throws away what is stored of a file; its pieces are missing again.
    mutating func forget(_ file: FileIndex) {
        let index = Int(file.value)
        for number in numbering.range(of: file) where held.remove(number) {
            files[index].missing += 1
            missingPieces += 1
            let sizeBytes = UInt64(numbering.sizeBytes(number))
            counted.keptBytes -= sizeBytes
            counted.wastedBytes += sizeBytes
        }
        files[index].resumed = 0
        files[index].fromOrigin = 0
        actions.append(.forget(file))
    }

    /// A file whose pieces are all here is checked as a whole and published; an empty file has none to wait for.
    mutating func publishWhenComplete(_ file: FileIndex) {
        let index = Int(file.value)
        guard files[index].phase == .fetching, files[index].missing == 0, ending == nil else { return }
        setPhase(file, .publishing)
        closeSessions(file)
        actions.append(.publish(file))
    }

    /// The whole file was right and is published.
    mutating func filePublished(_ file: FileIndex, _ nowNs: UInt64) {
        endPublishing(file, "filePublished")
        setPhase(file, .published)
        counted.filesPublished += 1
        finishWhenPublished(nowNs)
    }

    /// Every file is published: told at once, though slots of second copies may still be in flight.
    mutating func finishWhenPublished(_ nowNs: UInt64) {
        guard counted.filesPublished == files.count, ending == nil else { return }
        actions.append(.finished)
        end(.finished, nowNs)
    }

    /// The whole file was wrong though every piece matched its digest.
    ///
    /// Pieces that were here before may have rotted: the file is fetched once more with the same digests. Pieces we
    /// read at the origin ourselves make the origin wrong: no use to go on. Otherwise another reader was: new digests
    /// must come.
    mutating func fileMismatched(_ file: FileIndex, _ nowNs: UInt64) {
        endPublishing(file, "fileMismatched")
        let index = Int(file.value)
        let (fromOrigin, resumed) = (files[index].fromOrigin, files[index].resumed)
        let isWithdrawn = files[index].withdrawnMeanwhile
        files[index].withdrawnMeanwhile = false
        forget(file)
        setPhase(file, .fetching)
        guard ending == nil else { return }
        let sentence = "\(path(file)) does not match its published digest"
        if isWithdrawn {
            clearDigests(file, nowNs)
        } else if fromOrigin > 0 {
            for place in leases.indices where leases[place].file == file { leases[place].failure = sentence }
            end(
                .failed(
                    "\(sentence): the origin serves other bytes than it promises, or changed; pull the model again"
                ), nowNs)
        } else if resumed == 0 {
            setPhase(file, .awaitingDigests(untilNs: nowNs + settings.newDigestsTimeoutNs))
        }
    }

    /// The file could not be published (disk, permissions): the download cannot go on.
    mutating func publishFailed(_ file: FileIndex, _ reason: String, _ nowNs: UInt64) {
        endPublishing(file, "publishFailed")
        setPhase(file, .fetching)
        end(.failed(reason), nowNs)
    }

    /// Moves a file to another phase, and judges its pieces anew.
    mutating func setPhase(_ file: FileIndex, _ phase: FileState.Phase) {
        files[Int(file.value)].phase = phase
        for number in numbering.range(of: file) { refresh(number) }
        if phase == .fetching { markSessionsDirty() }
    }

    private mutating func endPublishing(_ file: FileIndex, _ event: StaticString) {
        let phase = files[Int(file.value)].phase
        guard phase == .publishing else { preconditionFailure("\(event) of \(file), which is \(phase)") }
    }

    /// Lets every linked parent be looked at again for files to open.
    mutating func markSessionsDirty() {
        for place in parents.indices { parents[place].sessionsDirty = true }
    }
}
