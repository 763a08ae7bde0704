import Artifacts

/// The end: everything asked for is taken back or waited for, then the download is over.
extension Download {
    /// Begins to end; the first reason counts.
    mutating func end(_ outcome: Ending, _ nowNs: UInt64) {
        guard ending == nil, !isOver else { return }
        ending = outcome
        for place in parents.indices {
            withdrawWants(place)
            parents[place].sessions.keys.sorted().forEach { closeSession(place, $0) }
        }
        let deadlineNs = nowNs + settings.endingReadTimeoutNs
        copyDeadlineNs = min(copyDeadlineNs, deadlineNs)
        for number in flights.keys {
            for index in flights[number]!.copies.indices {
                flights[number]!.copies[index].deadlineNs = min(
                    flights[number]!.copies[index].deadlineNs, deadlineNs)
            }
        }
        for index in leases.indices {
            switch outcome {
            case .finished: break
            case .cancelled: leases[index].failure = leases[index].failure ?? "the download was cancelled"
            case .failed(let reason): leases[index].failure = leases[index].failure ?? reason
            }
            stop(index)
        }
    }

    /// Once no slot, lease or check is left: leaves the parents, says what is to be said, and is over.
    mutating func finishWhenDrained(_ nowNs: UInt64) {
        guard let ending, flights.isEmpty, leases.isEmpty, !files.contains(where: { $0.phase == .publishing })
        else {
            return
        }
        precondition(
            inFlightBytes == 0 && originSlotBytes == 0,
            "a drained download holds \(inFlightBytes) bytes of slots")
        // Digests were withdrawn while pieces were with workers: what is stored must not be resumed from.
        for index in files.indices where files[index].phase == .clearing {
            forget(FileIndex(index))
            files[index].phase = .fetching
        }
        for parent in parents where parent.hasLink { actions.append(.leave(parent.peer)) }
        parents = []
        isOver = true
        if case .failed(let reason) = ending { actions.append(.failed(reason)) }
    }

    /// Checks the sums that every decision rests on; O(pieces), for tests and simulation.
    public func checkInvariants() {
        var bytes = 0
        var originBytes = 0
        var wants: [PeerNumber: Int] = [:]
        var reads: [PeerNumber: Int] = [:]
        for (number, flight) in flights {
            precondition(!flight.isEmpty, "an empty flight is kept")
            precondition(flight.liveCopies <= 2, "\(numbering.address(number)) is asked for more than twice")
            precondition(
                Set(flight.copies.map(\.peer)).count == flight.copies.count, "two copies from one parent")
            let size = numbering.sizeBytes(number)
            bytes += flight.copies.count * size
            if let source = flight.arrived {
                bytes += size
                if case .origin = source { originBytes += size }
            }
            for copy in flight.copies {
                if copy.state == .wanted {
                    wants[copy.peer, default: 0] += 1
                } else {
                    reads[copy.peer, default: 0] += 1
                }
            }
        }
        precondition(bytes == inFlightBytes && originBytes == originSlotBytes, "slots do not add up")
        var holders = Array(repeating: UInt16(0), count: availability.count)
        for parent in parents {
            precondition(
                parent.wants == wants[parent.peer] ?? 0 && parent.reads == reads[parent.peer] ?? 0,
                "parents' sums")
            for number in holders.indices where parent.has.contains(number) { holders[number] += 1 }
        }
        precondition(holders == availability, "availability does not add up")
        precondition(missingPieces == numbering.count - held.count, "missing pieces do not add up")
        for number in digests.indices {
            let before = wantable.contains(number)
            var copy = self
            copy.refresh(number)
            precondition(
                copy.wantable.contains(number) == before, "\(numbering.address(number)) is misjudged")
        }
        for parent in parents { precondition(parentDueNs <= parent.dueNs ?? .max, "a parent's limit is not noted") }
        if let wakeAtNs, !budgetChanged { precondition(wakeAtNs > lastNs, "asks to wake in the past") }
    }
}
