import System

/// What the lease probe works with: memory to read and to land in, and a queue that all its connections end on.
struct ProbeBench: ~Copyable {
    /// No try takes longer, each way.
    static let patienceNs: UInt64 = 2_000_000_000

    let source = ProbeMemory()
    private let sink: ProbeMemory
    private let queue: CompletionQueue
    private let poller: EpollQueue
    private let readerDomain: ProtectionDomain
    private let sinkRegion: MemoryRegion
    private let path: PathSettings
    private let place: String

    init(_ device: borrowing Device, port: PortAttributes, gid: GIDEntry?) throws(VerbsError) {
        // A failure must find nothing half made: every part first, then all at once.
        let place = "\(device.name) port \(port.number)"
        let queue = try CompletionQueue(device, entries: 16)
        let poller = try Self.watch(queue.descriptor, place)
        let readerDomain = try ProtectionDomain(device)
        let sink = ProbeMemory()
        let sinkRegion = try MemoryRegion(
            in: readerDomain, base: sink.base, lengthBytes: ProbeMemory.lengthBytes, access: .localWrite)
        self.place = place
        self.queue = queue
        self.poller = poller
        self.readerDomain = readerDomain
        self.sink = sink
        self.sinkRegion = sinkRegion
        path = PathSettings(
            port: port.number, gidIndex: gid?.index ?? 0, remoteGID: gid?.gid, remoteLID: port.lid,
            pathMTU: port.activeMTU)
    }

    private static func watch(_ descriptor: CInt, _ place: String) throws(VerbsError) -> EpollQueue {
        do throws(Errno) {
            let poller = try EpollQueue()
            try poller.add(descriptor, .reading, token: 1)
            return poller
        } catch {
            throw VerbsError(.system, "cannot watch a completion queue of \(place): \(error.message)", cause: error)
        }
    }

    /// Two ends of one connection, on one device.
    struct Pair: ~Copyable {
        let server: QueuePair
        let reader: QueuePair
    }

    /// What a reader may try; offsets count from the beginning of the lease.
    enum Attempt {
        case read(offset: Int, key: UInt32)
        case write(offset: Int, key: UInt32)
    }

    /// A fresh connection whose serving side belongs to a domain. It admits WRITEs, so that what refuses one is the
    /// key.
    func connect(in domain: borrowing ProtectionDomain) throws(VerbsError) -> Pair {
        let server = try QueuePair(in: domain, on: queue, sendRequestsMax: 4)
        let reader = try QueuePair(in: readerDomain, on: queue, sendRequestsMax: 4)
        try server.initialise(port: path.port, access: [.remoteRead, .remoteWrite])
        try reader.initialise(port: path.port, access: [])
        try server.readyToReceive(path: path, remoteNumber: reader.number, remotePSN: 2, maxReadsServed: 1)
        try reader.readyToReceive(path: path, remoteNumber: server.number, remotePSN: 1, maxReadsServed: 1)
        try server.readyToSend(psn: 1, timeoutExponent: 14, retries: 4, maxReadsInitiated: 1)
        try reader.readyToSend(psn: 2, timeoutExponent: 14, retries: 4, maxReadsInitiated: 1)
        return Pair(server: server, reader: reader)
    }

    /// Tries it over a connection, and says how it ended.
    func attempt(_ attempt: Attempt, servedBy pair: borrowing Pair) throws(VerbsError) -> CompletionStatus {
        let (offset, key, isWrite) =
            switch attempt {
            case .read(let offset, let key): (offset, key, false)
            case .write(let offset, let key): (offset, key, true)
            }
        let remote = UInt64(UInt(bitPattern: source.base + ProbeMemory.leaseOffset + offset))
        let local = sinkRegion.address
        let localKey = sinkRegion.localKey
        return try post(on: pair.reader) { list, id in
            if isWrite {
                list.appendWrite(
                    localAddress: local, lengthBytes: ProbeMemory.attemptBytes, localKey: localKey,
                    remoteAddress: remote, remoteKey: key, id: id, isSignaled: true)
            } else {
                list.appendRead(
                    localAddress: local, lengthBytes: ProbeMemory.attemptBytes, localKey: localKey,
                    remoteAddress: remote, remoteKey: key, id: id, isSignaled: true)
            }
        }
    }

    /// Runs a try with the key of a window on the lease, bound to the serving side of a fresh connection.
    func onWindow(
        _ domain: borrowing ProtectionDomain, _ region: borrowing MemoryRegion,
        _ body: (borrowing Pair, UInt32, borrowing ProbeBench) throws(VerbsError) -> CompletionStatus
    ) throws(VerbsError) -> CompletionStatus {
        let pair = try connect(in: domain)
        let window = try MemoryWindow(in: domain)
        let ended: Result<CompletionStatus, VerbsError>
        do {
            try bind(window, to: pair.server, region)
            ended = .success(try body(pair, window.remoteKey, self))
        } catch {
            ended = .failure(error)
        }
        // Before its queue pair: a bound window holds that, and destroying it would wait.
        try window.close()
        return try ended.get()
    }

    private func bind(
        _ window: borrowing MemoryWindow, to server: borrowing QueuePair, _ region: borrowing MemoryRegion
    ) throws(VerbsError) {
        var list = SendList(capacity: 1)
        list.appendBind(
            window, newKey: window.nextKey, region: region, address: region.address + UInt64(ProbeMemory.leaseOffset),
            lengthBytes: UInt64(ProbeMemory.leaseBytes), id: 1, isSignaled: true)
        let bound = try post(&list, on: server)
        guard bound == .success else {
            throw VerbsError(.unsupported, "binding a window on \(place) ended with \(bound)")
        }
    }

    /// Posts one request and waits for its end.
    func post(
        on pair: borrowing QueuePair, _ fill: (inout SendList, UInt64) -> Void
    ) throws(VerbsError) -> CompletionStatus {
        var list = SendList(capacity: 1)
        fill(&list, 1)
        return try post(&list, on: pair)
    }

    private func post(_ list: inout SendList, on pair: borrowing QueuePair) throws(VerbsError) -> CompletionStatus {
        let outcome = pair.post(&list)
        guard outcome.isComplete else {
            throw VerbsError.failed("cannot post to \(place)", "ibv_post_send", errno: outcome.errorNumber)
        }
        if let status = try completion(of: pair.number) { return status }
        // Not even an error: stop the queue pair, so that what it was to write cannot land any more.
        try pair.fail()
        if let status = try completion(of: pair.number) { return status == .success ? status : .retriesExceeded }
        // What the device may still touch must not be used again.
        source.leak()
        sink.leak()
        throw VerbsError(
            .gone, "\(place) completes nothing, not even after its queue pair was stopped; reload its driver")
    }

    /// The end of the one request posted to a queue pair; nil when patience ends. Others' ends, late, are passed over.
    private func completion(of number: UInt32) throws(VerbsError) -> CompletionStatus? {
        let deadlineNs = MonotonicClock.nowNs() + Self.patienceNs
        var found: CompletionStatus?
        let buffer = UnsafeMutableBufferPointer<WorkCompletion>.allocate(capacity: 4)
        defer { buffer.deallocate() }
        buffer.initialize(repeating: WorkCompletion())
        while found == nil {
            try queue.arm()
            let count = try queue.poll(into: buffer)
            for completion in buffer.prefix(count) where completion.queuePairNumber == number {
                found = completion.status
            }
            if count > 0 { continue }
            if MonotonicClock.nowNs() > deadlineNs { return nil }
            var ready: [EpollQueue.Ready] = []
            do throws(Errno) { try poller.wait(limitMs: 50, into: &ready) } catch {
                throw VerbsError(.system, "cannot wait for \(place): \(error.message)", cause: error)
            }
            if !ready.isEmpty { try queue.consumeEvent() }
        }
        return found
    }

    func unreachable(_ status: CompletionStatus) -> VerbsError {
        VerbsError(
            .unreachable,
            "\(place) cannot READ from itself (\(status)); check that its address is up and its traffic is let through")
    }
}

/// Memory with a pattern, of which the middle is the lease.
final class ProbeMemory {
    static let lengthBytes = 16 << 10
    static let leaseOffset = 4 << 10
    static let leaseBytes = 8 << 10
    static let attemptBytes: UInt32 = 256
    /// From the lease's beginning: across its beginning, across its end, behind it.
    static let outsideOffsets = [-128, leaseBytes - 128, leaseBytes + 1024]

    let base: UnsafeMutableRawPointer
    private var isLeaked = false

    init() {
        base = .allocate(byteCount: Self.lengthBytes, alignment: 4096)
        for index in 0..<Self.lengthBytes { base.storeBytes(of: Self.byte(index), toByteOffset: index, as: UInt8.self) }
    }

    deinit { if !isLeaked { base.deallocate() } }

    var isUnchanged: Bool {
        (0..<Self.lengthBytes).allSatisfy { base.load(fromByteOffset: $0, as: UInt8.self) == Self.byte($0) }
    }

    func leak() { isLeaked = true }

    private static func byte(_ index: Int) -> UInt8 { UInt8(truncatingIfNeeded: index &* 167 ^ index >> 8) }
}
