import Artifacts

/// The scheduler as a pure machine: who reads the origin, and who gets pieces from whom.
///
/// Events and the time go in, actions come out; there is no clock, socket or thread inside, and with the same
/// seed the same events give the same actions. All state is soft: after a restart the hosts' hellos and
/// inventories fill it again, and until then (`SchedulingSettings.learningMs`) it orders and leases nothing.
///
/// ```
///  host:   attached ──inventory(last)──▶ reported ──detached──▶ grace ──graceMs──▶ forgotten
///              ▲                                                  │   (leases and pieces stay its own)
///              └──────────────────── attached ────────────────────┘
///  piece:  open ──lease──▶ leased ──kept──▶ held      leased ──failure, holder lost──▶ open
///                                            held ──last holder gone──▶ open
/// ```
///
/// A piece is leased only when it is open, so it is read once as long as its readers live. Each holder's pieces that
/// nobody else has yet are bounded (`exposedPiecesMax`), so the loss of a reader costs little.
///
/// One owner at a time; no method blocks. Work per event is proportional to what the event names, except that a
/// changed membership costs a pass over the model's hosts, at most every `neighbourhoodMs`.
public struct Scheduler: Sendable {
    /// The settings in force.
    public internal(set) var settings: SchedulingSettings
    let seed: UInt64
    let startedNs: UInt64
    var nowNs: UInt64

    var hosts: [HostNumber: HostState] = [:]
    var numbers: [HostID: HostNumber] = [:]
    var sessions: [SessionID: HostNumber] = [:]
    var models: [ModelID: ModelState] = [:]
    var tasks: [TaskID: TaskState] = [:]
    var leases: [LeaseID: LeaseState] = [:]
    var references: [String: ReferenceState] = [:]
    /// Orders to resolve that are out.
    var orders: [UInt64: String] = [:]

    var nextHost: HostNumber = 1
    var nextLease: UInt64
    var nextOrder: UInt64 = 1
    var nextModel: UInt64 = 1
    var jitter: UInt64
    var isLearning = true
    var expectedHosts: Int?

    /// When models began to move between schedulers, and how many there are.
    var moves: [ModelID: UInt64] = [:]
    var schedulerCount: Int?
    var listChangedNs: UInt64?
    var originDivision = OriginDivision()

    var timers = TimerQueue()
    /// Models to plan for at the end of the event.
    var dirty: [ModelID] = []
    /// Models whose neighbourhoods may have changed in the event.
    var unpushed: [ModelID] = []
    var actions: [SchedulerAction] = []
    var counters = SchedulerSnapshot()

    /// Starts a scheduler that knows nothing.
    ///
    /// - Parameters:
    ///   - settings: limits and waiting times.
    ///   - seed: of all choices that may fall either way.
    ///   - firstLease: larger than any lease of an earlier life, e.g. wall-clock milliseconds × 2²⁰.
    ///   - nowNs: nanoseconds of any clock that does not go back.
    public init(settings: SchedulingSettings = .init(), seed: UInt64, firstLease: UInt64, nowNs: UInt64) {
        self.settings = settings
        self.seed = seed
        self.nowNs = nowNs
        startedNs = nowNs
        nextLease = firstLease
        jitter = mixed(seed)
        timers.schedule(.learning, atNs: nowNs + settings.learningMs * 1_000_000)
    }

    /// When `tick` is due at the latest; nil when nothing waits.
    public var wakeAtNs: UInt64? { timers.firstNs }

    /// Takes one event and answers with what is to be done, in order.
    public mutating func handle(_ event: SchedulerEvent, nowNs: UInt64) -> [SchedulerAction] {
        self.nowNs = max(self.nowNs, nowNs)
        switch event {
        case .attached(let session, let info, let leases): attach(session, info, leases)
        case .detached(let session): detach(session)
        case .expectedHosts(let count):
            expectedHosts = count
            endLearningIfDone()
        case .settings(let settings): changeSettings(settings)
        case .schedulers(let count): takeSchedulerCount(count)
        case .tick: break
        case .inventory(let session, _, _, _), .resolve(let session, _, _, _), .resolved(let session, _, _),
            .join(let session, _, _), .leave(let session, _, _, _), .kept(let session, _, _, _),
            .leaseReturned(let session, _, _, _), .blame(let session, _, _, _), .load(let session, _),
            .forgot(let session, _), .moved(let session, _, _):
            if let host = sessions[session] {
                handle(event, from: host)
            } else {
                counters.dropped += 1
            }
        }
        repeat {
            while let timer = timers.takeDue(nowNs: self.nowNs) { fire(timer) }
            planDirtyModels()
            schedulePushes()
        } while timers.firstNs.map { $0 <= self.nowNs } ?? false
        divideOrigin()
        defer { actions = [] }
        return actions
    }

    private mutating func handle(_ event: SchedulerEvent, from host: HostNumber) {
        switch event {
        case .inventory(_, let models, let tasks, let last): takeInventory(host, models, tasks, last: last)
        case .resolve(let session, let request, let reference, let refresh):
            resolve(host, session, request, reference, refresh: refresh)
        case .resolved(_, let request, let result): takeResolved(host, request, result)
        case .join(_, let model, let manifest): join(host, model, manifest)
        case .leave(_, let model, let finished, let failure): leave(host, model, finished, failure)
        case .kept(_, let task, let pieces, let digests): takeKept(host, task, pieces, digests)
        case .leaseReturned(_, let lease, let failure, let needsWhole):
            takeLeaseReturn(host, lease, failure, needsWhole: needsWhole)
        case .blame(_, let parent, _, _): takeBlame(of: parent, by: host)
        case .load(_, let load): hosts[host]!.load = load
        case .forgot(_, let task): takeForgot(host, task)
        case .moved(_, let model, let move): takeMove(host, model, move)
        case .attached, .detached, .expectedHosts, .settings, .schedulers, .tick:
            preconditionFailure("\(event) is no event of a session")
        }
    }

    private mutating func fire(_ timer: SchedulerTimer) {
        switch timer {
        case .learning: endLearningIfDone()
        case .grace(let host): endGrace(host)
        case .inventory(let session): endInventoryWait(session)
        case .exclusion(let host): endExclusion(host)
        case .resolve(let reference): endResolveWait(reference)
        case .plan(let model): markDirty(model)
        case .push(let model): pushNeighbourhoods(model)
        case .settle(let lease): endSettling(lease)
        case .digests(let task): pushDigests(task)
        case .budget: endOriginShares()
        }
    }

    /// How the scheduler is doing; costs a pass over hosts and models.
    public var snapshot: SchedulerSnapshot {
        var snapshot = counters
        for host in hosts.values {
            if host.session == nil {
                snapshot.hostsInGrace += 1
            } else if host.isSeed {
                snapshot.seedsAttached += 1
            } else {
                snapshot.peersAttached += 1
            }
            if host.isExcluded { snapshot.hostsExcluded += 1 }
        }
        snapshot.models = models.count
        snapshot.modelsActive = models.values.reduce(0) { $0 + ($1.joined.isEmpty ? 0 : 1) }
        snapshot.tasks = tasks.count
        snapshot.leases = leases.count
        snapshot.learning = isLearning
        return snapshot
    }

    private mutating func changeSettings(_ new: SchedulingSettings) {
        guard new != settings else { return }
        settings = new
        originDivision.isStale = true
        for model in models.values.filter({ !$0.joined.isEmpty }) { askForPush(model.id) }
        markActiveModelsDirty()
    }

    // MARK: Small things all parts use

    mutating func send(_ host: HostNumber, _ message: SchedulerMessage) {
        if let session = hosts[host]?.session { actions.append(.send(session, message)) }
    }

    func afterMs(_ ms: UInt64) -> UInt64 { nowNs + ms * 1_000_000 }

    mutating func markDirty(_ model: ModelID) {
        guard models[model] != nil, !models[model]!.isDirty else { return }
        models[model]!.isDirty = true
        dirty.append(model)
    }

    private mutating func planDirtyModels() {
        while !dirty.isEmpty {
            let now = inOrder(dirty)
            dirty = []
            for model in now where models[model] != nil {
                models[model]!.isDirty = false
                plan(model)
            }
        }
    }

    private mutating func schedulePushes() {
        for model in inOrder(unpushed) {
            models[model]!.wantsPush = false
            let earliestNs = models[model]!.pushedNs.map { $0 + settings.neighbourhoodMs * 1_000_000 } ?? 0
            timers.schedule(.push(model), atNs: max(afterMs(settings.gatherMs), earliestNs))
        }
        unpushed = []
    }

    /// The models that are still known, in an order that does not depend on any dictionary's.
    private func inOrder(_ ids: [ModelID]) -> [ModelID] {
        ids.compactMap { models[$0] }.sorted { $0.order < $1.order }.map(\.id)
    }

    /// Marks all models somebody downloads.
    mutating func markActiveModelsDirty() {
        for model in models.values.filter({ !$0.joined.isEmpty }).map(\.id) { markDirty(model) }
    }

    /// Learning ends when the expected hosts have reported, or after its time; a bit later when some have only begun.
    mutating func endLearningIfDone() {
        guard isLearning else { return }
        let reported = hosts.values.reduce(0) { $0 + ($1.hasReported ? 1 : 0) }
        let isReporting = hosts.values.contains { $0.session != nil && !$0.hasReported }
        let isComplete = expectedHosts.map { reported >= $0 } ?? false
        let ageMs = (nowNs - startedNs) / 1_000_000
        let waitsForMore = isReporting || (expectedHosts != nil && !isComplete)
        let limitMs = settings.learningMs * (waitsForMore ? settings.learningFactorMax : 1)
        guard ageMs >= limitMs || (isComplete && !isReporting) else {
            timers.schedule(.learning, atNs: startedNs + limitMs * 1_000_000)
            return
        }
        isLearning = false
        markActiveModelsDirty()
        for reference in references.keys.sorted() { orderResolve(reference) }
    }
}
