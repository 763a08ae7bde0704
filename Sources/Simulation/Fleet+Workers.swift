import Artifacts
import Swarm

/// Slots, workers and disks of the thin node.
extension Fleet {
    /// A worker takes a piece: its time is the host's, one piece after another.
    func keep(
        _ host: Host, _ running: Running, _ address: PieceAddress, _ expected: Digest?, _ source: PieceSource
    ) {
        let file = running.model * filesPerModel + Int(address.file.value)
        guard let place = slot(running, file, address.piece, source) else {
            return checker.object("\(host.id) has a piece verified that it has not: \(address)", nowNs)
        }
        running.slots[place].isWithWorker = true
        if let expected {
            let right = models[running.model].digests[Int(address.file.value)][Int(address.piece.value)]
            running.slots[place].agrees = expected == (running.slots[place].isRight ? right : wrongDigest)
        }
        let size = models[running.model].manifest.files[Int(address.file.value)].layout.range(of: address.piece).length
        host.workersFreeNs = max(nowNs, host.workersFreeNs) + nanoseconds(size, at: scenario.verifyBytesPerSecond)
        queue.push(
            .verified, atNs: host.workersFreeNs + scenario.storageLatencyNs, host.number, address.piece.value,
            halves(file, host.life))
    }

    private func slot(_ running: Running, _ file: Int, _ piece: PieceIndex, _ source: PieceSource) -> Int? {
        for place in running.slots.indices
        where running.slots[place].piece == piece.value && running.slots[place].file == UInt32(file)
            && !running.slots[place].isWithWorker && running.slots[place].source == source
        {
            return place
        }
        return nil
    }

    func discard(_ host: Host, _ running: Running, _ address: PieceAddress, _ source: PieceSource) {
        let file = running.model * filesPerModel + Int(address.file.value)
        guard let place = slot(running, file, address.piece, source) else {
            return checker.object("\(host.id) frees a slot it has not: \(address)", nowNs)
        }
        running.slots.swapAt(place, running.slots.count - 1)
        running.slots.removeLast()
    }

    func verified(_ host: Host, _ event: Event) {
        let (file, life) = (Int(event.low), event.high)
        guard host.isAlive, host.life == life, let running = host.running[file / filesPerModel] else { return }
        let found = running.slots.firstIndex { $0.isWithWorker && $0.piece == event.b && $0.file == UInt32(file) }
        guard let place = found else {
            return checker.object("\(host.id) lost the slot of piece \(event.b) that a worker had", nowNs)
        }
        let slot = running.slots[place]
        running.slots.swapAt(place, running.slots.count - 1)
        running.slots.removeLast()
        let address = PieceAddress(file: FileIndex(file % filesPerModel), piece: PieceIndex(event.b))
        if !slot.agrees { return deliver(host, life, running.model, .mismatched(address)) }
        guard host.roomPieces > 0 else {
            return deliver(host, life, running.model, .keepFailed(address, reason: "the disk is full"))
        }
        if host.roomPieces != .max { host.roomPieces -= 1 }
        checker.kept(host, address, isRight: slot.isRight, nowNs)
        host.kept[file].insert(address.piece)
        let size = models[running.model].manifest.files[Int(address.file.value)].layout.range(of: address.piece).length
        outcome.timeline.add(.kept, size, nowNs)
        trace(host, "keeps \(address) of \(slot.source)")
        let digests = models[running.model].digests[Int(address.file.value)]
        deliver(host, life, running.model, .kept(address, digest: slot.isRight ? digests[Int(event.b)] : wrongDigest))
        checker.keptPieces += 1
        if checker.keptPieces % checker.inspectionPieces == 0 { inspect(host) }
    }

    /// Lets a host's machines check their sums.
    func inspect(_ host: Host) {
        for running in host.running {
            guard let running else { continue }
            running.seat.place.pointee.checkInvariants()
            if running.slots.count > checker.slotsMax(scenario) {
                checker.object("\(host.id) has \(running.slots.count) slots taken", nowNs)
            }
        }
        host.upload.place.pointee.checkInvariants()
        let waitingMax = 4096 * (hosts.count + 4)
        if queue.count > waitingMax { checker.object("\(queue.count) events wait", nowNs) }
    }
}
