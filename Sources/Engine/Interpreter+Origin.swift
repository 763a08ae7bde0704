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
            guard let number = downloadOfModel[model] else { return }
            let offers = neighbours.filter { $0.host != configuration.host }.map {
                ParentOffer(peer: peers.number(of: $0), isSeed: $0.isSeed, distance: $0.distance)
            }
            machineEvents.append((number, .neighbourhood(offers)))
        case .digests(let task, let digests):
            for place in filesOfTask[task] ?? [] {
                guard let layout = downloads[place.download]?.manifest.files[Int(place.file.value)].layout else {
                    continue
                }
                let valid = digests.filter { $0.key.value < layout.count }
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
        case .refused(let model, let failure):
            guard let number = downloadOfModel[model] else { return }
            downloads[number]?.failureCode = failure.code
            machineEvents.append((number, .refused(reason: failure.description)))
        }
    }

    private func leased(_ lease: LeaseID, _ model: ModelID, _ task: TaskID, _ pieces: Range<UInt32>, whole: Bool) {
        // A lease for what we no longer download goes back at once, so that another may have it.
        let giveBack = OriginFailure(
            code: "not_downloading", description: "this host does not download it", retryable: true)
        guard let number = downloadOfModel[model], let download = downloads[number], download.outcome == nil,
            let index = download.manifest.files.firstIndex(where: { $0.task == task }),
            pieces.upperBound <= download.manifest.files[index].layout.count
        else {
            scheduler.send(.leaseReturn(lease, giveBack))
            return
        }
        downloads[number]?.leases[lease] = HeldLease(lease: lease, task: task, pieces: pieces, whole: whole)
        downloadOfLease[lease] = number
        machineEvents.append((number, .originLease(lease, FileIndex(index), pieces, whole: whole)))
    }

    /// A piece of a lease arrived in a slot.
    func originPiece(_ lease: LeaseID, _ piece: PieceIndex, _ slot: Slot) {
        guard let number = downloadOfLease[lease], let task = downloads[number], task.outcome == nil,
            let held = task.leases[lease],
            let index = task.manifest.files.firstIndex(where: { $0.task == held.task })
        else {
            free(slot)
            return
        }
        let address = PieceAddress(file: FileIndex(index), piece: piece)
        downloads[number]?.slotsOut += 1
        let arrived = ArrivedPiece(address: address, source: .origin(lease))
        downloads[number]?.arrived[arrived] = Arrival(slot: slot, kind: nil)
        machineEvents.append((number, .originPiece(lease, address)))
    }

    func originEnded(_ lease: LeaseID, _ failure: OriginFailure?) {
        guard let number = downloadOfLease[lease] else { return }
        downloads[number]?.fetching.remove(lease)
        if let failure { downloads[number]?.leaseFailures[lease] = failure }
        machineEvents.append(
            (number, .originEnded(lease, failure: failure?.description, retryable: failure?.retryable ?? false)))
    }

    /// The machine is done with a lease.
    func returnLease(_ lease: LeaseID, _ failure: String?, of number: DownloadNumber) {
        let known = downloads[number]?.leaseFailures.removeValue(forKey: lease)
        downloads[number]?.leases[lease] = nil
        if downloads[number]?.fetching.contains(lease) != true { downloadOfLease[lease] = nil }
        guard let failure else {
            scheduler.send(.leaseReturn(lease, nil))
            return
        }
        scheduler.send(
            .leaseReturn(lease, known ?? OriginFailure(code: "failed", description: failure, retryable: true)))
    }

    /// What a newly attached scheduler must be told besides the store's inventory.
    public func attachment() -> (leases: [HeldLease], downloads: [(model: ModelID, manifest: Manifest)]) {
        let running = downloads.values.filter { $0.outcome == nil }
        return (running.flatMap { $0.leases.values }, running.map { ($0.model, $0.manifest) })
    }
}
