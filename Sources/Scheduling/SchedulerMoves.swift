import Artifacts

/// Models that move between schedulers: nobody is given a lease of them while their hosts are on their way.
///
/// Hosts decide by themselves which scheduler a model belongs to, and hear at different times that the list of
/// schedulers has changed. While some have moved and others have not, a piece may be under a lease here that another
/// scheduler granted, or held by a host that has not said so yet. So a model that comes here, and one that goes, is
/// under an embargo: what runs goes on, and nothing new is read at the origin, for `learningMs`: the time that hosts
/// are given after a restart as well.
extension Scheduler {
    /// For how long a model that has moved counts as such: a second host that moves does not begin an embargo anew.
    private static let memoryMs: UInt64 = 60_000

    mutating func takeMove(_ number: HostNumber, _ id: ModelID, _ move: ModelMove) {
        switch move {
        case .here(let claims):
            beginEmbargo(id)
            for claim in claims.prefix(1_024) { adopt(claim, of: number) }
        case .away:
            beginEmbargo(id)
            for lease in hosts[number]!.leases.sorted() where leases[lease]!.model == id { endLease(lease) }
            if models[id] != nil { models[id]!.ordered[number] = nil }
            removeFromModel(number, id)
        }
    }

    /// The list of schedulers is now so long. A model that becomes active here soon after may come from another one.
    mutating func takeSchedulerCount(_ count: Int) {
        guard count != schedulerCount else { return }
        // The first list says only that there are others; what they have been doing, hosts say with their joins.
        if schedulerCount != nil { listChangedNs = nowNs }
        schedulerCount = count
        originDivision.isStale = true
    }

    /// A model becomes active here.
    mutating func noteActive(_ id: ModelID) {
        if let listChangedNs, nowNs < listChangedNs + settings.learningMs * 1_000_000 { beginEmbargo(id) }
    }

    private mutating func beginEmbargo(_ id: ModelID) {
        let memoryNs = Scheduler.memoryMs * 1_000_000
        if moves.count >= 1_024 { moves = moves.filter { nowNs < $0.value + memoryNs } }
        if let beganNs = moves[id], nowNs < beganNs + memoryNs { return }
        moves[id] = nowNs
        counters.modelsMoved += 1
        markDirty(id)
    }

    /// Whether a model's leases have to wait because its hosts are moving; it is planned for again when they no longer
    /// have to.
    mutating func waitsForMove(_ id: ModelID) -> Bool {
        guard let beganNs = moves[id] else { return false }
        let endsNs = beganNs + settings.learningMs * 1_000_000
        guard nowNs < endsNs else { return false }
        timers.schedule(.plan(id), atNs: endsNs)
        return true
    }
}

/// Where a model goes that belongs to another scheduler now.
public enum ModelMove: Sendable, Hashable {
    /// It comes here; the host still reads under these leases of the scheduler before.
    case here([HeldLease])
    /// Its downloads go on under another scheduler.
    case away
}
