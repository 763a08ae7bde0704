import Artifacts
import Digests
import Rails
import Swarm
import Synchronization
import System
import Transport
import Workers

/// One side of a point's measurement: its rail and what it does there, reading, being read, or both.
///
/// All that happens between two requests happens in the rail's sink, on the rail's thread; verification on workers. The
/// thread that measures only looks at counters from time to time.
final class BenchSide: Sendable {
    /// A request under way.
    private struct Request {
        var link = 0
        var piece = 0
        var beganNs: UInt64 = 0
    }

    private struct ReadLink {
        let id: LinkID
        var key: RemoteKey?
    }

    private struct State {
        var links: [ReadLink] = []
        var requests: [Request] = []
        var busy: [Bool]
        var next = 0
        var isReading = false
        var underWay = 0
        var finished: UInt64 = 0
        var histogram = LatencyHistogram()
        var commands: [RailCommand] = []
        var jobs: [WorkerPool.Job] = []
        var failure: BenchError?
    }

    private let point: BenchPoint
    private let memory: BenchMemory
    private let expected: BenchContent
    private let digests: [Digest]
    private let reads: Bool
    private let serves: Bool
    private let workers: WorkerPool?
    private let state: Mutex<State>
    private let rail = Mutex<RailHandle?>(nil)
    private let changed: EventCounter
    private let pieceCount: Int

    /// Makes a side. `seed`: of the content that the far side has.
    init(_ point: BenchPoint, memory: BenchMemory, reads: Bool, serves: Bool, seed: UInt64) throws(BenchError) {
        (self.point, self.memory, self.reads, self.serves) = (point, memory, reads, serves)
        pieceCount = memory.lengthBytes / point.messageBytes
        expected = BenchContent(seed: seed)
        digests =
            reads && point.verifies
            ? expected.digests(lengthBytes: memory.lengthBytes, pieceBytes: point.messageBytes) : []
        state = Mutex(State(busy: Array(repeating: false, count: pieceCount)))
        do throws(Errno) {
            changed = try EventCounter()
            let checks = reads && (point.verifies || point.validates)
            let threads = max(1, min(8, try CPUSet.ofCallingThread().count / 2))
            workers =
                checks
                ? try WorkerPool(WorkerConfiguration(name: "bench-verify", threadCount: threads, queueLimit: 4096))
                : nil
        } catch {
            throw BenchError(.system, "no thread or descriptor can be had: \(error)")
        }
    }

    /// Starts the rail; where it listens.
    func start(_ place: BenchRail.Place) throws(BenchError) -> TransportAddress? {
        let started = try BenchRail.start(point, place, memory: memory) { [self] in take($0) }
        rail.withLock { $0 = started }
        return started.address
    }

    /// Dials so many links, and waits until each way of reading has its key.
    func connect(to addresses: [TransportAddress], limitMs: Int) throws(BenchError) {
        let deadlineNs = MonotonicClock.nowNs() + UInt64(limitMs) * 1_000_000
        for (number, address) in addresses.enumerated() {
            submit([.connect(token: UInt64(number), to: address, deadlineNs: deadlineNs)])
        }
        try waitUntil(limitMs: limitMs, "the links did not come up") { state in
            state.links.count >= addresses.count && (!self.reads || state.links.allSatisfy { $0.key != nil })
        }
    }

    /// Waits until the far side's links are up, and readable where this side reads.
    func awaitLinks(_ count: Int, limitMs: Int) throws(BenchError) {
        try waitUntil(limitMs: limitMs, "the far side's links did not come up") { state in
            state.links.count >= count && (!self.reads || state.links.allSatisfy { $0.key != nil })
        }
    }

    /// Puts the point's requests under way on every link; each is followed by another until `endReading`.
    func beginReading() {
        guard reads else { return }
        let commands = state.withLock { state -> [RailCommand] in
            state.isReading = true
            let count = point.depth * state.links.count
            state.requests = (0..<count).map { Request(link: $0 / point.depth) }
            state.jobs = (0..<count).map { slot in { [self] in check(slot) } }
            state.commands.reserveCapacity(2 * count)
            for slot in 0..<count { ask(slot, &state) }
            defer { state.commands.removeAll(keepingCapacity: true) }
            return state.commands
        }
        submit(commands)
    }

    /// Asks for nothing more and waits until what is under way has ended.
    func endReading(limitMs: Int) throws(BenchError) {
        state.withLock { $0.isReading = false }
        try waitUntil(limitMs: limitMs, "requests under way did not end") { $0.underWay == 0 }
    }

    /// Ends the rail and the workers.
    func shutdown() {
        rail.withLock { rail -> RailHandle? in
            defer { rail = nil }
            return rail
        }?.shutdown()
        workers?.stop()
    }

    /// What was counted so far; throws what went wrong.
    func progress() throws(BenchError) -> Progress {
        let (progress, failure) = state.withLock { state in
            (Progress(requests: state.finished, histogram: state.histogram), state.failure)
        }
        if let failure { throw failure }
        var counted = progress
        if let rail = rail.withLock({ $0 }) { counted.counters = rail.counters }
        return counted
    }

    /// Counts since the rail began.
    struct Progress: Sendable {
        var requests: UInt64
        var histogram: LatencyHistogram
        var counters = RailCounters()
    }

    // MARK: On the rail's thread

    private func take(_ events: ArraySlice<RailEvent>) {
        let commands = state.withLock { state -> [RailCommand] in
            for event in events { take(event, &state) }
            defer { state.commands.removeAll(keepingCapacity: true) }
            return state.commands
        }
        submit(commands)
    }

    private func take(_ event: RailEvent, _ state: inout State) {
        switch event {
        case .linkUp(let link, _, _):
            state.links.append(ReadLink(id: link))
            if reads { state.commands.append(.send(.want(session: 1, piece: PieceIndex(0)), on: link)) }
            changed.signal()
        case .message(let link, .want):
            guard serves else { return fail(.protocolBroken, "the far side reads where it should be read", &state) }
            state.commands.append(.export(token: UInt64(link.index), exported, to: link))
        case .exported(let token, .success(let export)):
            guard let link = state.links.first(where: { UInt64($0.id.index) == token }) else { return }
            state.commands.append(
                .send(
                    .grant(session: 1, piece: PieceIndex(0), key: export.key, lengthBytes: 1, leaseMs: .max),
                    on: link.id))
        case .exported(_, .failure(let error)): fail(.system, "the memory cannot be read: \(error)", &state)
        case .message(let link, .grant(_, _, let key, _, _)):
            guard let place = state.links.firstIndex(where: { $0.id == link }) else { return }
            state.links[place].key = key
            changed.signal()
        case .readCompleted(let tag, _, let failure):
            ended(Int(tag), failure, &state)
        case .connectFailed(_, let error), .linkDown(_, let error):
            if state.isReading || error.code != .peerClosed {
                fail(.unreachable, "a link of the measurement ended: \(error)", &state)
            }
        default: break
        }
    }

    /// What the far side may read: all of the memory, from the page cache or as registered.
    private var exported: ExportSource {
        let fromFile =
            switch point.source {
            case .file: true
            case .memory: false
            case .auto: point.transport == .tcp
            }
        let length = UInt64(memory.lengthBytes)
        return fromFile && point.transport != .rdma
            ? .file(descriptor: memory.memory.descriptor, range: ByteRange(offset: 0, length: length))
            : .memory(region: RegionID(index: 0), offset: 0, lengthBytes: length)
    }

    private func ask(_ slot: Int, _ state: inout State) {
        guard let key = state.links[state.requests[slot].link].key else { return }
        while state.busy[state.next] { state.next = (state.next + 1) % pieceCount }
        let piece = state.next
        state.busy[piece] = true
        state.next = (piece + 1) % pieceCount
        state.requests[slot].piece = piece
        state.requests[slot].beganNs = MonotonicClock.nowNs()
        state.underWay += 1
        let offset = UInt64(piece) * UInt64(point.messageBytes)
        state.commands.append(
            .read(
                PieceRead(
                    link: state.links[state.requests[slot].link].id, key: key, remoteOffset: offset,
                    region: RegionID(index: 0), localOffset: offset, lengthBytes: UInt64(point.messageBytes),
                    tag: UInt64(slot))))
    }

    private func ended(_ slot: Int, _ failure: TransportError.Code?, _ state: inout State) {
        guard failure == nil, let workers else { return done(slot, failure, &state) }
        if !workers.submit(state.jobs[slot]) {
            fail(.system, "the workers that verify take no more", &state)
            done(slot, nil, &state)
        }
    }

    private func done(_ slot: Int, _ failure: TransportError.Code?, _ state: inout State) {
        state.busy[state.requests[slot].piece] = false
        state.underWay -= 1
        if let failure {
            if state.isReading { fail(.unreachable, "a request failed: \(failure)", &state) }
        } else {
            state.finished += 1
            state.histogram.add(MonotonicClock.nowNs() - state.requests[slot].beganNs)
        }
        if state.isReading, state.failure == nil { ask(slot, &state) }
        if state.underWay == 0 { changed.signal() }
    }

    /// Verifies a request's bytes, on a worker's thread.
    private func check(_ slot: Int) {
        let piece = state.withLock { $0.requests[slot].piece }
        let bytes = memory.bytes(at: piece * point.messageBytes, point.messageBytes)
        var isRight = true
        if point.verifies { isRight = Digests.piece(bytes) == digests[piece] }
        if point.validates { isRight = isRight && expected.matches(bytes, from: piece * point.messageBytes) }
        let commands = state.withLock { state -> [RailCommand] in
            if !isRight { fail(.wrongBytes, "piece \(piece) arrived with wrong bytes", &state) }
            done(slot, nil, &state)
            defer { state.commands.removeAll(keepingCapacity: true) }
            return state.commands
        }
        submit(commands)
    }

    private func fail(_ code: BenchError.Code, _ why: String, _ state: inout State) {
        if state.failure == nil { state.failure = BenchError(code, why) }
        changed.signal()
    }

    // MARK: Any thread

    private func submit(_ commands: [RailCommand]) {
        guard !commands.isEmpty, let rail = rail.withLock({ $0 }) else { return }
        _ = rail.submit(commands)
    }

    private func waitUntil(
        limitMs: Int, _ what: String, _ condition: (borrowing State) -> Bool
    ) throws(BenchError) {
        let deadlineNs = MonotonicClock.nowNs() + UInt64(limitMs) * 1_000_000
        while true {
            changed.clear()
            let (isDone, failure) = state.withLock { (condition($0), $0.failure) }
            if let failure { throw failure }
            if isDone { return }
            let nowNs = MonotonicClock.nowNs()
            guard nowNs < deadlineNs else { throw BenchError(.timedOut, "\(what) within \(limitMs / 1000) s") }
            _ = changed.wait(timeoutMs: Int32(clamping: (deadlineNs - nowNs) / 1_000_000 + 1))
        }
    }
}
