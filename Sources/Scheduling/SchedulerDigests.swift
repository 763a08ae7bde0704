import Artifacts

/// Piece digests: from those who read the origin to those who must verify.
///
/// The whole-file digest is the last authority. Below it, digests of trusted readers (lease-holders and seeds) win;
/// peers' are taken from their inventories only while no trusted one is known, which is how a restarted scheduler
/// learns them again. Peers that disagree make a piece unknown, and it is read again.
extension Scheduler {
    mutating func learnDigests(
        _ number: HostNumber, _ id: TaskID, _ pieces: [PieceIndex], _ digests: [Digest]
    ) {
        let own = hosts[number]!.leases.compactMap { leases[$0] }.filter { $0.task == id }
        let isSeed = hosts[number]!.isSeed
        var doubtful: [PieceIndex] = []
        var isCorrected = false
        for (piece, digest) in zip(pieces, digests) where tasks[id] != nil {
            let isTrusted = isSeed || own.contains { $0.pieces.contains(piece.value) }
            switch tasks[id]!.digests[piece.value] {
            case nil:
                tasks[id]!.digests[piece.value] = KnownDigest(digest: digest, isTrusted: isTrusted)
                tasks[id]!.fresh.insert(piece.value)
            case let known? where known.digest == digest:
                if isTrusted { tasks[id]!.digests[piece.value]!.isTrusted = true }
            case let known? where known.isTrusted:
                // Two readers of one content cannot both be right: neither is believed.
                if isTrusted {
                    takeMismatch(id)
                    return
                }
                setDoubted(number, id, piece)
            case _?:
                isCorrected = true
                if isTrusted {
                    tasks[id]!.digests[piece.value] = KnownDigest(digest: digest, isTrusted: true)
                } else {
                    tasks[id]!.digests[piece.value] = nil
                    tasks[id]!.fresh.remove(piece.value)
                    doubtful.append(piece)
                }
            }
        }
        for piece in doubtful {
            for host in hosts.keys.sorted() { setDoubted(host, id, piece) }
        }
        guard tasks[id] != nil else { return }
        if isCorrected {
            counters.digestsWithdrawn += 1
            for host in downloaders(of: id) {
                send(host, .digestsWithdrawn(id))
                sendAllDigests(of: id, to: host)
            }
            tasks[id]!.fresh = []
        }
        if !tasks[id]!.fresh.isEmpty { timers.schedule(.digests(id), atNs: afterMs(settings.digestsMs)) }
    }

    /// A host's copy of a piece is not what it should be, or cannot be told: it does not count.
    private mutating func setDoubted(_ number: HostNumber, _ id: TaskID, _ piece: PieceIndex) {
        guard var held = hosts[number]!.held[id], held.remove(piece) else { return }
        setHoldings(number, id, held)
    }

    mutating func pushDigests(_ id: TaskID) {
        guard let task = tasks[id], !task.fresh.isEmpty else { return }
        let pieces = task.fresh.sorted()
        tasks[id]!.fresh = []
        for host in downloaders(of: id) { sendDigests(of: id, pieces, to: host) }
    }

    mutating func sendAllDigests(of id: TaskID, to host: HostNumber) {
        guard let task = tasks[id], !task.digests.isEmpty else { return }
        sendDigests(of: id, task.digests.keys.sorted(), to: host)
    }

    private mutating func sendDigests(of id: TaskID, _ pieces: [UInt32], to host: HostNumber) {
        let known = tasks[id]!.digests
        var start = 0
        while start < pieces.count {
            let end = min(start + settings.digestsPerMessage, pieces.count)
            let part = pieces[start..<end].filter { known[$0] != nil }
            counters.digestsSent += UInt64(part.count)
            if !part.isEmpty {
                send(
                    host,
                    .digests(id, pieces: part.map { PieceIndex($0) }, digests: part.map { known[$0]!.digest })
                )
            }
            start = end
        }
    }

    /// The attached hosts that download a model with this task.
    func downloaders(of id: TaskID) -> [HostNumber] {
        var found: Set<HostNumber> = []
        for model in tasks[id]?.models ?? [] { found.formUnion(models[model]!.joined) }
        return found.filter { hosts[$0]!.session != nil }.sorted()
    }

    /// Somebody found a file whose pieces all matched their digests not to be what its publisher says.
    ///
    /// When a host has published the file, the finder's own copy is at fault. Otherwise the readers' digests are: they
    /// are withdrawn, nobody's pieces count any more, and the file is read again by others, once.
    mutating func takeMismatch(_ id: TaskID) {
        guard let task = tasks[id] else { return }
        let isPublished = hosts.values.contains { host in
            !host.isExcluded && task.models.contains { host.complete.contains($0) }
        }
        guard !isPublished else { return }
        counters.digestsWithdrawn += 1
        tasks[id]!.mismatches += 1
        for lease in leases.values.filter({ $0.task == id }).map(\.id).sorted() {
            send(leases[lease]!.holder, .leaseEnded(lease))
            endLease(lease)
        }
        tasks[id]!.digests = [:]
        tasks[id]!.fresh = []
        tasks[id]!.avoided = task.readers
        tasks[id]!.readers = []
        // A reader of pieces it keeps to itself must not forget the task: its models want it still.
        for host in hosts.keys.sorted() where hosts[host]!.held[id] != nil { setHoldings(host, id, nil) }
        guard tasks[id] != nil else { return }
        for host in downloaders(of: id) { send(host, .digestsWithdrawn(id)) }
        guard tasks[id]!.mismatches > 1 else { return }
        for model in task.models where !models[model]!.joined.isEmpty {
            let path = models[model]!.manifest.files.first { $0.task == id }?.path ?? id.description
            let sentence =
                "\(path) does not match its published digest, read twice from the origin; ask its publisher, or choose another revision"
            refuse(model, Failure(code: Failure.digestMismatchCode, sentence: sentence, retryable: false))
        }
    }
}
