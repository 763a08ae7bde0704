import Artifacts

/// Wants, upload slots and leases.
extension Upload {
    /// A child would like to read a piece. A session that is over has crossed the want: it was answered then.
    mutating func wanted(_ session: UploadSessionID, _ piece: PieceIndex, _ nowNs: UInt64) {
        guard let task = openTask(of: session), let held = tasks[task]?.held else { return }
        guard held.contains(piece) else {
            actions.append(.sendAbsent(session, piece))
            if Int(piece.value) >= held.capacity {
                offend(session.link, "it wants pieces beyond the end of a file")
            }
            return
        }
        guard !isActive(session, piece) else {
            return offend(session.link, "it wants pieces that it has wanted already")
        }
        let queuedHere = queue.reduce(0) { $0 + ($1.session.link == session.link ? 1 : 0) }
        guard queue.count < settings.queuedWantsMax, queuedHere < settings.queuedWantsPerLinkMax, !isBehind else {
            return turnAway(session, piece)
        }
        // A slot that is free is filled from the queue at the end of this very event.
        queue.append(
            QueuedWant(
                session: session, piece: piece, task: task,
                untilNs: nowNs + max(settings.queueWaitNs, min(2_000_000_000, 4 * serviceNs))))
    }

    /// Whether another want would wait so long that its child does better elsewhere.
    ///
    /// Not at a source that tells one child first: what that child is to read it gets nowhere else.
    private var isBehind: Bool {
        settings.firstChildWaitNs == nil && queue.count >= settings.slotsMax
            && serviceNs * UInt64(queue.count) / UInt64(settings.slotsMax) > settings.queueGoalNs
    }

    /// Whether a child waits for a piece, or reads it.
    func isActive(_ session: UploadSessionID, _ piece: PieceIndex) -> Bool {
        slots.contains { $0.session == session && $0.piece == piece && $0.state != .orphaned }
            || queue.contains { $0.session == session && $0.piece == piece }
    }

    /// No slot: the child hears when there may be one.
    private mutating func turnAway(_ session: UploadSessionID, _ piece: PieceIndex) {
        counted.turnedAway += 1
        let turns = UInt64(queue.count / settings.slotsMax + 1)
        let retryNs = min(max(serviceNs * turns, settings.retryMinNs), settings.retryMaxNs)
        actions.append(.sendBusy(session, piece, retryAfterNs: retryNs))
    }

    /// Gives free slots to the best of the wants that wait.
    mutating func fillSlots() {
        while slots.count < settings.slotsMax, let index = bestQueued() {
            let want = queue.remove(at: index)
            slots.append(Slot(session: want.session, piece: want.piece, task: want.task))
            actions.append(.export(want.session, want.task, want.piece))
        }
    }

    /// Served least, then the link with the fewest slots, then the oldest; links at their bound wait.
    private func bestQueued() -> Int? {
        var best: (index: Int, served: UInt32, taken: Int)?
        for (index, want) in queue.enumerated() {
            // An export of the same piece that nobody waits for must end before another is made for the session.
            let isBlocked = slots.contains { $0.session == want.session && $0.piece == want.piece }
            let taken = slots.reduce(0) { $0 + ($1.session.link == want.session.link ? 1 : 0) }
            guard !isBlocked, taken < settings.slotsPerLinkMax else { continue }
            guard settings.firstChildWaitNs != nil else {
                // Nothing but the fewest slots counts, and no one has fewer than none.
                if best == nil || taken < best!.taken { best = (index, 0, taken) }
                if taken == 0 { return index }
                continue
            }
            let underWay = slots.reduce(UInt32(0)) {
                $0 + ($1.task == want.task && $1.piece == want.piece && $1.state == .exporting ? 1 : 0)
            }
            let served = (tasks[want.task]?.served[Int(want.piece.value)] ?? 0) + underWay
            if best == nil || (served, taken) < (best!.served, best!.taken) { best = (index, served, taken) }
        }
        return best?.index
    }

    /// Where an export that was asked for and not made yet is.
    private func exporting(_ session: UploadSessionID, _ piece: PieceIndex) -> Int {
        let index = slots.firstIndex {
            guard $0.session == session, $0.piece == piece else { return false }
            if case .granted = $0.state { return false }
            return true
        }
        guard let index else { preconditionFailure("exported \(piece) for \(session), for which no export was asked") }
        return index
    }

    /// There is no room for an export now: the child hears when there may be.
    mutating func exportDeferred(_ session: UploadSessionID, _ piece: PieceIndex) {
        let slot = slots.remove(at: exporting(session, piece))
        if slot.state == .exporting { turnAway(session, piece) }
    }

    /// An export is made, or could not be.
    mutating func exported(_ session: UploadSessionID, _ piece: PieceIndex, ok: Bool, _ nowNs: UInt64) {
        let index = exporting(session, piece)
        switch (slots[index].state, ok) {
        case (.exporting, true):
            slots[index].state = .granted(sinceNs: nowNs, untilNs: nowNs + settings.leaseNs)
            tasks[slots[index].task]!.served[Int(piece.value)] += 1
            counted.granted += 1
            if settings.firstChildWaitNs != nil {
                firstChildReads(slots[index].task, piece, session, dueNs: nowNs + firstChildWaitNs)
            }
            actions.append(.grant(session, piece, leaseNs: settings.leaseNs))
        case (.exporting, false):
            slots.remove(at: index)
            actions.append(.sendAbsent(session, piece))
        case (_, true):
            slots.remove(at: index)
            actions.append(.revoke(session, piece))
        case (_, false):
            slots.remove(at: index)
        }
    }

    /// The child is done with a piece, or takes its want back. What is over already is late, and ignored.
    mutating func released(_ session: UploadSessionID, _ piece: PieceIndex, _ nowNs: UInt64) {
        queue.removeAll { $0.session == session && $0.piece == piece }
        for slot in slots where slot.session == session && slot.piece == piece {
            guard case .granted(let sinceNs, _) = slot.state else { continue }
            firstChildReads(slot.task, piece, session, dueNs: nowNs + firstChildMarginNs)
            serviceNs = (serviceNs * 7 + (nowNs - sinceNs)) / 8
            if let offences = links[session.link]?.offences, offences > 0 {
                links[session.link]!.offences = offences - 1
            }
        }
        endSlots { $0.session == session && $0.piece == piece }
    }

    /// Ends slots: a grant is revoked now, an export under way as soon as it is made.
    mutating func endSlots(where isEnding: (Slot) -> Bool) {
        var kept: [Slot] = []
        for var slot in slots {
            guard isEnding(slot) else {
                kept.append(slot)
                continue
            }
            switch slot.state {
            case .granted: actions.append(.revoke(slot.session, slot.piece))
            case .exporting, .orphaned:
                slot.state = .orphaned
                kept.append(slot)
            }
        }
        slots = kept
    }

    /// Acts on every limit that has passed: waits, leases, news.
    mutating func expire(_ nowNs: UInt64) {
        while let want = queue.first, want.untilNs <= nowNs {
            queue.removeFirst()
            turnAway(want.session, want.piece)
        }
        let lost = slots.filter {
            if case .granted(_, let untilNs) = $0.state { untilNs <= nowNs } else { false }
        }
        for slot in lost {
            // An offence before this one may have ended the whole link, and this slot with it.
            guard slots.contains(where: { $0.session == slot.session && $0.piece == slot.piece }) else {
                continue
            }
            endSlots { $0.session == slot.session && $0.piece == slot.piece }
            counted.leasesLost += 1
            offend(slot.session.link, "it holds pieces longer than their leases")
        }
        expireNews(nowNs)
    }

    /// Checks the sums that every decision rests on, for tests and simulation.
    public func checkInvariants() {
        precondition(slots.count <= settings.slotsMax, "more slots than there are")
        for link in Set(slots.map(\.session.link)) {
            let taken = slots.reduce(0) { $0 + ($1.session.link == link ? 1 : 0) }
            precondition(taken <= settings.slotsPerLinkMax, "a link has \(taken) slots")
        }
        for slot in slots where slot.state != .orphaned {
            precondition(openTask(of: slot.session) == slot.task, "a slot without its session")
        }
        precondition(queue.count <= settings.queuedWantsMax, "the queue is too long")
        precondition(Set(tasksWithNews).count == tasksWithNews.count, "news told twice")
        for task in tasks.values {
            precondition(!task.sessions.isEmpty, "a task nobody is interested in is kept")
        }
    }
}
