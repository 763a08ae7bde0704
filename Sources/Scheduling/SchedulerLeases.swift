import Artifacts

/// Origin leases: every piece is read by one host at a time, and few pieces depend on one host alone.
extension Scheduler {
    /// Grants leases of a model in rounds, one for each reader a round, as long as any may have one.
    mutating func grantLeases(_ id: ModelID) {
        rebuildOpenTasksIfStale(id)
        while let last = models[id]!.openTasks.last, tasks[last]!.openCount == 0 {
            models[id]!.openTasks.removeLast()
        }
        guard !models[id]!.openTasks.isEmpty else { return }
        let readers = readers(of: id)
        guard !readers.isEmpty else {
            if let untilNs = models[id]!.faults.values.map(\.untilNs).min() {
                timers.schedule(.plan(id), atNs: untilNs)
            }
            return
        }
        let all = Set(readers.map(\.number))
        var reading = readers.reduce(0) { $0 + outstanding($1.number) }
        let window = originWindow(id, areSeeds: readers.contains { $0.isSeed })
        guard reading < window else { return }
        // Who has read least comes first: then each reader sends an equal part of the model out.
        let ranked = readers.map { host in
            (outstanding(host.number), models[id]!.leasedTo[host.number] ?? 0, mixed(host.mix), host.number)
        }.sorted { ($0.0, $0.1, $0.2) < ($1.0, $1.1, $1.2) }
        var waiting = ranked.map(\.3)
        while !waiting.isEmpty, reading < window {
            waiting = waiting.filter { number in
                guard reading < window else { return false }
                guard let count = grantOne(id, to: number, piecesMax: max(1, window / 4), among: all) else {
                    return false
                }
                reading += count
                return true
            }
        }
    }

    /// How many pieces of a model may be under leases and unread: what its readers bring in `originWindowMs`.
    ///
    /// That keeps the origin busy while leases are returned and given, and no more: pieces leased far ahead come late
    /// when many readers share one origin.
    private func originWindow(_ id: ModelID, areSeeds: Bool) -> Int {
        let windowMs = areSeeds ? settings.originWindowMs : settings.originWindowMs / 5
        let inTime = models[id]!.originRate * Double(windowMs) / 1000
        return max(settings.originPiecesMin, Int(min(inTime, 1e6)))
    }

    /// Measures how fast a model's pieces come from the origin.
    mutating func noteOriginPieces(_ id: ModelID, _ count: Int) {
        guard models[id] != nil else { return }
        let sinceNs = nowNs - min(nowNs, models[id]!.originMarkNs)
        if sinceNs > 2_000_000_000 {
            // A pause: it begins anew, from what it knew.
            models[id]!.originMarkNs = nowNs
            models[id]!.originMarkPieces = 0
            return
        }
        models[id]!.originMarkPieces += count
        guard sinceNs >= 50_000_000, models[id]!.originMarkPieces >= settings.originPiecesMin else { return }
        let rate = Double(models[id]!.originMarkPieces) * 1e9 / Double(sinceNs)
        models[id]!.originRate = max(rate, (models[id]!.originRate + rate) / 2)
        models[id]!.originMarkNs = nowNs
        models[id]!.originMarkPieces = 0
    }

    private mutating func rebuildOpenTasksIfStale(_ id: ModelID) {
        guard models[id]!.openTasksAreStale else { return }
        models[id]!.openTasksAreStale = false
        models[id]!.openTasks = models[id]!.tasks.reversed().filter { tasks[$0]!.openCount > 0 }
    }

    /// Grants one lease and says of how many pieces; nil when there is none for this reader now.
    private mutating func grantOne(
        _ id: ModelID, to number: HostNumber, piecesMax: Int, among readers: Set<HostNumber>
    ) -> Int? {
        let free = settings.leasePieces * settings.leasesPerHolder - outstanding(number)
        guard free > 0 else { return nil }
        // So many that a reader has two leases within what may hang on it, and always has one to read.
        let most = min(settings.leasePieces, piecesMax, max(1, exposedMax(id) / 2))
        guard let (task, pieces) = nextRun(id, for: number, piecesMax: most, among: readers) else { return nil }
        let isWhole = tasks[task]!.isWhole
        guard pieces.count <= free || isWhole && free == settings.leasePieces * settings.leasesPerHolder
        else { return nil }
        if !isWhole, !mayExpose(id, number, pieces.count) { return nil }
        if !mayConnect(number) { return nil }
        let lease = LeaseID(nextLease)
        nextLease += 1
        register(
            LeaseState(id: lease, model: id, task: task, pieces: pieces, isWhole: isWhole, holder: number))
        models[id]!.progressNs = nowNs
        counters.leasesGranted += 1
        counters.piecesLeased += UInt64(pieces.count)
        models[id]!.leasedTo[number, default: 0] += pieces.count
        send(number, .lease(lease, id, task, pieces: pieces, whole: isWhole))
        return isWhole ? settings.leasePieces : pieces.count
    }

    /// The first pieces of the model, in file order, that this reader may be given.
    private mutating func nextRun(
        _ id: ModelID, for number: HostNumber, piecesMax: Int, among readers: Set<HostNumber>
    ) -> (TaskID, Range<UInt32>)? {
        for task in models[id]!.openTasks.reversed() where tasks[task]!.openCount > 0 {
            guard nowNs >= tasks[task]!.notBeforeNs else {
                timers.schedule(.plan(id), atNs: tasks[task]!.notBeforeNs)
                continue
            }
            // Those who failed stand back for those who did not, if there are any.
            if tasks[task]!.avoided.contains(number), !readers.isSubset(of: tasks[task]!.avoided) { continue }
            guard tasks[task]!.isWhole else {
                if let run = tasks[task]!.nextOpenRun(piecesMax: piecesMax) { return (task, run) }
                continue
            }
            if tasks[task]!.leased.isEmpty { return (task, 0..<UInt32(tasks[task]!.pieceCount)) }
        }
        return nil
    }

    /// The most pieces of a model that may hang on one reader: never more than a 24th of it, or 8 pieces.
    private func exposedMax(_ id: ModelID) -> Int {
        max(1, min(settings.exposedPiecesMax, max(8, models[id]!.pieceCount / 24)))
    }

    /// Whether a reader may read so many pieces more before others have taken what only it has.
    private mutating func mayExpose(_ id: ModelID, _ number: HostNumber, _ count: Int) -> Bool {
        let model = models[id]!
        guard model.joined.contains(where: { $0 != number && hosts[$0]!.session != nil }) else { return true }
        let limit = exposedMax(id)
        let reading = hosts[number]!.leases.filter { leases[$0]!.model == id }.reduce(0) { $0 + unread($1) }
        if (model.exposed[number] ?? 0) + reading + count <= limit { return true }
        // Nobody takes them: go on slowly, so that a stuck child does not hold everybody up.
        let stallNs = model.progressNs + settings.stallMs * 1_000_000
        if nowNs >= stallNs { return true }
        timers.schedule(.plan(id), atNs: stallNs)
        return false
    }

    /// Pieces of a lease its holder has not announced yet.
    private func unread(_ lease: LeaseID) -> Int {
        let state = leases[lease]!
        guard let held = hosts[state.holder]!.held[state.task] else { return state.pieces.count }
        return state.pieces.reduce(0) { $0 + (held.contains(PieceIndex($1)) ? 0 : 1) }
    }

    /// Pieces a host is reading under all its leases; a whole file counts as one full lease.
    private func outstanding(_ number: HostNumber) -> Int {
        hosts[number]!.leases.reduce(0) { sum, lease in
            let state = leases[lease]!
            if state.settlesNs != nil { return sum }
            return sum + (state.isWhole ? settings.leasePieces : unread(lease))
        }
    }

    private mutating func register(_ lease: LeaseState) {
        leases[lease.id] = lease
        hosts[lease.holder]!.leases.insert(lease.id)
        tasks[lease.task]!.lease(lease.pieces)
        tasks[lease.task]!.readers.insert(lease.holder)
    }

    /// The lease is over, whatever became of it: pieces nobody holds may be leased again.
    mutating func endLease(_ id: LeaseID) {
        guard let lease = leases.removeValue(forKey: id) else { return }
        hosts[lease.holder]?.leases.remove(id)
        note(tasks[lease.task]!.unlease(lease.pieces), of: lease.task)
        // Its holder may have another, of any model that waited for it.
        var waiting = hosts[lease.holder]?.joined ?? []
        waiting.insert(lease.model)
        for model in waiting where models[model].map({ !$0.joined.isEmpty && $0.unheld > 0 }) ?? false {
            markDirty(model)
        }
    }

    /// A host says it reads under this lease: granted by an earlier life of the scheduler, or before its stream was
    /// lost.
    mutating func adopt(_ claim: HeldLease, of number: HostNumber) {
        if let known = leases[claim.lease] {
            if known.holder != number { send(number, .leaseEnded(claim.lease)) }
            return
        }
        guard let task = tasks[claim.task], let model = task.models.first else {
            if hosts[number]!.unplaced.count < 64 { hosts[number]!.unplaced.append(claim) }
            return
        }
        let isFree = claim.pieces.allSatisfy { !task.leased.contains(PieceIndex($0)) }
        guard Int(claim.pieces.upperBound) <= task.pieceCount, !claim.pieces.isEmpty, isFree,
            claim.lease.value < UInt64.max / 2
        else {
            send(number, .leaseEnded(claim.lease))
            return
        }
        counters.leasesAdopted += 1
        nextLease = max(nextLease, claim.lease.value + 1)
        tasks[claim.task]!.isWhole = task.isWhole || claim.whole
        register(
            LeaseState(
                id: claim.lease, model: model, task: claim.task, pieces: claim.pieces, isWhole: claim.whole,
                holder: number))
    }

    mutating func takeLeaseReturn(_ number: HostNumber, _ id: LeaseID, _ failure: Failure?, needsWhole: Bool) {
        guard let lease = leases[id], lease.holder == number else {
            counters.dropped += 1
            return
        }
        if needsWhole, !lease.isWhole {
            tasks[lease.task]!.isWhole = true
            endLease(id)
            return
        }
        guard let failure else {
            leases[id]!.settlesNs = afterMs(settings.settleMs)
            endSettlingIfHeld(id)
            if leases[id] != nil { timers.schedule(.settle(id), atNs: afterMs(settings.settleMs)) }
            return
        }
        counters.leasesFailed += 1
        endLease(id)
        takeReadFailure(lease, failure)
    }

    private mutating func takeReadFailure(_ lease: LeaseState, _ failure: Failure) {
        if failure.code == Failure.digestMismatchCode {
            takeMismatch(lease.task)
            return
        }
        guard failure.retryable || failure.isOfHost else {
            refuse(lease.model, failure)
            return
        }
        tasks[lease.task]!.attempts += 1
        tasks[lease.task]!.avoided.insert(lease.holder)
        guard tasks[lease.task]!.attempts < settings.leaseAttemptsMax else {
            refuse(lease.model, failure)
            return
        }
        if failure.isOfHost {
            models[lease.model]!.faults[lease.holder] = (afterMs(settings.seedOrderMs), failure)
        } else {
            let delayMs = min(
                settings.backoffMaxMs, settings.backoffMs << UInt64(tasks[lease.task]!.attempts - 1))
            tasks[lease.task]!.notBeforeNs = afterMs(jittered(delayMs))
        }
        markDirty(lease.model)
    }

    /// ± 25 %, so that the failures of many tasks do not all come back at once.
    private mutating func jittered(_ delayMs: UInt64) -> UInt64 {
        jitter = mixed(jitter)
        return delayMs * 3 / 4 + jitter % (delayMs / 2 + 1)
    }

    mutating func endSettlingIfHeld(_ id: LeaseID) {
        if unread(id) == 0 { endLease(id) }
    }

    mutating func endSettling(_ id: LeaseID) {
        guard let settlesNs = leases[id]?.settlesNs, settlesNs != .max else { return }
        guard nowNs >= settlesNs else {
            timers.schedule(.settle(id), atNs: settlesNs)
            return
        }
        endLease(id)
    }
}
