import Artifacts
import Scheduling
import Swarm

/// A whole fleet in virtual time: the real `Download` and `Upload` of every host and the real `Scheduler`, a network,
/// an origin, faults, and checkers that look on. One seed, one run.
///
/// A thin node carries the machines' actions out in place of `Engine`: no threads, links' messages as values, a piece's
/// bytes as one truth value. Not simulated: references, admission, transports' selection, disk space, the manager.
/// A partition shows as failed links at once; hosts that go quiet are another fault.
///
/// Threading: one owner, one thread.
public final class Fleet {
    struct Ends {
        let child: Int
        let parent: Int
        var toParentNs: UInt64 = 0
        var toChildNs: UInt64 = 0
    }

    let scenario: Scenario
    let manifest: Manifest
    let model: ModelID
    let files: [TaskID: FileIndex]
    let digests: [[Digest]]
    let wrongDigest = madeDigest(.max, .blake3)
    var random: SeededGenerator
    var nowNs: UInt64 = 0
    var queue = EventQueue<Happening>()
    var network: Network
    var hosts: [Host]
    let numbers: [HostID: Int]
    var links: [UInt64: Ends] = [:]
    var nextLink: UInt64 = 1
    var nextGrant: UInt64 = 1
    var scheduler: Scheduler
    var schedulerLife: UInt32 = 1
    var schedulerWakeNs = UInt64.max
    var nextSession: UInt64 = 1
    var sessions: [SessionID: Int] = [:]
    var remaining: Int
    var checker: Checker
    var outcome = Outcome()
    /// Processor time, if somebody wants the scheduler's cost.
    let processorNs: (() -> UInt64)?

    /// Prepares a run; nothing happens before `run`.
    ///
    /// - Parameter processorNs: a clock of processor time, which decides nothing; without it costs are not measured.
    public init(_ scenario: Scenario, processorNs: (() -> UInt64)? = nil) {
        precondition(scenario.peers > 0 && scenario.files > 0, "a fleet has peers, a model files")
        self.scenario = scenario
        self.processorNs = processorNs
        random = SeededGenerator(seed: scenario.seed)
        let fileBytes = max(1, scenario.sizeBytes / UInt64(scenario.files))
        let entries = (0..<scenario.files).map {
            ManifestFile(
                path: "\($0).safetensors", sizeBytes: fileBytes, publishedDigest: madeDigest(UInt64($0), .sha256),
                task: TaskID(madeDigest(UInt64($0), .sha256)))
        }
        guard let manifest = try? Manifest(reference: "hf://simulated/model", revision: "1", files: entries) else {
            preconditionFailure("\(scenario.files) files of \(fileBytes) bytes are beyond what a manifest may have")
        }
        self.manifest = manifest
        model = ModelID(madeDigest(UInt64.max - 1, .sha256))
        files = Dictionary(uniqueKeysWithValues: entries.enumerated().map { ($1.task, FileIndex($0)) })
        digests = entries.indices.map { file in
            (0..<entries[file].layout.count).map { madeDigest(UInt64(file) << 32 | UInt64($0), .blake3) }
        }
        let empty = entries.map { PieceSet(capacity: $0.layout.count) }
        hosts = (0..<scenario.seedPeers + scenario.peers).map {
            let isSeed = $0 < scenario.seedPeers
            let name = isSeed ? "seed-\($0)" : "peer-\($0 - scenario.seedPeers)"
            return Host(
                number: $0, id: HostID(name)!, isSeed: isSeed, kept: empty,
                upload: Upload(settings: isSeed ? scenario.seedUpload : scenario.peerUpload))
        }
        numbers = Dictionary(uniqueKeysWithValues: hosts.map { ($0.id, $0.number) })
        remaining = scenario.peers
        checker = Checker(manifest)
        scheduler = Scheduler(settings: scenario.scheduling, seed: scenario.seed, firstLease: 1, nowNs: 0)
        let (slow, conducts) = Self.chosen(scenario, &random)
        network = Network(scenario, slow: slow)
        for (host, conduct) in conducts.sorted(by: { $0.key < $1.key }) { hosts[host].conduct = conduct }
    }

    /// Runs to the end, and says how it went.
    public func run() -> Outcome {
        tellSchedulerSelf(.expectedHosts(hosts.count))
        for host in hosts { attach(host) }
        scheduleJoins()
        scheduleFaults()
        while let (atNs, event) = queue.pop() {
            nowNs = atNs
            outcome.events += 1
            happen(event)
            if remaining == 0, hosts.allSatisfy({ !$0.isAlive || !$0.isDownloading }) { break }
            if checker.isStalled(nowNs) || nowNs > scenario.limitNs { break }
        }
        finish()
        return outcome
    }

    func after(_ ns: UInt64, _ event: Happening) { queue.push(event, atNs: nowNs + ns) }

    /// Half a round trip, and now and then a retransmission.
    func delayNs() -> UInt64 {
        guard scenario.faults.lossPerMillion > 0 else { return scenario.latencyNs }
        let isLost = random.next() % 1_000_000 < UInt64(scenario.faults.lossPerMillion)
        return scenario.latencyNs + (isLost ? max(200_000_000, 4 * scenario.latencyNs) : 0)
    }

    private func happen(_ event: Happening) {
        switch event {
        case .toDownload(let host, let life, let event): deliver(hosts[host], life, event)
        case .toChild(let link, let event):
            if let ends = links[link] { deliver(hosts[ends.child], hosts[ends.child].life, event) }
        case .toUpload(let host, let life, let event): deliverUpload(hosts[host], life, event)
        case .toParent(let link, let event):
            if let ends = links[link] { deliverUpload(hosts[ends.parent], hosts[ends.parent].life, event) }
        case .open(let link, let file): open(link, file)
        case .wakeDownload(let host, let life): wakeDownload(hosts[host], life)
        case .wakeUpload(let host, let life): wakeUpload(hosts[host], life)
        case .wakeScheduler(let life): wakeScheduler(life)
        case .toScheduler(let life, let event): if life == schedulerLife { tellSchedulerSelf(event) }
        case .fromScheduler(let host, let session, let message): hear(hosts[host], session, message)
        case .tellScheduler(let host, let life):
            if hosts[host].life == life { tellNews(hosts[host]) }
        case .attach(let host, let life): if hosts[host].life == life { attach(hosts[host]) }
        case .join(let host): join(hosts[host])
        case .advance(let transfer): advance(transfer)
        case .whole(let transfer): arrived(transfer)
        case .verified(let host, let life, let address, let expected, let source):
            verified(hosts[host], life, address, expected, source)
        case .fault(let fault): strike(fault)
        }
    }

    func trace(_ host: Host, _ line: @autoclosure () -> String) {
        guard scenario.traced == host.number - scenario.seedPeers, outcome.trace.count < 1_000_000 else { return }
        outcome.trace.append("\(fixed(Double(nowNs) / 1e9, 6)) \(line())")
    }

    private func scheduleJoins() {
        let startNs: UInt64 = 100_000_000
        outcome.startNs = startNs
        let spanNs = LowerBound(scenario).ns
        for index in 0..<scenario.peers {
            let share = UInt64(index) * 1000 / UInt64(scenario.peers)
            let delayNs: UInt64 =
                switch scenario.workload {
                case .together: 0
                case .flash: share < 100 ? 0 : random.next() % (spanNs / 2 + 1)
                case .late: share < 900 ? 0 : spanNs + spanNs / 2
                case .rolling: 2 * spanNs / 1000 * share
                }
            outcome.lastJoinNs = max(outcome.lastJoinNs, startNs + delayNs)
            queue.push(.join(host: scenario.seedPeers + index), atNs: startNs + delayNs)
        }
        checker.busyUntilNs = outcome.lastJoinNs
    }

    /// Pieces that nobody can get, though somebody has them: the scheduler sees no cause to have them read again.
    private var piecesOnlySilentHostsHold: Int {
        manifest.files.indices.reduce(0) { sum, file in
            let holders = hosts.filter { $0.isAlive }
            return sum
                + digests[file].indices.reduce(0) { count, piece in
                    let here = holders.filter { $0.kept[file].contains(PieceIndex(piece)) }
                    return count + (!here.isEmpty && here.allSatisfy { $0.conduct == .silent } ? 1 : 0)
                }
        }
    }

    private func finish() {
        outcome.scenario = scenario
        outcome.endNs = nowNs
        for host in hosts where host.isAlive {
            if remaining == 0, !host.slots.isEmpty || !host.reads.isEmpty {
                checker.object("\(host.id) ended with \(host.slots.count) slots and \(host.reads.count) reads", nowNs)
            }
            if let failure = host.failure { checker.object("\(host.id) failed: \(failure)", nowNs) }
            outcome.wasteBytes += host.download?.progress.wastedBytes ?? 0
        }
        if remaining > 0 {
            checker.object(
                "\(remaining) downloads never ended; \(piecesOnlySilentHostsHold) pieces lie with silent hosts alone",
                nowNs)
        }
        if !scenario.faults.losesPieces, outcome.originBytes != manifest.totalBytes, remaining == 0 {
            checker.object("the origin sent \(outcome.originBytes) of \(manifest.totalBytes) bytes", nowNs)
        }
        let finished = hosts.dropFirst(scenario.seedPeers).compactMap(\.finishedNs)
        outcome.makespanNs = (finished.max() ?? nowNs) - min(outcome.startNs, finished.max() ?? nowNs)
        outcome.finished = finished.count
        outcome.uplinkBytes = network.uplinkBytes
        outcome.queueMax = queue.countMax
        outcome.slotsMax = hosts.map(\.slotsMax).max() ?? 0
        outcome.violations = checker.objections
        outcome.scheduler = scheduler.snapshot
    }
}

/// A digest made of a number.
func madeDigest(_ number: UInt64, _ algorithm: Digest.Algorithm) -> Digest {
    Digest(algorithm, bytes: (0..<32).map { UInt8(truncatingIfNeeded: number >> UInt64(8 * ($0 & 7))) })!
}
