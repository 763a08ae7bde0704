import Artifacts
import Scheduling
import Swarm

/// What goes wrong, and when.
extension Fleet {
    /// Hosts with a slow interface, and hosts that misbehave from the start: all of them peers, at most half of them.
    static func chosen(
        _ scenario: Scenario, _ random: inout SeededGenerator
    ) -> (slow: Set<Int>, conducts: [Int: Host.Conduct]) {
        let plan = scenario.faults
        var peers = Array(scenario.seedPeers..<scenario.seedPeers + scenario.peers)
        peers.shuffle(using: &random)
        var rest = peers.prefix(max(1, scenario.peers / 2))
        func take(_ count: Int) -> [Int] {
            let taken = Array(rest.prefix(count))
            rest = rest.dropFirst(count)
            return taken
        }
        var conducts: [Int: Host.Conduct] = [:]
        for host in take(plan.corrupting) { conducts[host] = .corrupting }
        for host in take(plan.silent) { conducts[host] = .silent }
        return (Set(take(plan.slow)), conducts)
    }

    func scheduleFaults() {
        let plan = scenario.faults
        checker.isAlwaysFaulty = plan.corrupting + plan.silent > 0
        // Around the time that the first downloads are under way.
        let spanNs = 2 * LowerBound(scenario).ns
        func time() -> UInt64 { outcome.startNs + random.next() % (spanNs + 1) }
        for _ in 0..<plan.crashes {
            let host = scenario.seedPeers + Int(random.next() % UInt64(scenario.peers))
            let atNs = time()
            queue.push(.fault(.crash(host)), atNs: atNs)
            queue.push(.fault(.comeBack(host)), atNs: atNs + 50_000_000 + random.next() % 5_000_000_000)
        }
        for seed in 0..<min(plan.seedLosses, max(0, scenario.seedPeers - 1)) {
            queue.push(.fault(.loseSeed(seed)), atNs: time())
        }
        for _ in 0..<plan.schedulerRestarts { queue.push(.fault(.restartScheduler), atNs: time()) }
        var fromNs = outcome.startNs
        for _ in 0..<plan.partitions {
            let half = (scenario.seedPeers..<hosts.count).filter { _ in random.next() % 2 == 0 }
            fromNs += random.next() % (spanNs + 1)
            queue.push(.fault(.partition(half)), atNs: fromNs)
            fromNs += 100_000_000 + random.next() % 10_000_000_000
            queue.push(.fault(.heal(half)), atNs: fromNs)
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
        case .restartScheduler: restartScheduler()
        case .partition(let numbers): partition(numbers)
        case .heal(let numbers): heal(numbers)
        }
    }

    private func crash(_ host: Host) {
        guard host.isAlive else { return }
        trace(host, "crashes")
        host.isAlive = false
        host.life += 1
        for link in (Array(host.links.values) + host.childLinks).sorted() { cut(link) }
        for transfers in host.originReads.values { for transfer in transfers { network.cancel(transfer) } }
        host.originReads = [:]
        host.slots = [:]
        host.exports = []
        host.leases = [:]
        host.news = [:]
        host.isTelling = false
        host.download = nil
        host.downloadWakeNs = .max
        host.uploadWakeNs = .max
        host.workersFreeNs = 0
        detach(host)
    }

    private func comeBack(_ host: Host) {
        guard !host.isAlive, !host.isLostForGood else { return }
        trace(host, "comes back")
        host.isAlive = true
        host.upload = Upload(settings: host.isSeed ? scenario.seedUpload : scenario.peerUpload)
        attach(host)
        if host.hasJoined, host.finishedNs == nil { startDownload(host) }
    }

    private func restartScheduler() {
        schedulerLife += 1
        schedulerWakeNs = .max
        scheduler = Scheduler(
            settings: scenario.scheduling, seed: scenario.seed, firstLease: UInt64(schedulerLife) << 40, nowNs: nowNs)
        let lost = sessions.sorted { $0.key < $1.key }
        sessions = [:]
        for (session, number) in lost { loseSession(hosts[number], session) }
        tellSchedulerSelf(.expectedHosts(hosts.reduce(0) { $0 + ($1.isAlive && !$1.isCutOff ? 1 : 0) }))
    }

    private func partition(_ numbers: [Int]) {
        for number in numbers { hosts[number].isCutOff = true }
        let crossing = links.filter { hosts[$0.value.child].isCutOff != hosts[$0.value.parent].isCutOff }
        for link in crossing.keys.sorted() { cut(link) }
        for number in numbers { detach(hosts[number]) }
    }

    private func heal(_ numbers: [Int]) {
        for number in numbers {
            hosts[number].isCutOff = false
            let waitNs = random.next() % 1_000_000_000
            after(waitNs, .attach(host: number, life: hosts[number].life))
        }
    }
}
