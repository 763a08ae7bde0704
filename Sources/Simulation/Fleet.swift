import Artifacts
import Scheduling
import Swarm

/// A whole fleet in virtual time: the real `Download` and `Upload` of every host and the real `Scheduler`, a network,
/// an origin, faults, and checkers that look on. One seed, one run.
///
/// A thin node carries the machines' actions out in place of `Engine`: no threads, links' messages as values, a piece's
/// bytes as one truth value. Not simulated: references, admission, transports' selection, the manager (the machines
/// know none of them). A partition shows as failed links at once; hosts that go quiet are another fault.
///
/// Threading: one owner, one thread.
public final class Fleet {
    let scenario: Scenario
    /// The models; all have the same number of files, and files are numbered through.
    let models: [SimulatedModel]
    let filesPerModel: Int
    let fileCount: Int
    let numberOfTask: [TaskID: Int]
    let numberOfModel: [ModelID: Int]
    let wrongDigest = madeDigest(.max, .blake3)
    var random: SeededGenerator
    var nowNs: UInt64 = 0
    var queue = EventQueue()
    var parcels = Parcels()
    var network: Network
    let hosts: [Host]
    let numbers: [HostID: Int]
    /// Links by number; one that is gone stays, and is dead.
    var links: [Link] = [Link(child: 0, parent: 0, model: 0, isAlive: false)]
    var nextGrant: UInt64 = 1
    var scheduler: Scheduler
    var schedulerLife: UInt32 = 1
    var schedulerWakeNs = UInt64.max
    var nextSession: UInt64 = 1
    var sessions: [SessionID: Int] = [:]
    /// The digests told last, as the machines take them: one message goes to many.
    var lastDigests: (pieces: [PieceIndex], digests: [Digest], map: [PieceIndex: Digest]) = ([], [], [:])
    var remaining: Int
    var checker: Checker
    var outcome = Outcome()
    let originLatencyNs: UInt64
    /// Processor time, if somebody wants the scheduler's cost.
    let processorNs: (() -> UInt64)?

    /// Prepares a run; nothing happens before `run`.
    ///
    /// - Parameter processorNs: a clock of processor time, which decides nothing; without it costs are not measured.
    public init(_ scenario: Scenario, processorNs: (() -> UInt64)? = nil) {
        precondition(
            scenario.peers > 0 && scenario.files > 0 && scenario.models > 0, "a fleet has peers, a model files")
        self.scenario = scenario
        self.processorNs = processorNs
        originLatencyNs = scenario.originLatencyNs
        random = SeededGenerator(seed: scenario.seed)
        let models = (0..<scenario.models).map { SimulatedModel($0, scenario) }
        self.models = models
        filesPerModel = scenario.files
        fileCount = scenario.files * models.count
        let files = models.flatMap(\.manifest.files)
        numberOfTask = Dictionary(uniqueKeysWithValues: files.enumerated().map { ($1.task, $0) })
        numberOfModel = Dictionary(uniqueKeysWithValues: models.enumerated().map { ($1.id, $0) })
        let empty = files.map { PieceSet(capacity: $0.layout.count) }
        hosts = (0..<scenario.seedPeers + scenario.peers).map {
            let isSeed = $0 < scenario.seedPeers
            let name = isSeed ? "seed-\($0)" : "peer-\($0 - scenario.seedPeers)"
            return Host(
                number: $0, id: HostID(name)!, isSeed: isSeed,
                wants: isSeed ? nil : ($0 - scenario.seedPeers) % models.count, models: models.count, kept: empty,
                upload: Upload(settings: isSeed ? scenario.seedUpload : scenario.peerUpload))
        }
        numbers = Dictionary(uniqueKeysWithValues: hosts.map { ($0.id, $0.number) })
        remaining = 0
        checker = Checker(files)
        scheduler = Scheduler(settings: scenario.scheduling, seed: scenario.seed, firstLease: 1, nowNs: 0)
        let chosen = Self.chosen(scenario, &random)
        network = Network(scenario, slow: chosen.slow)
        for (host, conduct) in chosen.conducts { hosts[host].conduct = conduct }
        // A liar that says it has the model may be given nobody to get it from: that is its own doing.
        remaining = hosts.reduce(0) { $0 + ($1.mustEnd ? 1 : 0) }
        let pieces = models[0].manifest.files.reduce(0) { $0 + $1.layout.count }
        for host in chosen.full { hosts[host].roomPieces = Int(random.next() % UInt64(max(pieces, 1))) }
        for host in chosen.skewed { hosts[host].aheadNs = 1 + random.next() % 3_600_000_000_000 }
    }

    /// Runs to the end, and says how it went.
    ///
    /// - Parameter isStopped: asked now and then; true ends the run where it is, and the outcome says so.
    public func run(isStopped: () -> Bool = { false }) -> Outcome {
        tellSchedulerSelf(.expectedHosts(hosts.count))
        for host in hosts { attach(host) }
        scheduleJoins()
        scheduleFaults()
        while let event = queue.pop() {
            nowNs = event.atNs
            outcome.events += 1
            happen(event)
            guard outcome.events & 0xFF == 0 || remaining == 0 || nowNs > scenario.limitNs else { continue }
            if remaining == 0, isQuiet { break }
            if checker.isStalled(nowNs) || nowNs > scenario.limitNs { break }
            if outcome.events & 0xFFF == 0, isStopped() {
                outcome.isCutShort = true
                break
            }
        }
        finish()
        return outcome
    }

    /// Nobody downloads any more.
    private var isQuiet: Bool {
        hosts.allSatisfy { host in !host.isAlive || !models.indices.contains { host.isDownloading($0) } }
    }

    func after(_ ns: UInt64, _ parcel: Parcel) { at(nowNs + ns, parcel) }

    func at(_ atNs: UInt64, _ parcel: Parcel) {
        let kind: Event.Kind =
            switch parcel {
            case .download: .toDownload
            case .upload: .toUpload
            case .toScheduler: .toScheduler
            case .fromScheduler: .fromScheduler
            case .fault: .fault
            case .map: preconditionFailure("a map travels over a link")
            case .have: preconditionFailure("news travel over a link")
            }
        queue.push(kind, atNs: atNs, parcels.put(parcel))
    }

    /// Half a round trip, and now and then a retransmission.
    func delayNs() -> UInt64 {
        guard scenario.faults.lossPerMillion > 0 else { return scenario.latencyNs }
        let isLost = random.next() % 1_000_000 < UInt64(scenario.faults.lossPerMillion)
        return scenario.latencyNs + (isLost ? max(200_000_000, 4 * scenario.latencyNs) : 0)
    }

    private func happen(_ event: Event) {
        switch event.kind {
        case .open, .closed, .wanted, .released, .exported: hearChild(event)
        case .linkUp, .map, .have, .haveMany, .unknown, .granted, .busy, .absent: hearParent(event)
        case .advance: advance(Int(event.a), atNs: nowNs)
        case .whole: arrived(Int(event.a))
        case .verified: verified(hosts[Int(event.a)], event)
        case .wakeDownload: wakeDownload(hosts[Int(event.a)], Int(event.b), event.low)
        case .wakeUpload: wakeUpload(hosts[Int(event.a)], event.low)
        case .wakeScheduler: wakeScheduler(event.low)
        case .tellScheduler: if hosts[Int(event.a)].life == event.low { tellNews(hosts[Int(event.a)]) }
        case .attach: if hosts[Int(event.a)].life == event.low { attach(hosts[Int(event.a)]) }
        case .join: join(hosts[Int(event.a)])
        case .toDownload, .toUpload, .toScheduler, .fromScheduler, .fault: open(parcels.take(event.a))
        }
    }

    private func open(_ parcel: Parcel) {
        switch parcel {
        case .download(let host, let life, let model, let event): deliver(hosts[host], life, model, event)
        case .upload(let host, let life, let event): deliverUpload(hosts[host], life, event)
        case .toScheduler(let life, let event): if life == schedulerLife { tellSchedulerSelf(event) }
        case .fromScheduler(let host, let session, let message): hear(hosts[host], session, message)
        case .fault(let fault): strike(fault)
        case .map, .have: preconditionFailure("a parcel for a link lay elsewhere")
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
            queue.push(.join, atNs: startNs + delayNs, scenario.seedPeers + index)
        }
        checker.busyUntilNs = outcome.lastJoinNs
    }
}

/// One model of a fleet.
struct SimulatedModel {
    let id: ModelID
    let manifest: Manifest
    /// By file and piece.
    let digests: [[Digest]]

    init(_ number: Int, _ scenario: Scenario) {
        let fileBytes = max(1, scenario.sizeBytes / UInt64(scenario.files))
        let base = UInt64(number) << 16
        let entries = (0..<scenario.files).map {
            ManifestFile(
                path: "\($0).safetensors", sizeBytes: fileBytes,
                publishedDigest: madeDigest(base + UInt64($0), .sha256),
                task: TaskID(madeDigest(base + UInt64($0), .sha256)))
        }
        guard let manifest = try? Manifest(reference: "hf://simulated/model-\(number)", revision: "1", files: entries)
        else {
            preconditionFailure("\(scenario.files) files of \(fileBytes) bytes are beyond what a manifest may have")
        }
        self.manifest = manifest
        id = ModelID(madeDigest(UInt64.max - 1 - UInt64(number), .sha256))
        digests = entries.indices.map { file in
            (0..<entries[file].layout.count).map { madeDigest((base + UInt64(file)) << 32 | UInt64($0), .blake3) }
        }
    }
}

/// A digest made of a number.
func madeDigest(_ number: UInt64, _ algorithm: Digest.Algorithm) -> Digest {
    Digest(algorithm, bytes: (0..<32).map { UInt8(truncatingIfNeeded: number >> UInt64(8 * ($0 & 7))) })!
}
