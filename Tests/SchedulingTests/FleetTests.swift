import Artifacts
import Testing

@testable import Scheduling

/// A fleet played from one seed: hosts read, fetch from each other, lose their streams and die, and so does the
/// scheduler. What must always hold is checked after every event.
@Suite struct FleetTests {
    @Test(arguments: 0..<12 as Range<UInt64>)
    func calmFleetReadsEveryPieceOnce(seed: UInt64) {
        var fleet = Fleet(seed: seed, seeds: 2, peers: 8)
        fleet.run()
        #expect(fleet.unserved.isEmpty)
        #expect(fleet.originReads == fleet.pieceTotal)
    }

    @Test(arguments: 0..<12 as Range<UInt64>)
    func fleetWithoutSeedsReadsEveryPieceOnce(seed: UInt64) {
        var fleet = Fleet(seed: seed, seeds: 0, peers: 6)
        fleet.run()
        #expect(fleet.unserved.isEmpty)
        #expect(fleet.originReads == fleet.pieceTotal)
    }

    @Test(arguments: 0..<12 as Range<UInt64>)
    func lossOfASeedCostsLittle(seed: UInt64) {
        var fleet = Fleet(seed: seed, seeds: 2, peers: 6, pieces: [250, 3, 3])
        fleet.killSeedAtMs = 300 + seed * 200
        fleet.fetchesOneIn = 12
        fleet.run()
        #expect(fleet.unserved.isEmpty)
        let extra = Double(fleet.originReads - fleet.pieceTotal) / Double(fleet.pieceTotal)
        #expect(extra <= 0.05, "\(fleet.originReads) pieces read of \(fleet.pieceTotal)")
    }

    @Test(arguments: 0..<12 as Range<UInt64>)
    func restartedSchedulerReadsNothingAgain(seed: UInt64) {
        var fleet = Fleet(seed: seed, seeds: 2, peers: 6)
        fleet.restartSchedulerAtMs = [200 + seed * 15, 2_900 + seed * 20]
        fleet.run()
        #expect(fleet.unserved.isEmpty)
        #expect(fleet.originReads == fleet.pieceTotal)
    }

    @Test(arguments: 0..<20 as Range<UInt64>)
    func everybodyIsServedInTheEnd(seed: UInt64) {
        var fleet = Fleet(seed: seed, seeds: 2 + Int(seed % 2), peers: 8)
        fleet.failsOneReadIn = 20
        fleet.flapsOneIn = 400
        fleet.diesOneIn = 600
        fleet.restartSchedulerAtMs = [500, 4_000]
        fleet.run()
        #expect(fleet.unserved.isEmpty)
    }
}

private struct FleetHost {
    var name: String
    var role: HostRole
    var incarnation: Incarnation = 1
    var session: SessionID?
    /// When it attaches (again); nil while it is attached.
    var returnsMs: UInt64? = 0
    var isAlive = true
    var store: [TaskID: [UInt32: Digest]] = [:]
    var isDownloading = false
    var isComplete = false
    var isRefused = false
    var digests: [TaskID: [UInt32: Digest]] = [:]
    var parents: [String] = []
    var leases: [LeaseID: (task: TaskID, left: [UInt32], pieces: Range<UInt32>)] = [:]
    var inbox: [SchedulerMessage] = []
    var outbox: [SchedulerEvent] = []
}

private struct Fleet {
    var scheduler: Scheduler
    var hosts: [FleetHost] = []
    let model: ResolvedModel
    var nowMs: UInt64 = 0
    var originReads = 0
    var killSeedAtMs: UInt64?
    var restartSchedulerAtMs: [UInt64] = []
    var failsOneReadIn: UInt64 = .max
    var flapsOneIn: UInt64 = .max
    var diesOneIn: UInt64 = .max
    /// How slow hosts are at getting pieces from each other.
    var fetchesOneIn: UInt64 = 1
    private var events = 0
    private var random: UInt64
    private var nextSession: UInt64 = 1

    init(seed: UInt64, seeds: Int, peers: Int, pieces: [Int] = [40, 2, 17, 1]) {
        random = seed
        model = SchedulingTests.model(pieces: pieces)
        scheduler = Scheduler(seed: seed, firstLease: 1, nowNs: 0)
        for index in 0..<seeds { hosts.append(FleetHost(name: "s\(index)", role: .seed)) }
        for index in 0..<peers {
            var peer = FleetHost(name: "p\(index)", role: .peer)
            peer.isDownloading = true
            peer.returnsMs = UInt64(index * 30)
            hosts.append(peer)
        }
    }

    var pieceTotal: Int { model.manifest.pieceCount }
    var unserved: [String] { hosts.filter { $0.isAlive && $0.isDownloading }.map(\.name) }

    mutating func roll(_ sides: UInt64) -> UInt64 {
        random = mixed(random)
        return random % sides
    }

    mutating func run() {
        while nowMs < 120_000, !unserved.isEmpty {
            nowMs += 10
            if nowMs == killSeedAtMs.map({ $0 / 10 * 10 }) {
                die(hosts.firstIndex { $0.role == .seed }!, forGood: true)
            }
            if let at = restartSchedulerAtMs.first, nowMs >= at {
                restartSchedulerAtMs.removeFirst()
                restartScheduler()
            }
            if let wakeNs = scheduler.wakeAtNs, wakeNs <= nowMs * 1_000_000 { tell(.tick) }
            for index in hosts.indices { step(index) }
        }
    }

    private mutating func restartScheduler() {
        scheduler = Scheduler(seed: random, firstLease: nowMs << 20, nowNs: nowMs * 1_000_000)
        for index in hosts.indices where hosts[index].session != nil { lose(index) }
    }

    private mutating func lose(_ index: Int) {
        hosts[index].session = nil
        hosts[index].inbox = []
        hosts[index].outbox = []
        hosts[index].returnsMs = nowMs + 50 + roll(1_000)
    }

    private mutating func die(_ index: Int, forGood: Bool) {
        if let session = hosts[index].session { tell(.detached(session)) }
        lose(index)
        hosts[index].leases = [:]
        hosts[index].digests = [:]
        hosts[index].parents = []
        hosts[index].incarnation += 1
        if hosts[index].role == .seed { hosts[index].isDownloading = false }
        if forGood {
            hosts[index].isAlive = false
            hosts[index].returnsMs = nil
        } else {
            hosts[index].returnsMs = nowMs + 100 + roll(6_000)
        }
    }

    private mutating func step(_ index: Int) {
        guard hosts[index].isAlive else { return }
        if let returnsMs = hosts[index].returnsMs {
            if nowMs >= returnsMs { attach(index) }
            return
        }
        // Faults stop after a while, so that the end can be reached.
        if nowMs < 20_000 {
            if diesOneIn != .max, roll(diesOneIn) == 0 { return die(index, forGood: false) }
            if flapsOneIn != .max, roll(flapsOneIn) == 0 {
                tell(.detached(hosts[index].session!))
                return lose(index)
            }
        }
        let news = min(hosts[index].outbox.count, Int(roll(6)))
        for _ in 0..<news where hosts[index].session != nil { tell(hosts[index].outbox.removeFirst()) }
        let mail = min(hosts[index].inbox.count, Int(roll(8)))
        for _ in 0..<mail { take(hosts[index].inbox.removeFirst(), index) }
        readOrigin(index)
        fetch(index)
        finishIfDone(index)
    }

    private mutating func attach(_ index: Int) {
        let session = SessionID(nextSession)
        nextSession += 1
        hosts[index].returnsMs = nil
        hosts[index].session = session
        let host = hosts[index]
        let info = HostInfo(
            host: hostID(host.name), incarnation: host.incarnation, role: host.role,
            addresses: ["tcp:\(host.name)"])
        let claims = host.leases.sorted { $0.key < $1.key }.map {
            HeldLease(lease: $0.key, task: $0.value.task, pieces: $0.value.pieces, whole: false)
        }
        tell(.attached(session, info, leases: claims))
        let tasks = model.manifest.files.compactMap { file -> HeldTask? in
            guard let held = host.store[file.task] else { return nil }
            var set = PieceSet(capacity: file.layout.count)
            for piece in held.keys { set.insert(PieceIndex(piece)) }
            return HeldTask(
                task: file.task, sizeBytes: file.sizeBytes, pieces: set,
                digests: set.members.map { held[$0.value]! })
        }
        let held = HeldModel(model: model.model, manifest: model.manifest, complete: host.isComplete)
        hosts[index].outbox.append(.inventory(session, models: [held], tasks: tasks, last: true))
        if host.isDownloading { hosts[index].outbox.append(.join(session, model.model, model.manifest)) }
    }

    private mutating func take(_ message: SchedulerMessage, _ index: Int) {
        switch message {
        case .fetchOrder:
            if hosts[index].isComplete {
                say(index) { .leave($0, $1.model, finished: true, failure: nil) }
            } else if !hosts[index].isDownloading {
                hosts[index].isDownloading = true
                say(index) { .join($0, $1.model, $1.manifest) }
            }
        case .neighbourhood(_, let parents): hosts[index].parents = parents.map(\.host.name)
        case .digests(let task, let pieces, let digests):
            for (piece, digest) in zip(pieces, digests) {
                hosts[index].digests[task, default: [:]][piece.value] = digest
            }
        case .lease(let id, _, let task, let pieces, _):
            let left = pieces.filter { hosts[index].store[task]?[$0] == nil }
            hosts[index].leases[id] = (task, left, pieces)
        case .leaseEnded(let id): hosts[index].leases[id] = nil
        case .refused: hosts[index].isRefused = true
        case .digestsWithdrawn: Issue.record("digests were withdrawn")
        case .welcome, .originShare, .resolveOrder, .resolveReply: break
        }
    }

    private mutating func say(_ index: Int, _ event: (SessionID, ResolvedModel) -> SchedulerEvent) {
        if let session = hosts[index].session { hosts[index].outbox.append(event(session, model)) }
    }

    private mutating func readOrigin(_ index: Int) {
        for (id, lease) in hosts[index].leases.sorted(by: { $0.key < $1.key }) where roll(2) == 0 {
            if failsOneReadIn != .max, roll(failsOneReadIn) == 0 {
                hosts[index].leases[id] = nil
                say(index) { session, _ in .leaseReturned(session, id, failure: away, needsWhole: false) }
                continue
            }
            if let piece = lease.left.first {
                hosts[index].leases[id]!.left.removeFirst()
                originReads += 1
                keep(index, lease.task, piece, isRead: true)
            } else {
                hosts[index].leases[id] = nil
                say(index) { session, _ in .leaseReturned(session, id, failure: nil, needsWhole: false) }
            }
        }
    }

    private mutating func keep(_ index: Int, _ task: TaskID, _ piece: UInt32, isRead: Bool) {
        let digest = pieceDigest(task, piece)
        hosts[index].store[task, default: [:]][piece] = digest
        say(index) { session, _ in
            .kept(session, task, pieces: [PieceIndex(piece)], digests: isRead ? [digest] : [])
        }
    }

    /// Gets a few pieces from parents that are alive, each verified with a digest the scheduler gave.
    private mutating func fetch(_ index: Int) {
        guard hosts[index].isDownloading, !hosts[index].parents.isEmpty, roll(fetchesOneIn) == 0 else {
            return
        }
        for _ in 0..<2 {
            let name = hosts[index].parents[Int(roll(UInt64(hosts[index].parents.count)))]
            guard let parent = hosts.first(where: { $0.name == name && $0.isAlive && $0.returnsMs == nil })
            else { continue }
            for file in model.manifest.files {
                let own = hosts[index].store[file.task] ?? [:]
                let known = hosts[index].digests[file.task] ?? [:]
                let offered = (parent.store[file.task] ?? [:]).keys.sorted().filter {
                    own[$0] == nil && known[$0] != nil
                }
                guard !offered.isEmpty else { continue }
                keep(index, file.task, offered[Int(roll(UInt64(offered.count)))], isRead: false)
                break
            }
        }
    }

    private mutating func finishIfDone(_ index: Int) {
        let host = hosts[index]
        guard host.isDownloading, host.leases.isEmpty,
            model.manifest.files.allSatisfy({ (host.store[$0.task]?.count ?? 0) == $0.layout.count })
        else { return }
        hosts[index].isDownloading = false
        hosts[index].isComplete = true
        say(index) { .leave($0, $1.model, finished: true, failure: nil) }
    }

    // MARK: The scheduler, and what must hold

    private mutating func tell(_ event: SchedulerEvent) {
        for action in scheduler.handle(event, nowNs: nowMs * 1_000_000) {
            switch action {
            case .send(let session, let message):
                if case .lease(_, _, let task, let pieces, _) = message { checkUnheld(task, pieces) }
                if let index = hosts.firstIndex(where: { $0.session == session }) {
                    hosts[index].inbox.append(message)
                }
            case .close(let session, let reason):
                if hosts.contains(where: { $0.session == session }) {
                    Issue.record("\(session) closed: \(reason)")
                }
            }
        }
        // A recount is dear: one event in eight gets one.
        events += 1
        if events & 7 == 0 { checkLeases() }
    }

    /// A piece is never leased while a host the scheduler knows of holds it.
    private func checkUnheld(_ task: TaskID, _ pieces: Range<UInt32>) {
        for host in scheduler.hosts.values {
            for piece in pieces where host.held[task]?.contains(PieceIndex(piece)) == true {
                Issue.record("piece \(piece) is leased, but \(host.info.host) holds it")
            }
        }
    }

    /// No piece is leased twice, and the counts are what a recount gives.
    private func checkLeases() {
        var leased: [TaskID: Set<UInt32>] = [:]
        for lease in scheduler.leases.values {
            for piece in lease.pieces where !leased[lease.task, default: []].insert(piece).inserted {
                Issue.record("piece \(piece) is leased twice")
            }
            if scheduler.hosts[lease.holder]?.leases.contains(lease.id) != true {
                Issue.record("a lease has no holder")
            }
        }
        for task in scheduler.tasks.values {
            let held = (0..<task.pieceCount).filter { piece in
                scheduler.hosts.values.contains { $0.held[task.id]?.contains(PieceIndex(piece)) ?? false }
            }
            if task.pieceCount - held.count != task.unheld { Issue.record("unheld pieces are miscounted") }
            let out = leased[task.id] ?? []
            if Set(task.leased.members.map(\.value)) != out {
                Issue.record("leased pieces are misremembered")
            }
            let closed = out.union(held.map { UInt32($0) })
            if task.pieceCount - closed.count != task.openCount { Issue.record("open pieces are miscounted") }
        }
        for model in scheduler.models.values
        where model.unheld != model.tasks.reduce(0, { $0 + scheduler.tasks[$1]!.unheld }) {
            Issue.record("the model's unheld pieces are miscounted")
        }
    }
}
