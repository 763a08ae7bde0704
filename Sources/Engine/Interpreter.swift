import Artifacts
import Memory
import Rails
import Storage
import Swarm
import Transport
import Workers

/// Carries out what the machines decide: the only place that sees decisions and movers both. It never decides.
///
/// Synchronous and single-threaded: its owner (a thread in production, the loop of a simulation) calls `handle` with a
/// batch of
/// events and the time, and again at `wakeAtNs` at the latest. Nothing in it waits, hashes or touches a disk.
public final class Interpreter {
    let configuration: EngineConfiguration
    let rails: [any RailPort]
    let arena: Arena
    let store: Store
    let workers: any WorkerPort
    let scheduler: any SchedulerPort
    let origin: any OriginPort
    /// Brings workers' results back to the engine's thread.
    let post: @Sendable (EngineEvent) -> Void
    let log: @Sendable (String) -> Void
    /// The rail that dials, for each transport.
    let dialing: [TransportKind: RailNumber]

    var nowNs: UInt64 = 0
    var downloads: [DownloadNumber: DownloadTask] = [:]
    var downloadOfModel: [ModelID: DownloadNumber] = [:]
    var filesOfTask: [TaskID: [DownloadFile]] = [:]
    var nextDownload: UInt32 = 1

    var peers = PeerTable()
    var links: [LinkNumber: EngineLink] = [:]
    var linkNumbers: [RailLink: LinkNumber] = [:]
    var connecting: [UInt64: PeerNumber] = [:]
    var nextNumber: UInt64 = 1

    var grants: [GrantID: Grant] = [:]
    var reads: [UInt64: Read] = [:]
    /// Reads whose slot is not free yet, oldest first.
    var readsWaiting: [WaitingRead] = []

    var upload: Upload
    var sources: [TaskID: TaskSource] = [:]
    /// Sources of tasks that were forgotten, until no export of them is under way.
    var retiredSources: [(task: TaskID, source: TaskSource)] = []
    /// Children waiting for their task to be opened for serving.
    var opening: [TaskID: [UploadSessionID]] = [:]
    /// Tasks forgotten while they were being opened for serving.
    var openingForgotten: Set<TaskID> = []
    var uploadTasks: [UploadSessionID: TaskID] = [:]
    var exports: [UploadKey: Export] = [:]
    var exporting: [UInt64: PendingExport] = [:]
    /// Exports revoked before their rail had made them.
    var exportsUnwanted: Set<UInt64> = []

    var outbox: [[RailCommand]]
    var jobsWaiting: [@Sendable () -> Void] = []
    var machineEvents: [(DownloadNumber, DownloadEvent)] = []
    /// Leases of downloads, by lease.
    var downloadOfLease: [LeaseID: DownloadNumber] = [:]
    /// Sums over downloads that are over.
    var ended = EngineTotals()
    let totals: EngineTotalsBox
    private var totalsAtNs: UInt64 = 0
    /// Something may have happened since the totals were last copied.
    private var totalsAreOld = false

    /// A parent's permission to read one piece.
    struct Grant {
        let key: RemoteKey
        let link: LinkNumber
        let lengthBytes: UInt32
    }

    /// A read in the hands of a rail.
    struct Read {
        let download: DownloadNumber
        let peer: PeerNumber
        let address: PieceAddress
        let slot: Slot
        let link: LinkNumber
    }

    /// A read that waits for a slot.
    struct WaitingRead {
        let download: DownloadNumber
        let peer: PeerNumber
        let address: PieceAddress
        let grant: GrantID
    }

    /// An export of one piece to one child's session.
    struct UploadKey: Hashable {
        let session: UploadSessionID
        let piece: PieceIndex
    }

    /// An export a rail is making: its task's descriptor stays open until then.
    struct PendingExport {
        let key: UploadKey
        let task: TaskID
    }

    /// Puts a host's parts together. `rails` are given by number; those that dial are looked up by their transport's
    /// kind.
    public init(
        configuration: EngineConfiguration, rails: [any RailPort], dialing: [TransportKind: RailNumber], arena: Arena,
        store: Store, workers: any WorkerPort, scheduler: any SchedulerPort, origin: any OriginPort,
        totals: EngineTotalsBox, post: @escaping @Sendable (EngineEvent) -> Void,
        log: @escaping @Sendable (String) -> Void
    ) {
        self.configuration = configuration
        self.rails = rails
        self.dialing = dialing
        self.arena = arena
        self.store = store
        self.workers = workers
        self.scheduler = scheduler
        self.origin = origin
        self.totals = totals
        self.post = post
        self.log = log
        upload = Upload(settings: configuration.upload)
        outbox = Array(repeating: [], count: rails.count)
    }

    /// Takes in what happened, does all that follows from it, and hands each rail one batch.
    public func handle(_ events: [EngineEvent], nowNs: UInt64) {
        self.nowNs = nowNs
        for event in events { dispatch(event) }
        tick()
        settle()
        flush()
        totalsAreOld = true
        if nowNs >= totalsAtNs { putTotals() }
    }

    private func putTotals() {
        totalsAtNs = nowNs + 100_000_000
        var sum = ended
        for task in downloads.values {
            sum.traffic.add(task.traffic)
            sum.wastedBytes += task.progressAtOutcome?.wastedBytes ?? task.machine?.progress.wastedBytes ?? 0
            sum.downloadsRunning += task.outcome == nil ? 1 : 0
            sum.leasesHeld += task.leases.count
        }
        for link in links.values {
            if link.inbound { sum.linksInbound += 1 } else { sum.linksOutbound += 1 }
        }
        sum.readsRunning = reads.count
        sum.readsWaitingForSlots = readsWaiting.count
        sum.uploadsRunning = exports.count
        totals.put(sum)
        totalsAreOld = false
    }

    /// When `handle` must be called at the latest; nil for never.
    public var wakeAtNs: UInt64? {
        var wake = upload.wakeAtNs
        for task in downloads.values {
            if let at = task.machine?.wakeAtNs { wake = min(wake ?? at, at) }
        }
        if totalsAreOld { wake = min(wake ?? .max, totalsAtNs) }
        // A rail's mailbox or the workers' queue was full: soon again.
        if !jobsWaiting.isEmpty || outbox.contains(where: { !$0.isEmpty }) {
            wake = min(wake ?? .max, nowNs + 2_000_000)
        }
        return wake
    }

    private func dispatch(_ event: EngineEvent) {
        switch event {
        case .rail(let rail, let batch):
            for event in batch { railEvent(event, rail: rail) }
        case .scheduler(let message):
            schedulerEvent(message)
        case .originPiece(let lease, let piece, let slot):
            originPiece(lease, piece, slot)
        case .originEnded(let lease, let failure):
            originEnded(lease, failure)
        case .prepared(let number, let result):
            prepared(number, result)
        case .keepEnded(let number, let address, let slot, let outcome):
            keepEnded(number, address, slot, outcome)
        case .hashAdvanced(let number, let file):
            hashAdvanced(number, file)
        case .publishEnded(let number, let file, let result):
            publishEnded(number, file, result)
        case .forgotten(let number, let file):
            for job in downloads[number]?.forgetting.removeValue(forKey: file) ?? [] { work(job) }
        case .sourceOpened(let task, let source):
            sourceOpened(task, source)
        case .ask(let body):
            body(self)
        case .stop:
            break
        }
    }

    /// Lets the machines whose time has come look at the clock.
    private func tick() {
        if let at = upload.wakeAtNs, at <= nowNs { uploadEvent(.tick) }
        for (number, task) in downloads {
            if let at = task.machine?.wakeAtNs, at <= nowNs { machineEvents.append((number, .tick)) }
        }
    }

    /// Feeds the machines until none has anything more to say.
    func settle() {
        var turns = 0
        while !machineEvents.isEmpty {
            let batch = machineEvents
            machineEvents = []
            for (number, event) in batch { step(number, event) }
            turns += 1
            precondition(turns < 100_000, "the download machines do not come to rest")
        }
        for number in downloads.keys where downloads[number]?.outcome != nil { retire(number) }
    }

    /// Hands over what has gathered for rails and workers, as far as they take it.
    func flush() {
        for rail in outbox.indices where !outbox[rail].isEmpty {
            if rails[rail].submit(outbox[rail]) { outbox[rail] = [] }
        }
        while let job = jobsWaiting.first, workers.submit(job) { jobsWaiting.removeFirst() }
    }

    /// Queues a job for the workers.
    func work(_ job: @escaping @Sendable () -> Void) { jobsWaiting.append(job) }

    /// Queues a command for a rail.
    func command(_ command: RailCommand, on rail: RailNumber) { outbox[rail].append(command) }

    /// Queues a message for a link; a link that is gone drops it.
    func say(_ message: PeerMessage<RemoteKey>, on link: LinkNumber) {
        guard let state = links[link] else { return }
        command(.send(message, on: state.id), on: state.rail)
    }

    /// A number nobody has had.
    func number() -> UInt64 {
        defer { nextNumber += 1 }
        return nextNumber
    }

    /// Gives a slot back, and lets those who wait for one have it.
    func free(_ slot: Slot) {
        arena.give(back: slot)
        startWaitingReads()
        origin.slotsFreed()
    }
}
