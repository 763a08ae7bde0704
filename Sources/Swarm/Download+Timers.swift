import Artifacts

/// Time: what is over its limit, and when to wake next.
extension Download {
    /// Acts on every limit that has passed. Each is cleared or moved on, so that `wakeAtNs` moves on too.
    mutating func expire(_ nowNs: UInt64) {
        lastNs = max(lastNs, nowNs)
        expireParents(nowNs)
        expireCopies(nowNs)
        guard ending == nil else { return }
        for index in files.indices {
            guard case .awaitingDigests(let untilNs) = files[index].phase, untilNs <= nowNs else { continue }
            setPhase(FileIndex(index), .fetching)
            end(
                .failed(
                    "\(path(FileIndex(index))) does not match its published digest, and no new piece digests came: "
                        + "its reader was wrong or the origin changed; pull the model again"), nowNs)
            return
        }
    }

    /// Notes a limit of a parent, a pause or a session, so that parents are looked at no sooner than one passes.
    mutating func noteDue(_ atNs: UInt64) { parentDueNs = min(parentDueNs, atNs) }

    private mutating func expireParents(_ nowNs: UInt64) {
        guard parentDueNs <= nowNs else { return }
        for place in parents.indices {
            expireParent(place, nowNs)
            if parents[place].isUp { expireSessions(place, nowNs) }
        }
        parentDueNs = .max
        for parent in parents { noteDue(parent.dueNs ?? .max) }
    }

    private mutating func expireParent(_ place: Int, _ nowNs: UInt64) {
        switch parents[place].state {
        case .connecting(let deadlineNs) where deadlineNs <= nowNs:
            drop(place, reason: "its link did not come up in time", blamesWay: true, isSilent: true)
        case .waiting(let untilNs) where untilNs <= nowNs: parents[place].state = .idle
        default: break
        }
        if let untilNs = parents[place].pausedUntilNs, untilNs <= nowNs { parents[place].pausedUntilNs = nil }
    }

    private mutating func expireSessions(_ place: Int, _ nowNs: UInt64) {
        for (file, session) in parents[place].sessions {
            switch session.state {
            case .opening(let deadlineNs) where deadlineNs <= nowNs:
                drop(place, reason: "it is silent: no piece map in time", blamesWay: true, isSilent: true)
                return
            case .unknown(let retryAtNs) where retryAtNs <= nowNs:
                parents[place].sessions[file]!.state = .again
                parents[place].sessionsDirty = true
            default: break
            }
        }
    }

    private mutating func expireCopies(_ nowNs: UInt64) {
        guard copyDeadlineNs <= nowNs else { return }
        for number in flights.keys.sorted() {
            for copy in flights[number]?.copies ?? [] where copy.deadlineNs <= nowNs && !copy.isAbandoned {
                guard let place = place(of: copy.peer), parents[place].isUp,
                    flights[number]?.copies.contains(where: { $0.peer == copy.peer }) == true
                else { continue }
                switch copy.state {
                case .wanted: wantTimedOut(number, place, nowNs)
                case .reading:
                    drop(
                        place, reason: "reading \(numbering.address(number)) did not end in time", blamesWay: true,
                        isSilent: true)
                }
            }
        }
        copyDeadlineNs = .max
        for flight in flights.values {
            for copy in flight.copies where !copy.isAbandoned {
                copyDeadlineNs = min(copyDeadlineNs, copy.deadlineNs)
            }
        }
    }

    /// A want stayed unanswered: taken back, and the parent rests; a few in a row and its link is dropped.
    private mutating func wantTimedOut(_ number: Int, _ place: Int, _ nowNs: UInt64) {
        actions.append(.withdraw(parents[place].peer, numbering.address(number)))
        removeCopy(number, parents[place].peer)
        parents[place].wantTimeouts += 1
        if parents[place].wantTimeouts >= settings.wantTimeoutsMax {
            drop(
                place, reason: "it is silent: \(parents[place].wantTimeouts) wants in a row went unanswered",
                blamesWay: true, isSilent: true)
        } else {
            pause(place, untilNs: nowNs + backoff(settings.backoffNs, doublings: parents[place].wantTimeouts))
        }
    }

    /// When to send a `tick` at the latest; nil when nothing waits for time. Always later than the last event's time,
    /// except that a changed budget asks for one at once.
    public var wakeAtNs: UInt64? {
        guard isStarted, !isOver else { return nil }
        if budgetChanged { return 0 }
        var earliest = endGameWakeNs(after: lastNs) ?? .max
        let waitsToConnect = missingPieces > 0 && ending == nil
        for place in parents.indices {
            if case .waiting = parents[place].state, !waitsToConnect, parents[place].pausedUntilNs == nil { continue }
            if let dueNs = parents[place].dueNs { earliest = min(earliest, dueNs) }
        }
        if neighbourUntilNs > lastNs { earliest = min(earliest, neighbourUntilNs) }
        if !flights.isEmpty { earliest = min(earliest, copyDeadlineNs) }
        for file in files where ending == nil {
            if case .awaitingDigests(let untilNs) = file.phase { earliest = min(earliest, untilNs) }
        }
        return earliest == .max ? nil : earliest
    }
}
