import Artifacts
import Memory
import Swarm

extension Interpreter {
    /// What the scheduler says.
    func schedulerEvent(_ message: SchedulerDownlink) {
        switch message {
        case .attached, .detached:
            break
        case .fetch(let model, let manifest):
            order(model, manifest)
        case .neighbourhood(let model, let neighbours):
            guard let number = downloadOfModel[model], downloads[number]?.isRunning == true else { return }
            let offers = neighbours.filter { $0.host != configuration.host }.flatMap { neighbour in
                peers.numbers(of: neighbour, rails: liveDialing).map {
                    ParentOffer(peer: $0, isSeed: neighbour.isSeed, distance: neighbour.distance)
                }
            }
            machineEvents.append((number, .neighbourhood(offers)))
            for offer in offers { lookUp(offer.peer) }
        case .digests(let task, let digests):
            for place in filesOfTask[task] ?? [] {
                guard let layout = downloads[place.download]?.file(place.file).layout else { continue }
                // Numbers from elsewhere never trap.
                let valid = digests.filter { Int($0.key.value) < layout.count }
                machineEvents.append((place.download, .digests(place.file, valid)))
            }
        case .digestsWithdrawn(let task):
            for place in filesOfTask[task] ?? [] {
                machineEvents.append((place.download, .digestsWithdrawn(place.file)))
            }
        case .lease(let lease, let model, let task, let pieces, let whole):
            leased(lease, model, task, pieces, whole: whole)
        case .leaseEnded(let lease):
            guard let number = downloadOfLease[lease] else { return }
            machineEvents.append((number, .leaseEnded(lease)))
            downloads[number]?.leases[lease] = nil
            forgetLease(lease, of: number)
        case .refused(let model, let failure):
            guard let number = downloadOfModel[model], downloads[number]?.isRunning == true else { return }
            downloads[number]?.failureCode = failure.code
            machineEvents.append((number, .refused(reason: failure.description)))
        }
    }

    private func leased(_ lease: LeaseID, _ model: ModelID, _ task: TaskID, _ pieces: Range<UInt32>, whole: Bool) {
        // Late news of one we have, or had and still read under.
        guard downloadOfLease[lease] == nil else { return }
        guard let number = downloadOfModel[model], let download = downloads[number], download.isRunning,
            let place = download.place(of: task), Int(pieces.upperBound) <= download.file(place).layout.count
        else {
            // A lease for what we do not download goes back at once, so that another may have it.
            let giveBack = OriginFailure(
                code: "not_downloading", description: "this host does not download it", retryable: true)
            scheduler.send(.leaseReturn(lease, giveBack))
            return
        }
        download.leases[lease] = HeldLease(lease: lease, task: task, pieces: pieces, whole: whole)
        downloadOfLease[lease] = number
        machineEvents.append((number, .originLease(lease, place, pieces, whole: whole)))
    }

    /// Lets go of a lease's place, unless reading under it still runs.
    private func forgetLease(_ lease: LeaseID, of number: DownloadNumber) {
        guard downloads[number]?.leases[lease] == nil, downloads[number]?.fetching[lease] == nil else { return }
        downloadOfLease[lease] = nil
        downloads[number]?.leaseFailures[lease] = nil
    }

    /// A piece of a lease arrived in a slot.
    func originPiece(_ lease: LeaseID, _ piece: PieceIndex, _ slot: Slot) {
        guard let number = downloadOfLease[lease], let task = downloads[number], task.outcome == nil,
            let fetch = task.fetching[lease], fetch.pieces.contains(piece.value)
        else {
            free(slot)
            return
        }
        let address = PieceAddress(file: fetch.file, piece: piece)
        task.slotsOut += 1
        task.arrived[ArrivedPiece(address: address, source: .origin(lease))] = Arrival(slot: slot, kind: nil)
        machineEvents.append((number, .originPiece(lease, address)))
    }

    func originEnded(_ lease: LeaseID, _ failure: OriginFailure?) {
        // The reader may have given back a slot that it did not fill.
        slotsFreed()
        guard let number = downloadOfLease[lease], let task = downloads[number],
            task.fetching.removeValue(forKey: lease) != nil
        else { return }
        if let failure { task.leaseFailures[lease] = failure }
        machineEvents.append(
            (number, .originEnded(lease, failure: failure?.description, retryable: failure?.retryable ?? false)))
        forgetLease(lease, of: number)
    }

    /// The machine is done with a lease.
    func returnLease(_ lease: LeaseID, _ failure: String?, of number: DownloadNumber) {
        let known = downloads[number]?.leaseFailures.removeValue(forKey: lease)
        downloads[number]?.leases[lease] = nil
        forgetLease(lease, of: number)
        scheduler.send(
            .leaseReturn(
                lease,
                failure.map { known ?? OriginFailure(code: "failed", description: $0, retryable: true) }))
    }

    /// What a newly attached scheduler must be told besides the store's inventory.
    public func attachment() -> (leases: [HeldLease], downloads: [(model: ModelID, manifest: Manifest)]) {
        let running = downloads.values.filter { $0.isRunning }
        return (running.flatMap { $0.leases.values }, running.map { ($0.model, $0.manifest) })
    }
}
