import Artifacts

/// Hosts come, go, come back and say what they hold.
extension Scheduler {
    mutating func attach(_ session: SessionID, _ info: HostInfo, _ claims: [HeldLease]) {
        let number: HostNumber
        if let known = numbers[info.host] {
            let state = hosts[known]!
            guard info.incarnation >= state.info.incarnation else {
                let reason =
                    "a later start of host \(info.host) is attached; stop this process or give it another host name"
                actions.append(.close(session, reason: reason))
                return
            }
            if let old = state.session {
                endSession(old, of: known)
                actions.append(.close(old, reason: "host \(info.host) attached again with a newer stream"))
            }
            number = known
            leaveAll(number)
        } else {
            guard hosts.count < settings.hostsMax else {
                let reason = "the scheduler serves \(settings.hostsMax) hosts already; start another cluster"
                actions.append(.close(session, reason: reason))
                return
            }
            number = nextHost
            nextHost += 1
            numbers[info.host] = number
            hosts[number] = HostState(number: number, info: info, mix: mixed(info.host.name, seed: seed))
        }
        hosts[number]!.info = info
        hosts[number]!.session = session
        hosts[number]!.hasReported = false
        forgetOriginShare(of: number)
        hosts[number]!.listed = []
        hosts[number]!.unplaced = []
        sessions[session] = number
        timers.schedule(.inventory(session), atNs: afterMs(settings.inventoryMs))
        send(number, .welcome(learningMs: isLearning ? settings.learningMs : 0))
        // Leases it does not claim end with its inventory: what it read under them is in there.
        var unclaimed = hosts[number]!.leases
        for claim in claims.prefix(1024) {
            unclaimed.remove(claim.lease)
            adopt(claim, of: number)
        }
        for lease in unclaimed.sorted() { leases[lease]!.settlesNs = .max }
    }

    mutating func detach(_ session: SessionID) {
        guard let number = sessions[session] else { return }
        endSession(session, of: number)
        hosts[number]!.session = nil
        hosts[number]!.graceEndsNs = afterMs(settings.graceMs)
        timers.schedule(.grace(number), atNs: hosts[number]!.graceEndsNs)
    }

    /// Forgets the stream and what was asked and answered on it.
    private mutating func endSession(_ session: SessionID, of number: HostNumber) {
        sessions[session] = nil
        if hosts[number]!.requestsWaiting > 0 {
            hosts[number]!.requestsWaiting = 0
            for reference in references.keys {
                references[reference]!.waiting.removeAll { $0.session == session }
            }
        }
        hosts[number]!.session = nil
        let lost = orders.values.filter { references[$0]?.order?.session == session }.sorted()
        for reference in lost { dropOrder(reference, becauseOf: nil) }
    }

    mutating func endGrace(_ number: HostNumber) {
        guard let host = hosts[number], host.session == nil else { return }
        guard nowNs >= host.graceEndsNs else {
            timers.schedule(.grace(number), atNs: host.graceEndsNs)
            return
        }
        leaveAll(number)
        for lease in host.leases.sorted() {
            counters.leasesLost += 1
            endLease(lease)
        }
        for task in host.held.keys { setHoldings(number, task, nil) }
        for model in models.keys {
            models[model]!.ordered[number] = nil
            models[model]!.faults[number] = nil
            models[model]!.exposed[number] = nil
            models[model]!.leasedTo[number] = nil
        }
        hosts[number] = nil
        numbers[host.info.host] = nil
    }

    /// Takes the host out of every model it downloads (its stream is new, or it is gone).
    private mutating func leaveAll(_ number: HostNumber) {
        for model in hosts[number]!.joined { removeFromModel(number, model) }
        for model in models.keys { models[model]!.ordered[number] = nil }
    }

    mutating func endInventoryWait(_ session: SessionID) {
        guard let number = sessions[session], !hosts[number]!.hasReported else { return }
        let reason =
            "host \(hosts[number]!.info.host) did not finish its inventory in \(settings.inventoryMs) ms"
        actions.append(.close(session, reason: reason))
        detach(session)
    }

    // MARK: Inventory

    mutating func takeInventory(
        _ number: HostNumber, _ heldModels: [HeldModel], _ heldTasks: [HeldTask], last: Bool
    ) {
        for held in heldModels {
            guard know(held.model, held.manifest) else { continue }
            learnReference(held)
            if held.complete { hosts[number]!.complete.insert(held.model) }
        }
        for held in heldTasks {
            guard let task = task(held.task, sizeBytes: held.sizeBytes), held.pieces.capacity == task,
                held.digests.count == held.pieces.count
            else {
                counters.dropped += 1
                continue
            }
            var pieces = held.pieces
            // News after the report adds to it: what was kept since its snapshot has been told already.
            let isMore = hosts[number]!.hasReported || !hosts[number]!.listed.insert(held.task).inserted
            if isMore, let earlier = hosts[number]!.held[held.task] {
                pieces.formUnion(earlier)
            }
            setHoldings(number, held.task, pieces)
            learnDigests(number, held.task, held.pieces.members, held.digests)
            forgetTaskIfUnused(held.task)
        }
        guard last, !hosts[number]!.hasReported else { return }
        hosts[number]!.hasReported = true
        let listed = hosts[number]!.listed
        hosts[number]!.listed = []
        for task in hosts[number]!.held.keys.filter({ !listed.contains($0) }) {
            setHoldings(number, task, nil)
        }
        for lease in hosts[number]!.leases.sorted() where leases[lease]!.settlesNs == .max { endLease(lease) }
        markActiveModelsDirty()
        endLearningIfDone()
    }

    /// The number of pieces of a task, which becomes known if it was not; nil when it was known with another size.
    mutating func task(_ id: TaskID, sizeBytes: UInt64) -> Int? {
        if let known = tasks[id] { return known.layout.fileBytes == sizeBytes ? known.pieceCount : nil }
        guard sizeBytes <= Limits.fileBytesMax, tasks.count < settings.tasksMax else { return nil }
        let task = TaskState(id: id, sizeBytes: sizeBytes)
        tasks[id] = task
        return task.pieceCount
    }

    /// Sets what a host holds of a task; nil: nothing.
    mutating func setHoldings(
        _ number: HostNumber, _ task: TaskID, _ pieces: PieceSet?, exposing: Set<PieceIndex> = []
    ) {
        guard tasks[task] != nil else { return }
        let before = hosts[number]!.held[task]
        let now = pieces?.isEmpty ?? true ? nil : pieces
        hosts[number]!.held[task] = now
        if before == nil, now != nil { tasks[task]!.holderCount += 1 }
        if before != nil, now == nil { tasks[task]!.holderCount -= 1 }
        if !hosts[number]!.isExcluded {
            let gone = (before?.members ?? []).filter { !(now?.contains($0) ?? false) }
            let new = (now?.members ?? []).filter { !(before?.contains($0) ?? false) }
            if !gone.isEmpty { note(tasks[task]!.remove(gone, of: number), of: task) }
            let exposed = new.filter { exposing.contains($0) }
            if !exposed.isEmpty { note(tasks[task]!.add(exposed, of: number, isExposed: true), of: task) }
            let rest = exposed.isEmpty ? new : new.filter { !exposing.contains($0) }
            if !rest.isEmpty { note(tasks[task]!.add(rest, of: number, isExposed: false), of: task) }
        }
        if (before == nil) != (now == nil) {
            for model in tasks[task]!.models { askForPush(model) }
            forgetTaskIfUnused(task)
        }
    }

    /// Adds pieces to what a host holds: the cheap way, for one message of news.
    mutating func addHoldings(_ number: HostNumber, _ task: TaskID, _ pieces: [PieceIndex], isExposed: Bool) {
        guard let capacity = tasks[task]?.pieceCount, !pieces.isEmpty else { return }
        if hosts[number]!.held[task] == nil {
            hosts[number]!.held[task] = PieceSet(capacity: capacity)
            tasks[task]!.holderCount += 1
            for model in tasks[task]!.models { askForPush(model) }
        }
        var new: [PieceIndex] = []
        for piece in pieces where hosts[number]!.held[task]!.insert(piece) { new.append(piece) }
        if !hosts[number]!.isExcluded {
            note(tasks[task]!.add(new, of: number, isExposed: isExposed), of: task)
        }
    }

    /// Passes on to the task's models what changed.
    mutating func note(_ change: HoldingChange, of task: TaskID) {
        guard change.unheld != 0 || change.hasOpened || !change.exposed.isEmpty else { return }
        for model in tasks[task]!.models {
            models[model]!.unheld += change.unheld
            for (host, count) in change.exposed {
                let before = models[model]!.exposed[host] ?? 0
                models[model]!.exposed[host] = max(0, before + count)
            }
            if change.hasOpened { models[model]!.openTasksAreStale = true }
            if change.unheld < 0 || change.exposed.values.contains(where: { $0 < 0 }) {
                models[model]!.progressNs = nowNs
            }
            if !models[model]!.joined.isEmpty { markDirty(model) }
        }
    }

    func forgetsTask(_ task: TaskState) -> Bool { task.holderCount == 0 && task.models.isEmpty }

    mutating func forgetTaskIfUnused(_ id: TaskID) {
        if let task = tasks[id], forgetsTask(task) { tasks[id] = nil }
    }

    // MARK: News

    mutating func takeKept(_ number: HostNumber, _ id: TaskID, _ pieces: [PieceIndex], _ digests: [Digest]) {
        guard let task = tasks[id], digests.isEmpty || digests.count == pieces.count,
            pieces.allSatisfy({ Int($0.value) < task.pieceCount })
        else {
            counters.dropped += 1
            return
        }
        if !hosts[number]!.hasReported { hosts[number]!.listed.insert(id) }
        let own = hosts[number]!.leases.filter { leases[$0]!.task == id }
        let leased = pieces.filter { piece in own.contains { leases[$0]!.pieces.contains(piece.value) } }
        let isWanted = task.models.contains { model in
            models[model]!.joined.contains { $0 != number }
        }
        if !leased.isEmpty {
            tasks[id]!.readers.insert(number)
            tasks[id]!.attempts = 0
            tasks[id]!.avoided.remove(number)
            addHoldings(number, id, leased, isExposed: isWanted)
            for model in task.models { noteOriginPieces(model, leased.count) }
        }
        addHoldings(number, id, pieces, isExposed: false)
        if !digests.isEmpty { learnDigests(number, id, pieces, digests) }
        for lease in own.sorted() where leases[lease]?.settlesNs != nil { endSettlingIfHeld(lease) }
    }

    mutating func takeForgot(_ number: HostNumber, _ id: TaskID) {
        guard let held = hosts[number]!.held[id], let task = tasks[id] else { return }
        let isJoined = task.models.contains { hosts[number]!.joined.contains($0) }
        for model in task.models { hosts[number]!.complete.remove(model) }
        setHoldings(number, id, nil)
        if isJoined, held.isFull { takeMismatch(id) }
    }

    // MARK: Blame

    /// A host says that a parent sent it wrong bytes, or does not give what it says it has.
    ///
    /// One accuser may itself be at fault, so it takes two, or a seed (which is trusted with digests anyway), or one
    /// that has tried again for `blameRepeatMs` and accuses few: otherwise a piece that only a silent host holds would
    /// never be read again when one host is left to want it.
    mutating func takeBlame(of parent: HostID, by accuser: HostNumber) {
        counters.blames += 1
        guard let number = numbers[parent], number != accuser, !hosts[number]!.isExcluded else { return }
        let limitNs = settings.blameMs * 1_000_000
        var recent = hosts[number]!.blamedBy.filter { nowNs - $0.value <= limitNs }
        let firstNs = recent[accuser]
        recent[accuser] = firstNs ?? nowNs
        hosts[number]!.blamedBy = recent
        let isRepeated = firstNs.map { nowNs - $0 >= settings.blameRepeatMs * 1_000_000 } ?? false
        let accusedMax = settings.blamedByOneMax
        let isBelieved =
            recent.count >= 2 || hosts[accuser]!.isSeed
            || isRepeated && hosts.values.reduce(0) { $0 + ($1.blamedBy[accuser] == nil ? 0 : 1) } <= accusedMax
        guard isBelieved else { return }
        hosts[number]!.blamedBy = [:]
        for lease in hosts[number]!.leases.sorted() {
            counters.leasesLost += 1
            send(number, .leaseEnded(lease))
            endLease(lease)
        }
        // What it holds cannot be had from it: it no longer counts, so that it may be read again elsewhere.
        for (task, pieces) in hosts[number]!.held {
            note(tasks[task]!.remove(pieces.members, of: number), of: task)
        }
        hosts[number]!.excludedUntilNs = afterMs(settings.exclusionMs)
        timers.schedule(.exclusion(number), atNs: hosts[number]!.excludedUntilNs)
        askForPushes(touching: number)
    }

    mutating func endExclusion(_ number: HostNumber) {
        guard let host = hosts[number], host.isExcluded, nowNs >= host.excludedUntilNs else { return }
        hosts[number]!.excludedUntilNs = 0
        for (task, pieces) in host.held {
            note(tasks[task]!.add(pieces.members, of: number, isExposed: false), of: task)
        }
        askForPushes(touching: number)
    }

    private mutating func askForPushes(touching number: HostNumber) {
        var touched = hosts[number]!.joined
        for task in hosts[number]!.held.keys { touched.formUnion(tasks[task]!.models) }
        for model in touched { askForPush(model) }
    }
}
