import Artifacts

/// Origin leases: reading what the scheduler lets us read, and giving the lease back.
extension Download {
    /// A lease is ours. One we have already is late news, and ignored.
    mutating func takeLease(_ id: LeaseID, _ file: FileIndex, _ pieces: Range<UInt32>, isWhole: Bool) {
        guard !leases.contains(where: { $0.id == id }) else { return }
        guard ending == nil else {
            actions.append(.returnLease(id, failure: "the download is over"))
            return
        }
        let range = numbering.range(of: file)
        guard Int(pieces.upperBound) <= range.count else {
            actions.append(
                .returnLease(id, failure: "\(path(file)) has \(range.count) pieces, not \(pieces.upperBound)")
            )
            return
        }
        let numbers = range.lowerBound + Int(pieces.lowerBound)..<range.lowerBound + Int(pieces.upperBound)
        leases.append(OriginLease(id: id, file: file, range: numbers, isWhole: isWhole))
    }

    /// The scheduler took the lease back: reading stops, nothing is returned. An unknown lease crossed its return.
    mutating func leaseEnded(_ id: LeaseID) {
        guard let index = leases.firstIndex(where: { $0.id == id }) else { return }
        leases[index].isRevoked = true
        stop(index)
        if leases[index].phase == .idle { leases.remove(at: index) }
    }

    /// Stops reading under a lease.
    mutating func stop(_ index: Int) {
        guard case .reading(let run) = leases[index].phase else { return }
        leases[index].phase = .stopping
        clearPending(run)
        actions.append(.stopOrigin(leases[index].id))
    }

    private mutating func clearPending(_ run: Range<Int>) {
        for number in run where originPending.remove(number) { refresh(number) }
    }

    /// One piece of a lease lies in a slot.
    mutating func originPiece(_ id: LeaseID, _ address: PieceAddress) {
        guard let lease = leases.first(where: { $0.id == id }), lease.phase != .idle else {
            preconditionFailure("originPiece of \(address) under \(id), under which nothing is read")
        }
        let number = numbering.number(address)
        precondition(lease.range.contains(number), "originPiece of \(address) outside \(id)")
        if lease.phase == .stopping {
            discard(number, from: .origin(id))
            return
        }
        if originPending.remove(number) { refresh(number) }
        arrive(number, from: .origin(id))
    }

    /// Reading under a lease ended. An unknown lease crossed its end, and is ignored.
    mutating func originEnded(_ id: LeaseID, failure: String?, isRetryable: Bool, _ nowNs: UInt64) {
        guard let index = leases.firstIndex(where: { $0.id == id }) else { return }
        switch leases[index].phase {
        case .idle: preconditionFailure("originEnded of \(id), under which nothing is read")
        case .stopping:
            leases[index].phase = .idle
            if leases[index].isRevoked { leases.remove(at: index) }
        case .reading(let run):
            leases[index].phase = .idle
            let undelivered = run.first { originPending.contains($0) }
            clearPending(run)
            if let failure {
                leases[index].failure = failure
                if !isRetryable { end(.failed(failure), nowNs) }
            } else if let undelivered {
                leases[index].failure =
                    "the origin's answer ended before \(numbering.address(undelivered).piece) of \(path(leases[index].file))"
            }
        }
    }

    /// Moves every idle lease on: reads its next run of missing pieces, or gives it back.
    mutating func advanceLeases(_ nowNs: UInt64) {
        var index = 0
        while index < leases.count {
            if isDone(leases[index]) {
                let lease = leases.remove(at: index)
                actions.append(.returnLease(lease.id, failure: isAllHeld(lease) ? nil : lease.failure))
            } else {
                // A stream whose file came from elsewhere meanwhile is not read to its end.
                if leases[index].isWhole, files[Int(leases[index].file.value)].missing == 0 { stop(index) }
                startReading(index)
                index += 1
            }
        }
    }

    /// Whether nothing more happens under a lease: it failed or all is kept, and no piece of it is with a worker.
    private func isDone(_ lease: OriginLease) -> Bool {
        guard lease.phase == .idle else { return false }
        let isOurs = lease.range.contains { flights[$0]?.arrived == .origin(lease.id) }
        if isOurs { return false }
        return lease.failure != nil || isAllHeld(lease)
    }

    private func isAllHeld(_ lease: OriginLease) -> Bool { lease.range.allSatisfy { held.contains($0) } }

    /// Reads the first run of pieces that are missing, not on their way, and to be had from no linked parent.
    private mutating func startReading(_ index: Int) {
        let lease = leases[index]
        guard lease.phase == .idle, lease.failure == nil, ending == nil,
            files[Int(lease.file.value)].phase == .fetching,
            let first = lease.range.first(where: { isToBeRead($0) })
        else { return }
        let run: Range<Int>
        if lease.isWhole {
            run = lease.range
        } else {
            run = first..<(lease.range[first...].first { !isToBeRead($0) } ?? lease.range.upperBound)
        }
        for number in run where !held.contains(number) && flights[number]?.isBusy != true {
            originPending.insert(number)
            refresh(number)
        }
        leases[index].phase = .reading(run)
        let base = numbering.range(of: lease.file).lowerBound
        actions.append(
            .fetchOrigin(
                lease.id, lease.file, UInt32(run.lowerBound - base)..<UInt32(run.upperBound - base),
                whole: lease.isWhole))
    }

    private func isToBeRead(_ number: Int) -> Bool {
        !held.contains(number) && !originPending.contains(number) && flights[number]?.isBusy != true
            && !(digests[number] != nil && availability[number] > 0)
    }
}
