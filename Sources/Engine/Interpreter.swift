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
/// batch of events and the time, and again at `wakeAtNs` at the latest. Nothing in it waits, hashes or touches a disk.
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
    /// The rails that dial, for each transport: one for each port.
    let dialing: [TransportKind: [RailNumber]]

    var nowNs: UInt64 = 0
    var downloads: [DownloadNumber: DownloadTask] = [:]
    var downloadOfModel: [ModelID: DownloadNumber] = [:]
    var filesOfTask: [TaskID: [DownloadFile]] = [:]
    var nextDownload: UInt32 = 1

    var peers: PeerTable
    /// Peers whose link is up though no download reads over it.
    var idlePeers: Set<PeerNumber> = []
    var links: [LinkNumber: EngineLink] = [:]
    var linkNumbers: [RailLink: LinkNumber] = [:]
    /// Links asked for and not up, by their token.
    var dials: [UInt64: PeerNumber] = [:]
    /// Peers whose link failed while downloads read over it: another way is tried as soon as the machines know.
    var redials: [PeerNumber] = []
    /// Peers that are not read over their best way, and when that is tried again.
    var climbing: [PeerNumber: UInt64] = [:]
    /// Links that reads have moved away from.
    var drainingLinks: Set<LinkNumber> = []
    var nextNumber: UInt64 = 1

    var grants: [GrantID: Grant] = [:]
    var reads: [UInt64: Read] = [:]
    /// Reads whose slot is not free yet, oldest first.
    var readsWaiting: [WaitingRead] = []

    var upload: Upload
    var uploadEvents: [UploadEvent] = []
    /// Tasks open for serving.
    var served: [TaskID: ServedTask] = [:]
    /// Children waiting for their task to be opened for serving.
    var opening: [TaskID: [Opening]] = [:]
    /// Children's sessions that have not ended.
    var childTasks: [UploadSessionID: TaskID] = [:]
    var exports: [UploadKey: Export] = [:]
    var exporting: [UInt64: PendingExport] = [:]
    /// Pieces in memory, for transports that serve from there.
    var resident: ResidentPieces
    /// Exports whose piece a worker is reading into memory.
    var loading: [ResidentNumber: [MemoryExport]] = [:]
    /// Exports that wait for memory, oldest first.
    var exportsWaiting: [MemoryExport] = []
    /// Exports of pieces in memory that are not retired.
    var residentExports: [RailExport: ResidentNumber] = [:]
    /// Whether some rail serves from memory.
    let servesFromMemory: Bool
    /// The origin's reader waits for a slot.
    var originIsShort = false
    /// Tasks whose stored pieces a worker is throwing away, and what waits for that.
    var forgetting: [TaskID: Forgetting] = [:]

    var outbox: [[RailCommand]]
    /// Rails that have ended: what is asked of them is refused here.
    var endedRails: Set<RailNumber> = []
    var refusals: [(RailNumber, RailEvent)] = []
    var jobsWaiting: [@Sendable () -> Void] = []
    var machineEvents: [(DownloadNumber, DownloadEvent)] = []
    /// Set once everything is to end: by then at the latest.
    public private(set) var stopAtNs: UInt64?
    /// Leases of downloads, by lease, until they are over and nothing is read under them.
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
        let session: UInt32
        let lengthBytes: UInt32
    }

    /// A read in the hands of a rail.
    struct Read {
        let download: DownloadNumber
        let peer: PeerNumber
        let address: PieceAddress
        let slot: Slot
        let link: LinkNumber
        let session: UInt32
        let lengthBytes: UInt32
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

    /// An export a rail is making: its task's descriptor stays open until then, its piece in memory.
    struct PendingExport {
        let key: UploadKey
        let served: ServedFile
        var resident: ResidentNumber?
    }

    /// An export of a piece that is to lie in memory.
    struct MemoryExport {
        let key: UploadKey
        let task: TaskID
        let served: ServedFile
        let untilNs: UInt64
    }

    /// An export as its rail names it.
    struct RailExport: Hashable {
        let rail: RailNumber
        let id: ExportID
    }

    /// A task open for serving, as long as children have sessions on it.
    struct ServedTask {
        let served: ServedFile
        var sessions: Set<UploadSessionID> = []
    }

    /// A child's session that waits for its task to be opened.
    struct Opening {
        let session: UploadSessionID
        let pieceCount: UInt32
        /// What the worker opens may be what is being thrown away.
        var isStale = false
    }

    /// A task being forgotten.
    struct Forgetting {
        /// Jobs on the task that must not overtake, and which of them forget it once more.
        var jobs: [(job: @Sendable () -> Void, forgets: Bool)] = []
    }

    /// Batches for rails are cut at so many commands, well below what a rail's mailbox holds.
    private static var commandsPerBatchMax: Int { 4096 }

    /// Puts a host's parts together. `rails` are given by number; those that dial are looked up by their transport's
    /// kind, one for each port.
    public init(
        configuration: EngineConfiguration, rails: [any RailPort], dialing: [TransportKind: [RailNumber]], arena: Arena,
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
        peers = PeerTable(settings: configuration.selector)
        servesFromMemory = rails.contains { $0.capabilities.servesFrom == .memory }
        let share = arena.lengthBytes / 100 * configuration.residentPercentMax
        resident = ResidentPieces(bytesMax: max(share, arena.slotBytes))
        outbox = Array(repeating: [], count: rails.count)
    }

    /// Takes in what happened, does all that follows from it, and hands each rail one batch.
    public func handle(_ events: [EngineEvent], nowNs: UInt64) {
        self.nowNs = nowNs
        for event in events {
            dispatch(event)
            // In order: a message of a rail may answer what follows from the one before.
            settle()
        }
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
        sum.residentBytes = resident.bytes
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
        for peer in idlePeers {
            if let atNs = peers[peer].idleUntilNs { wake = min(wake ?? .max, atNs) }
        }
        if let first = exportsWaiting.first { wake = min(wake ?? .max, first.untilNs) }
        for atNs in climbing.values { wake = min(wake ?? .max, atNs) }
        for link in drainingLinks {
            if let atNs = links[link]?.drainUntilNs { wake = min(wake ?? .max, atNs) }
        }
        // A rail's mailbox or the workers' queue was full: soon again.
        if !jobsWaiting.isEmpty || outbox.contains(where: { !$0.isEmpty }) {
            wake = min(wake ?? .max, nowNs + 2_000_000)
        }
        return wake
    }

    private func dispatch(_ event: EngineEvent) {
        switch event {
        case .rail(let rail, let event):
            railEvent(event, rail: rail)
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
        case .sourceOpened(let task, let source):
            sourceOpened(task, source)
        case .forgotten(let task):
            forgotten(task)
        case .pieceLoaded(let number, let error):
            pieceLoaded(number, error)
        case .slotsShort:
            originIsShort = true
            evictForOrigin()
        case .gone(let tasks):
            for task in tasks {
                forgetResident(task)
                uploadEvent(.forgot(task))
                scheduler.send(.forgot(task))
            }
        case .flooded(let rail, let link):
            guard let number = linkNumbers[RailLink(rail: rail, id: link)] else { break }
            closeLink(number, reason: "it sends more than this host can take in")
        case .ask(let body):
            body(self)
        case .stop(let limitNs):
            guard stopAtNs == nil else { break }
            stopAtNs = nowNs + limitNs
            endDownloads()
            endResident()
        }
    }

    /// Whether a stopped engine has nothing more to wait for: every download has wound down, every job is handed over.
    var isDrained: Bool {
        stopAtNs != nil && downloads.isEmpty && jobsWaiting.isEmpty && forgetting.isEmpty
            && resident.isEmpty
    }

    /// Lets the machines whose time has come look at the clock.
    private func tick() {
        if let at = upload.wakeAtNs, at <= nowNs { uploadEvent(.tick) }
        for (number, task) in downloads {
            if let at = task.machine?.wakeAtNs, at <= nowNs { machineEvents.append((number, .tick)) }
        }
        closeIdleLinks()
        climb()
        closeDrained()
        expireExports()
    }

    /// Feeds the machines until none has anything more to say.
    private func settle() {
        var turns = 0
        repeat {
            while !machineEvents.isEmpty || !refusals.isEmpty {
                let refused = refusals
                refusals = []
                for (rail, event) in refused { railEvent(event, rail: rail) }
                let batch = machineEvents
                machineEvents = []
                for (number, event) in batch { step(number, event) }
                turns += 1
                precondition(turns < 100_000, "the download machines do not come to rest")
            }
            redial()
            for number in downloads.keys where downloads[number]?.outcome != nil { retire(number) }
        } while !machineEvents.isEmpty || !refusals.isEmpty
    }

    /// Hands over what has gathered for rails and workers, as far as they take it.
    private func flush() {
        for rail in outbox.indices where !outbox[rail].isEmpty {
            var start = 0
            while start < outbox[rail].count {
                let end = min(start + Interpreter.commandsPerBatchMax, outbox[rail].count)
                guard rails[rail].submit(Array(outbox[rail][start..<end])) else { break }
                start = end
            }
            outbox[rail].removeFirst(start)
        }
        var taken = 0
        while taken < jobsWaiting.count, workers.submit(jobsWaiting[taken]) { taken += 1 }
        jobsWaiting.removeFirst(taken)
    }

    /// Queues a job for the workers.
    func work(_ job: @escaping @Sendable () -> Void) { jobsWaiting.append(job) }

    /// Queues a job on a task's file: after the workers have forgotten what was stored of it, if they are at that.
    ///
    /// A job that `forgets` ends with `EngineEvent.forgotten`.
    func work(on task: TaskID, forgets: Bool = false, _ job: @escaping @Sendable () -> Void) {
        guard forgetting[task] == nil else {
            forgetting[task]!.jobs.append((job, forgets))
            return
        }
        if forgets { forgetting[task] = Forgetting() }
        work(job)
    }

    /// A worker is done with forgetting: what waited for that goes on.
    private func forgotten(_ task: TaskID) {
        guard let state = forgetting.removeValue(forKey: task) else { return }
        for waiting in state.jobs { work(on: task, forgets: waiting.forgets, waiting.job) }
    }

    /// Queues a command for a rail; one that has ended refuses it.
    func command(_ command: RailCommand, on rail: RailNumber) {
        if endedRails.contains(rail) { refuse(command, on: rail) } else { outbox[rail].append(command) }
    }

    /// A rail has ended: nothing in its outbox will be taken any more.
    func railEnded(_ rail: RailNumber) {
        endedRails.insert(rail)
        let left = outbox[rail]
        outbox[rail] = []
        for command in left { refuse(command, on: rail) }
        for export in residentExports.keys where export.rail == rail { exportRetired(export) }
    }

    /// Answers a command as a rail answers one for a link that is closed.
    private func refuse(_ command: RailCommand, on rail: RailNumber) {
        let error = TransportError(.linkClosed, "the rail has ended")
        switch command {
        case .connect(let token, _, _): refusals.append((rail, .connectFailed(token: token, error)))
        case .read(let read):
            refusals.append((rail, .readCompleted(tag: read.tag, read.link, failure: .linkClosed)))
        case .export(let token, _, _): refusals.append((rail, .exported(token: token, .failure(error))))
        case .close, .send, .revoke: break
        }
    }

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
        slotsFreed()
    }

    /// Slots were given back, here or by the origin's reader.
    func slotsFreed() {
        startWaitingExports()
        startWaitingReads()
        originIsShort = false
        origin.slotsFreed()
    }
}
