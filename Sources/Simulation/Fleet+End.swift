import Artifacts

/// What is looked at when a run is over.
extension Fleet {
    /// Pieces that nobody can get from any host, though some host says it has them.
    private var unobtainablePieces: Int {
        let living = hosts.filter(\.isAlive)
        return (0..<fileCount).reduce(0) { sum, file in
            let capacity = hosts[0].kept[file].capacity
            return sum
                + (0..<capacity).reduce(0) { count, piece in
                    let here = living.filter { $0.kept[file].contains(PieceIndex(piece)) }
                    return count + (!here.isEmpty && here.allSatisfy { $0.conduct == .silent } ? 1 : 0)
                }
        }
    }

    func finish() {
        outcome.scenario = scenario
        outcome.endNs = nowNs
        let ended = hosts.dropFirst(scenario.seedPeers).filter { $0.finishedNs != nil || $0.failure != nil }
        let honest = ended.filter(\.mustEnd)
        for host in hosts where host.isAlive {
            inspect(host)
            if remaining == 0, !outcome.isCutShort, host.slotCount > 0 || host.readCount > 0 {
                checker.object("\(host.id) ended with \(host.slotCount) slots and \(host.readCount) reads", nowNs)
            }
            for running in host.running {
                guard let running else { continue }
                outcome.wasteBytes += running.seat.place.pointee.progress.wastedBytes
                outcome.slotsMax = max(outcome.slotsMax, running.slotsMax)
            }
            outcome.sourcesOfOrigin += host.originPieces > 0 ? 1 : 0
        }
        if remaining > 0, !outcome.isCutShort {
            checker.object(
                "\(remaining) downloads never ended; \(unobtainablePieces) pieces lie with silent hosts alone", nowNs)
        }
        let wantedBytes = models.reduce(0) { $0 + $1.manifest.totalBytes }
        if !scenario.faults.losesPieces, outcome.originBytes != wantedBytes, remaining == 0 {
            checker.object("the origin sent \(outcome.originBytes) of \(wantedBytes) bytes", nowNs)
        }
        let finished = ended.compactMap(\.finishedNs)
        let lastNs = remaining == 0 ? honest.compactMap(\.finishedNs).max() ?? nowNs : nowNs
        outcome.makespanNs = lastNs - min(outcome.startNs, lastNs)
        outcome.finished = finished.count
        outcome.failed = ended.count - finished.count
        outcome.readsMax = checker.readsMax
        outcome.uplinkBytes = network.uplinkBytes
        outcome.queueMax = queue.countMax
        outcome.violations = checker.objections
        outcome.scheduler = scheduler.snapshot
    }
}
