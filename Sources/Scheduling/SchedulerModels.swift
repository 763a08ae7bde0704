import Artifacts

/// Who downloads what, which seeds work on it, and what cannot be had.
extension Scheduler {
    /// Makes a model and its tasks known; false when it makes no sense or there is no room.
    mutating func know(_ id: ModelID, _ manifest: Manifest) -> Bool {
        if let known = models[id] {
            models[id]!.lastUsedNs = nowNs
            // The same content may be had elsewhere by now; a download under way keeps its origin.
            if known.joined.isEmpty, known.manifest.files == manifest.files {
                models[id]!.manifest = manifest
            }
            return true
        }
        makeRoomForModel()
        guard models.count < settings.modelsMax else { return false }
        var distinct: [TaskID] = []
        var seen: Set<TaskID> = []
        var pieceCount = 0
        for file in manifest.files where seen.insert(file.task).inserted {
            guard let count = task(file.task, sizeBytes: file.sizeBytes) else {
                counters.dropped += 1
                for task in distinct { forgetTaskIfUnused(task) }
                return false
            }
            distinct.append(file.task)
            pieceCount += count
        }
        var model = ModelState(
            id: id, order: nextModel, manifest: manifest, tasks: distinct, pieceCount: pieceCount)
        nextModel += 1
        model.lastUsedNs = nowNs
        for task in distinct {
            tasks[task]!.models.append(id)
            model.unheld += tasks[task]!.unheld
        }
        models[id] = model
        for host in hosts.values.filter({ !$0.unplaced.isEmpty }).map(\.number).sorted() {
            let claims = hosts[host]!.unplaced
            hosts[host]!.unplaced = []
            for claim in claims { adopt(claim, of: host) }
        }
        return true
    }

    private mutating func makeRoomForModel() {
        guard models.count >= settings.modelsMax else { return }
        let idle = models.values.filter { $0.joined.isEmpty }
        let oldest = idle.min { ($0.lastUsedNs, $0.id.description) < ($1.lastUsedNs, $1.id.description) }
        guard let oldest else { return }
        for lease in leases.values.filter({ $0.model == oldest.id }).map(\.id) { endLease(lease) }
        models[oldest.id] = nil
        for task in oldest.tasks {
            tasks[task]!.models.removeAll { $0 == oldest.id }
            forgetTaskIfUnused(task)
        }
    }

    mutating func join(_ number: HostNumber, _ id: ModelID, _ manifest: Manifest) {
        guard know(id, manifest), hosts[number]!.joined.count < settings.joinedPerHostMax else {
            let sentence =
                "the scheduler cannot take on this model now: too many are known or joined; try later"
            send(number, .refused(id, Failure(code: "busy", sentence: sentence, retryable: true)))
            return
        }
        if let refusal = models[id]!.refusal {
            guard nowNs >= refusal.untilNs else {
                send(number, .refused(id, refusal.failure))
                return
            }
            startAfresh(id)
        }
        if models[id]!.joined.isEmpty {
            models[id]!.progressNs = nowNs
            noteActive(id)
        }
        models[id]!.joined.insert(number)
        models[id]!.ordered[number] = nil
        models[id]!.faults[number] = nil
        models[id]!.neighbourhoods[number] = nil
        hosts[number]!.joined.insert(id)
        for task in models[id]!.tasks { sendAllDigests(of: task, to: number) }
        if models[id]!.joined.count <= settings.neighbourhoodAtOnceMax {
            sendNeighbourhoods(id, to: [number])
        }
        askForPush(id)
        markDirty(id)
    }

    /// Forgets why a model could not be had: it is tried again.
    private mutating func startAfresh(_ id: ModelID) {
        models[id]!.refusal = nil
        models[id]!.faults = [:]
        for task in models[id]!.tasks {
            tasks[task]!.attempts = 0
            tasks[task]!.mismatches = 0
            tasks[task]!.notBeforeNs = 0
            tasks[task]!.avoided = []
        }
    }

    mutating func leave(_ number: HostNumber, _ id: ModelID, _ finished: Bool, _ failure: Failure?) {
        guard let model = models[id] else { return }
        if finished { hosts[number]!.complete.insert(id) }
        models[id]!.ordered[number] = nil
        for lease in hosts[number]!.leases.sorted() where leases[lease]!.model == id { endLease(lease) }
        if !finished, hosts[number]!.isSeed, model.refusal == nil {
            models[id]!.faults[number] = (afterMs(settings.seedOrderMs), failure)
        }
        removeFromModel(number, id)
        markDirty(id)
    }

    mutating func removeFromModel(_ number: HostNumber, _ id: ModelID) {
        hosts[number]!.joined.remove(id)
        guard models[id] != nil else { return }
        models[id]!.joined.remove(number)
        models[id]!.neighbourhoods[number] = nil
        models[id]!.lastUsedNs = nowNs
        askForPush(id)
    }

    /// Tells all who download the model that it cannot be had.
    mutating func refuse(_ id: ModelID, _ failure: Failure) {
        counters.refusals += 1
        let joined = models[id]!.joined.sorted()
        models[id]!.refusal = (failure, afterMs(settings.refusalMs))
        models[id]!.joined = []
        models[id]!.ordered = [:]
        models[id]!.neighbourhoods = [:]
        for host in joined {
            hosts[host]!.joined.remove(id)
            send(host, .refused(id, failure))
        }
        for lease in leases.values.filter({ $0.model == id }).map(\.id).sorted() { endLease(lease) }
    }

    /// Sees to it that what is missing of a model is read at the origin.
    mutating func plan(_ id: ModelID) {
        guard !isLearning, !waitsForMove(id), let model = models[id], model.refusal == nil, !model.joined.isEmpty,
            model.unheld > 0
        else {
            return
        }
        if let failure = objectionToReading(id) {
            refuse(id, failure)
            return
        }
        orderSeeds(id)
        if models[id]!.refusal == nil { grantLeases(id) }
    }

    /// Seeds that count: with one attached or in grace, peers do not read the origin unless policy says so.
    func seeds() -> [HostState] {
        hosts.values.filter { $0.isSeed && !$0.isExcluded && !$0.info.readsNoOrigin }
    }

    private mutating func orderSeeds(_ id: ModelID) {
        let seeds = seeds()
        guard !seeds.isEmpty else { return }
        for (host, untilNs) in models[id]!.ordered where nowNs >= untilNs {
            models[id]!.ordered[host] = nil
            models[id]!.faults[host] = (afterMs(settings.seedOrderMs), nil)
        }
        for (host, fault) in models[id]!.faults where nowNs >= fault.untilNs {
            models[id]!.faults[host] = nil
        }
        let model = models[id]!
        let faulty = seeds.filter { model.faults[$0.number] != nil }
        let working = seeds.filter {
            (model.joined.contains($0.number) || model.ordered[$0.number] != nil)
                && model.faults[$0.number] == nil
        }
        let free = seeds.filter { seed in
            seed.session != nil && seed.hasReported && model.faults[seed.number] == nil
                && !model.joined.contains(seed.number) && model.ordered[seed.number] == nil
        }
        let chosen = free.sorted { preference($0, id) < preference($1, id) }
            .prefix(max(0, settings.seedsPerModel - working.count))
        for seed in chosen {
            let untilNs = afterMs(settings.seedOrderMs)
            models[id]!.ordered[seed.number] = untilNs
            timers.schedule(.plan(id), atNs: untilNs)
            send(seed.number, .fetchOrder(id, model.manifest))
        }
        guard working.isEmpty, chosen.isEmpty, faulty.count == seeds.count else { return }
        // Every seed gave up. What will not get better is passed on; the rest is tried again.
        let failures = faulty.sorted { $0.number < $1.number }.compactMap { model.faults[$0.number]?.failure }
        if failures.count == faulty.count, let failure = failures.first(where: { !$0.retryable }) {
            refuse(id, failure)
        } else if let untilNs = model.faults.values.map(\.untilNs).min() {
            timers.schedule(.plan(id), atNs: untilNs)
        }
    }

    private func preference(_ host: HostState, _ model: ModelID) -> UInt64 {
        mixed(model.description, seed: host.mix)
    }

    /// Who may read the model at the origin now: its seeds; where the cluster has no seed, its downloaders.
    func readers(of id: ModelID) -> [HostState] {
        let model = models[id]!
        let candidates = originReaders(among: model.joined)
        return candidates.filter {
            $0.session != nil && $0.hasReported && !$0.isExcluded && model.joined.contains($0.number)
                && model.faults[$0.number] == nil
        }
    }
}
