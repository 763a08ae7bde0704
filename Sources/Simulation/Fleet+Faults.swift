import Artifacts
import Scheduling
import Swarm

/// What goes wrong, and when.
extension Fleet {
    /// Who is chosen for what from the start.
    struct Chosen {
        var slow: Set<Int> = []
        var conducts: [(host: Int, conduct: Host.Conduct)] = []
        var full: [Int] = []
        var skewed: [Int] = []
    }

    /// Hosts with a slow interface or a small disk, and hosts that misbehave from the start: all of them peers, at most
    /// half of them, no one twice. Clocks differ anywhere.
    static func chosen(_ scenario: Scenario, _ random: inout SeededGenerator) -> Chosen {
        let plan = scenario.faults
        var peers = Array(scenario.seedPeers..<scenario.seedPeers + scenario.peers)
        peers.shuffle(using: &random)
        var rest = peers.prefix(max(1, scenario.peers / 2))
        func take(_ count: Int) -> [Int] {
            let taken = Array(rest.prefix(count))
            rest = rest.dropFirst(count)
            return taken
        }
        var chosen = Chosen()
        chosen.conducts += take(plan.corrupting).map { ($0, .corrupting) }
        chosen.conducts += take(plan.silent).map { ($0, .silent) }
        chosen.slow = Set(take(plan.slow))
        chosen.conducts += take(plan.lying).map { ($0, .lying) }
        chosen.full = take(plan.fullDisks)
        chosen.skewed = Array((0..<scenario.seedPeers + scenario.peers).shuffled(using: &random).prefix(plan.skewed))
        return chosen
    }

    func scheduleFaults() {
        let plan = scenario.faults
        checker.isAlwaysFaulty = plan.corrupting + plan.silent + plan.lying + plan.fullDisks > 0
        // Around the time that the first downloads are under way.
        let spanNs = 2 * LowerBound(scenario).ns
        func time() -> UInt64 { outcome.startNs + random.next() % (spanNs + 1) }
        for index in 0..<plan.crashes {
            let host = scenario.seedPeers + Int(random.next() % UInt64(scenario.peers))
            let atNs = time()
            let backNs = atNs + 50_000_000 + random.next() % 5_000_000_000
            at(atNs, .fault(.crash(host)))
            at(backNs, .fault(.comeBack(host)))
            if index < plan.stale { at(backNs + 1 + random.next() % 1_000_000_000, .fault(.staleMessages(host))) }
        }
        for seed in 0..<min(plan.seedLosses, max(0, scenario.seedPeers - 1)) { at(time(), .fault(.loseSeed(seed))) }
        for _ in 0..<plan.schedulerRestarts { at(time(), .fault(.restartScheduler)) }
        for _ in 0..<plan.schedulerReplacements { at(time(), .fault(.replaceScheduler)) }
        var fromNs = outcome.startNs
        for _ in 0..<plan.partitions {
            let half = (scenario.seedPeers..<hosts.count).filter { _ in random.next() % 2 == 0 }
            fromNs += random.next() % (spanNs + 1)
            at(fromNs, .fault(.partition(half)))
            fromNs += 100_000_000 + random.next() % 10_000_000_000
            at(fromNs, .fault(.heal(half)))
        }
    }

    func strike(_ fault: Fault) {
        checker.lastFaultNs = nowNs
        switch fault {
        case .crash(let number): crash(hosts[number])
        case .comeBack(let number): comeBack(hosts[number])
        case .loseSeed(let number):
            hosts[number].isLostForGood = true
            crash(hosts[number])
        case .restartScheduler: beginScheduler(seed: scenario.seed)
        case .replaceScheduler: beginScheduler(seed: scenario.seed &+ 0x9E37 &* UInt64(schedulerLife))
        case .partition(let numbers): partition(numbers)
        case .heal(let numbers): heal(numbers)
        case .staleMessages(let number): sayStaleThings(hosts[number])
        }
    }

    private func crash(_ host: Host) {
        guard host.isAlive else { return }
        trace(host, "crashes")
        host.isAlive = false
        host.life += 1
        let own = host.running.flatMap { $0?.ties.map(\.link) ?? [] }
        for link in (own + host.childLinks).sorted() { cut(link) }
        for model in host.running.indices {
            for transfer in host.running[model]?.originReads ?? [] { network.cancel(Int(transfer)) }
            host.running[model] = nil
        }
        host.exports = []
        host.leases = [:]
        host.news = []
        host.isTelling = false
        host.uploadWakeNs = .max
        host.workersFreeNs = 0
        detach(host)
    }

    private func comeBack(_ host: Host) {
        guard !host.isAlive, !host.isLostForGood else { return }
        trace(host, "comes back")
        host.isAlive = true
        host.upload = Seat(Upload(settings: host.isSeed ? scenario.seedUpload : scenario.peerUpload))
        attach(host)
        if host.hasJoined, host.finishedNs == nil, host.failure == nil, let model = host.wants {
            startDownload(host, model)
        }
    }

    /// Another instance, or another life of the same one: it knows nothing, and everyone's stream ends.
    private func beginScheduler(seed: UInt64) {
        schedulerLife += 1
        schedulerWakeNs = .max
        scheduler = Scheduler(
            settings: scenario.scheduling, seed: seed, firstLease: UInt64(schedulerLife) << 40, nowNs: nowNs)
        let lost = sessions.sorted { $0.key < $1.key }
        sessions = [:]
        for (session, number) in lost { loseSession(hosts[number], session) }
        tellSchedulerSelf(.expectedHosts(hosts.reduce(0) { $0 + ($1.isAlive ? 1 : 0) }))
    }

    private func partition(_ numbers: [Int]) {
        for number in numbers { hosts[number].isCutOff = true }
        for link in links.indices where links[link].isAlive {
            if hosts[Int(links[link].child)].isCutOff != hosts[Int(links[link].parent)].isCutOff { cut(UInt32(link)) }
        }
        for number in numbers { detach(hosts[number]) }
    }

    private func heal(_ numbers: [Int]) {
        for number in numbers {
            hosts[number].isCutOff = false
            let waitNs = random.next() % 1_000_000_000
            queue.push(.attach, atNs: nowNs + waitNs, number, 0, UInt64(hosts[number].life))
        }
    }

    /// An earlier life's stream reaches the scheduler after the host came back, with claims that are true no more.
    private func sayStaleThings(_ host: Host) {
        guard host.life > 1, let model = host.wants else { return }
        let session = SessionID(nextSession)
        nextSession += 1
        let info = info(host, life: host.life - 1)
        let file = models[model].manifest.files[0]
        guard file.layout.count > 0 else { return }
        let all = PieceSet.full(capacity: file.layout.count).members
        let life = schedulerLife
        after(0, .toScheduler(life: life, .attached(session, info, leases: [])))
        after(1, .toScheduler(life: life, .join(session, models[model].id, models[model].manifest)))
        after(2, .toScheduler(life: life, .kept(session, file.task, pieces: all, digests: [])))
        after(3, .toScheduler(life: life, .leave(session, models[model].id, finished: true, failure: nil)))
        after(4, .toScheduler(life: life, .detached(session)))
    }
}
