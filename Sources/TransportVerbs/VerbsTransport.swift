import Artifacts
import System
import Transport
import Verbs

/// Pieces by RDMA READ: the receiver's NIC takes them out of the source's memory, and no CPU touches a byte.
///
/// A link is a control stream (TCP: handshake, messages, goodbye; keys travel only there) and a few reliable connected
/// queue pairs for each direction it reads in. Ours admit no access from outside; those the far side READs through
/// admit READs alone, of what is leased to it: see `VerbsExports.swift`. One completion queue for all links; when it
/// is empty the rail sleeps on its events.
///
/// Everything that may block in the kernel is done by two attendants. A failed queue pair is drained before its reads
/// complete, and links are never repaired: whoever wants one again connects again, as a new generation. A device that
/// goes away takes its links with it and is looked for until it comes back.
public final class VerbsTransport: PieceTransport {
    /// What an epoll token leads to.
    enum Endpoint {
        case listener
        case handshake(Arrival)
        case control(VerbsLink)
        case completions
        case deviceEvents
        case builder
        case reaper
    }

    let configuration: VerbsConfiguration
    let library: VerbsLibrary
    /// What this transport is and can do here.
    public let capabilities: TransportCapabilities
    /// Where other hosts reach it; nil while it does not listen.
    public internal(set) var address: TransportAddress?
    /// What was done so far.
    public internal(set) var counters = TransportCounters()
    /// What the device was found to enforce of leases; nil when the configuration chose without asking.
    public let enforcement: LeaseEnforcement?
    /// How the configuration asked for exports to be leased.
    public var configuredLease: VerbsConfiguration.Lease { configuration.lease }
    /// Whether exports are leased by windows; otherwise by exact regions.
    let leasesByWindow: Bool

    let queue: EpollQueue
    var listener: WatchedSocket?
    var isListenerPaused = false
    var endpoints: LinkTable<Endpoint>
    var links: LinkTable<VerbsLink>
    var handshakesPending = 0
    /// Inbound links that were never up and are not gone.
    var arrivals = 0
    var regions: [RegionMemory] = []
    var session: VerbsSession?
    var lanes: [(generation: UInt8, lane: VerbsLane?)] = []
    var freeLanes: [Int] = []
    var reads = PostedReads()
    var exportLinks: [ExportID: LinkID] = [:]
    var idleExports: [VerbsExport] = []
    var lastExport: UInt64 = 0
    var happenings = Happenings()
    var dirty: [VerbsLink] = []
    var resumable: [VerbsLink] = []
    /// The links one of these lists held when its turn came; empty otherwise.
    private var turn: [VerbsLink] = []
    /// Completions just polled.
    let completed = UnsafeMutableBufferPointer<WorkCompletion>.allocate(capacity: 64)
    /// Lanes with requests that wait for the doorbell.
    var ringable: [VerbsLane] = []
    var ready: [EpollQueue.Ready] = []
    var nowNs: UInt64 = 0
    /// When time-outs are looked at next; nil when nothing can time out.
    var nextScanNs: UInt64?
    /// Requests posted on any queue pair and not completed: never more than the completion queue holds.
    var requestsOutstanding = 0
    var isArmed = false
    var emptyPolls = 0
    private var endpointsSkipped = 0
    private static let endpointsSkippedMax = 4
    var isShutDown = false

    let builder: VerbsAttendant
    let reaper: VerbsAttendant
    var jobs: [VerbsAttendant.JobNumber: (String?) -> Void] = [:]
    var lastJob: VerbsAttendant.JobNumber = 0
    /// When a lost device is looked for again; nil while there is one.
    var reopenAtNs: UInt64?
    /// When a device with which something is wrong is looked at again.
    var deviceCheckAtNs: UInt64?
    /// Why there is no device now.
    var lossReason = ""

    /// Happenings that wait for `poll` before `post` takes no more.
    static let happeningsMax = 1 << 16
    static let listenerPauseNs: UInt64 = 100_000_000
    private static let attendantThreads = 3

    /// Opens the device, finds out what it enforces, and listens when the configuration says so. Blocks for some tens
    /// of milliseconds.
    ///
    /// - Throws: `.system` when there is no usable device or a setting is impossible, with what to do; `.badAddress`
    ///   for an address that is not numeric, `.addressInUse` when the port is taken.
    public init(_ configuration: VerbsConfiguration, library: VerbsLibrary) throws(TransportError) {
        try configuration.check()
        self.configuration = configuration
        self.library = library
        let session = try VerbsSession.open(library, configuration.path)
        self.session = session
        enforcement = configuration.lease == .probed ? try session.probe() : nil
        leasesByWindow = configuration.lease == .window || enforcement?.mechanism == .window
        capabilities = TransportCapabilities(
            kind: .rdma, readBytesMax: VerbsConfiguration.readBytesMax,
            readBytesPreferred: VerbsConfiguration.readBytesMax,
            readsPerLinkMax: configuration.readsPerLinkMax,
            exportsPerLinkMax: configuration.exportsPerLinkMax,
            messageBytesMax: VerbsConfiguration.messageBytesMax,
            linksMax: configuration.linksMax, exportsFiles: true, servesFrom: .memory, receiveCopies: 0)
        links = LinkTable(linksMax: configuration.linksMax)
        endpoints = LinkTable(linksMax: 8 + 2 * configuration.pendingHandshakesMax + configuration.linksMax)
        do throws(Errno) {
            queue = try EpollQueue()
            builder = try VerbsAttendant(name: "verbs-builder", threads: Self.attendantThreads)
            reaper = try VerbsAttendant(name: "verbs-reaper", threads: Self.attendantThreads)
            try watch(builder.descriptor, .builder)
            try watch(reaper.descriptor, .reaper)
            try watchSession()
        } catch {
            throw TransportError(.system, "cannot watch \(session.name): \(error)")
        }
        try listen()
        scheduleScan(atNs: 0)
    }

    deinit {
        precondition(isShutDown || links.count == 0, "a verbs transport was dropped with links; call shutdown first")
        completed.deallocate()
    }

    private func watch(_ descriptor: CInt, _ endpoint: Endpoint) throws(Errno) {
        guard let token = endpoints.insert({ _ in endpoint }) else { preconditionFailure("endpoints are bounded") }
        try queue.add(descriptor, .reading, token: token.token)
        if case .completions = endpoint { session?.completionEndpoint = token }
        if case .deviceEvents = endpoint { session?.eventEndpoint = token }
    }

    /// Watches the device's events.
    func watchSession() throws(Errno) {
        guard let session else { return }
        isArmed = false
        try watch(session.completionDescriptor, .completions)
        try watch(session.eventDescriptor, .deviceEvents)
    }

    /// Readable when `poll` would find something.
    public var wakeDescriptor: CInt? { queue.raw }

    /// When `poll` wants to be called; 0 for at once, nil for never.
    public var wakeAtNs: UInt64? {
        if !happenings.isEmpty || !dirty.isEmpty || !resumable.isEmpty || !ringable.isEmpty { return 0 }
        if requestsOutstanding > 0 && !isArmed { return 0 }
        return nextScanNs
    }

    // MARK: Memory

    /// Makes memory a target of reads and a possible source of exports.
    ///
    /// While the device is lost the memory is noted, and registered with the device that comes back.
    ///
    /// - Throws: `.system` with the remedy when the device or the memlock limit refuses; what was registered of it is
    ///   let go.
    public func register(_ memory: RegionMemory) throws(TransportError) -> RegionID {
        if let session, session.loss == nil {
            do throws(TransportError) {
                try session.register(memory, forWindows: leasesByWindow)
            } catch {
                // A device that has gone meanwhile: the next one gets it.
                guard session.loss != nil else { throw error }
                scheduleScan(atNs: nowNs)
            }
        }
        regions.append(memory)
        return RegionID(index: UInt32(regions.count - 1))
    }

    func memory(of region: RegionID) -> RegionMemory {
        precondition(Int(region.index) < regions.count, "region \(region.index) was never registered")
        return regions[Int(region.index)]
    }

    // MARK: Messages

    /// Sends a message; false when the link cannot take it now.
    public func send(_ message: UnsafeRawBufferPointer, on link: LinkID) -> Bool {
        precondition(
            message.count <= VerbsConfiguration.messageBytesMax,
            "a message has at most \(VerbsConfiguration.messageBytesMax) bytes, not \(message.count)")
        guard let target = links[link], target.state == .up, let control = target.control else { return true }
        let bytes = ControlStream.lengthBytes + 1 + message.count
        guard control.queuedBytes + bytes <= configuration.messageQueueBytesMax else { return false }
        control.queue(message: message, kind: VerbsFrame.messageKind)
        counters.messagesSent += 1
        markDirty(target)
        return true
    }

    func markDirty(_ link: VerbsLink) {
        guard !link.isDirty else { return }
        link.isDirty = true
        dirty.append(link)
    }

    func markResumable(_ link: VerbsLink) {
        guard !link.isResumable else { return }
        link.isResumable = true
        resumable.append(link)
    }

    // MARK: Polling

    /// Hands over what happened, without waiting.
    @discardableResult
    public func poll(nowNs: UInt64, limit: Int, into events: inout some TransportEvents) -> Int {
        precondition(!isShutDown, "a verbs transport is not polled after shutdown")
        self.nowNs = nowNs
        var handed = happenings.deliver(limit: limit, into: &events)
        ringDoorbells()
        flushDirty()
        swap(&resumable, &turn)
        for link in turn {
            link.isResumable = false
            guard links[link.id] != nil, link.state != .draining else { continue }
            handed += receiveMessages(link, limit: limit - handed, parseOnly: true, into: &events)
        }
        turn.removeAll(keepingCapacity: true)
        // While completions come in, asking the kernel what else there is can wait for a turn or two.
        if takeCompletions(), endpointsSkipped < Self.endpointsSkippedMax {
            endpointsSkipped += 1
        } else {
            endpointsSkipped = 0
            handed += attendEndpoints(limit: limit - handed, into: &events)
        }
        // What came in may have made something to send or to post: within the same turn.
        ringDoorbells()
        flushDirty()
        if let session, let loss = session.loss, !session.isGivenUp { loseSession(loss) }
        if let next = nextScanNs, nowNs >= next { scan() }
        if handed < limit { handed += happenings.deliver(limit: limit - handed, into: &events) }
        return handed
    }

    private func attendEndpoints(limit: Int, into events: inout some TransportEvents) -> Int {
        var handed = 0
        ready.removeAll(keepingCapacity: true)
        counters.syscalls += 1
        do throws(Errno) {
            try queue.wait(limitMs: 0, into: &ready)
        } catch {
            preconditionFailure("epoll cannot be asked: \(error)")
        }
        for happening in ready {
            guard let endpoint = endpoints[LinkID(token: happening.token)] else { continue }
            switch endpoint {
            case .listener: accept()
            case .handshake(let handshake): receiveHandshake(handshake)
            case .control(let link):
                handed += serveControl(link, happening.interest, limit: limit - handed, into: &events)
            case .completions:
                session?.consumeEvent()
                counters.syscalls += 1
                isArmed = false
                takeCompletions()
            case .deviceEvents: takeDeviceEvents()
            case .builder: finishJobs(of: builder)
            case .reaper: finishJobs(of: reaper)
            }
        }
        return handed
    }

    private func flushDirty() {
        guard !dirty.isEmpty else { return }
        swap(&dirty, &turn)
        for link in turn {
            link.isDirty = false
            guard links[link.id] != nil, link.state != .draining else { continue }
            attempt(link) { () throws(TransportError) in try self.flushControl(link) }
        }
        turn.removeAll(keepingCapacity: true)
    }

    /// Runs a step of a link; its failure takes the link down.
    func attempt(_ link: VerbsLink, _ step: () throws(TransportError) -> Void) {
        do throws(TransportError) {
            try step()
        } catch {
            takeDown(link, error)
        }
    }

    // MARK: Jobs

    /// Has an attendant do what may block; `then` runs on the rail, with why it failed.
    func attend(
        _ attendant: VerbsAttendant, for address: PeerAddress, _ job: @escaping @Sendable () -> String?,
        then: @escaping (String?) -> Void
    ) {
        lastJob += 1
        jobs[lastJob] = then
        attendant.submit(lastJob, for: address, job)
    }

    func finishJobs(of attendant: VerbsAttendant) {
        for done in attendant.takeDone() { jobs.removeValue(forKey: done.number)?(done.failure) }
    }
}
