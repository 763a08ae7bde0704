import Artifacts
import Engine
import Memory
import Origins
import Swarm
import Synchronization

/// Reads origins into the engine's slots: the bridge from `Origins` to the engine's `OriginPort`.
final class OriginReader: OriginPort {
    private let origins: Origins
    private let arena: Arena
    private let limiter: OriginLimiter
    private let post: @Sendable (EngineEvent) -> Void
    private let fills = Mutex<[LeaseID: OriginFill]>([:])
    private let locations = Mutex<[TaskID: OriginLocation]>([:])

    init(
        origins: Origins, arena: Arena, limiter: OriginLimiter, post: @escaping @Sendable (EngineEvent) -> Void
    ) {
        self.limiter = limiter
        self.origins = origins
        self.arena = arena
        self.post = post
    }

    func fetch(_ fetch: OriginFetch) {
        let layout = fetch.manifest.files[Int(fetch.file.value)].layout
        let fill = OriginFill(
            lease: fetch.lease, layout: layout, arena: arena, limiter: limiter, post: post,
            over: { [self] in _ = fills.withLock { $0.removeValue(forKey: fetch.lease) } })
        fills.withLock { $0[fetch.lease] = fill }
        Task { await begin(fetch, fill, layout) }
    }

    private func begin(_ fetch: OriginFetch, _ fill: OriginFill, _ layout: PieceLayout) async {
        guard await limiter.enter(isTransfer: true, isGivenUp: { fill.isGivenUp }) else {
            fill.ended(.failure(OriginError(.cancelled, "reading was given up before its turn")))
            return
        }
        fill.entered()
        let location: OriginLocation
        do throws(OriginError) {
            location = try await self.location(fetch)
        } catch {
            fill.ended(.failure(error))
            return
        }
        guard !fetch.pieces.isEmpty else {
            fill.ended(.success(()))
            return
        }
        let range: ByteRange
        if fetch.whole {
            range = ByteRange(offset: 0, length: layout.fileBytes)
        } else {
            let first = layout.range(of: PieceIndex(fetch.pieces.lowerBound))
            let last = layout.range(of: PieceIndex(fetch.pieces.upperBound - 1))
            range = ByteRange(offset: first.offset, length: last.end - first.offset)
        }
        fill.begin(
            origins.fetch(
                fetch.whole ? location.withoutRanges : location, range: range, pieceBytes: layout.pieceBytes,
                sink: fill))
    }

    /// Asked once a file and kept: a lease follows a lease.
    private func location(_ fetch: OriginFetch) async throws(OriginError) -> OriginLocation {
        let file = fetch.manifest.files[Int(fetch.file.value)]
        if let known = locations.withLock({ $0[file.task] }) { return known }
        let found = try await origins.location(of: file, in: fetch.manifest)
        locations.withLock { known in
            if known.count >= Limits.manifestFilesMax { known.removeAll() }
            known[file.task] = found
        }
        return found
    }

    func stop(_ lease: LeaseID) { fills.withLock { $0[lease] }?.cancel() }

    func slotsFreed() {
        for fill in fills.withLock({ Array($0.values) }) { fill.resume() }
    }
}

/// One fetch: takes a slot for each piece and hands it to the engine when it is full.
///
/// Called on the origin's thread (`OriginSink`) and on the engine's (`begin`, `resume`, `cancel`).
private final class OriginFill: OriginSink {
    private struct State {
        var handle: OriginFetchHandle?
        /// The slot being filled, and its piece's offset.
        var filling: (offset: UInt64, slot: Slot)?
        var isPaused = false
        var isCancelled = false
        /// It counts as a transfer.
        var hasEntered = false
    }
    private let lease: LeaseID
    private let layout: PieceLayout
    private let arena: Arena
    private let limiter: OriginLimiter
    private let post: @Sendable (EngineEvent) -> Void
    private let over: @Sendable () -> Void
    private let state = Mutex(State())

    init(
        lease: LeaseID, layout: PieceLayout, arena: Arena, limiter: OriginLimiter,
        post: @escaping @Sendable (EngineEvent) -> Void, over: @escaping @Sendable () -> Void
    ) {
        self.lease = lease
        self.layout = layout
        self.arena = arena
        self.limiter = limiter
        self.post = post
        self.over = over
    }

    /// Nobody wants it any more.
    var isGivenUp: Bool { state.withLock { $0.isCancelled } }

    /// Its turn has come.
    func entered() { state.withLock { $0.hasEntered = true } }

    /// The handle is known only after the fetch has begun: what was asked meanwhile is done now.
    func begin(_ handle: OriginFetchHandle) {
        let (isPaused, isCancelled) = state.withLock { state in
            state.handle = handle
            defer { state.isPaused = false }
            return (state.isPaused, state.isCancelled)
        }
        if isCancelled { handle.cancel() } else if isPaused { handle.resume() }
    }

    func resume() {
        let handle = state.withLock { state -> OriginFetchHandle? in
            guard state.isPaused, let handle = state.handle else { return nil }
            state.isPaused = false
            return handle
        }
        handle?.resume()
    }

    func cancel() {
        let handle = state.withLock { state in
            state.isCancelled = true
            return state.handle
        }
        handle?.cancel()
    }

    func slot(for pieceOffset: UInt64, lengthBytes: Int) -> UnsafeMutableRawBufferPointer? {
        let bytes = state.withLock { state -> UnsafeMutableRawBufferPointer? in
            if let filling = state.filling, filling.offset == pieceOffset {
                return UnsafeMutableRawBufferPointer(rebasing: arena.bytes(of: filling.slot)[..<lengthBytes])
            }
            // Paused before the slot is asked for: one freed in between then resumes us once too often, never too
            // seldom.
            state.isPaused = true
            guard let slot = arena.take(lengthBytes: lengthBytes) else { return nil }
            state.isPaused = false
            state.filling = (pieceOffset, slot)
            return UnsafeMutableRawBufferPointer(rebasing: arena.bytes(of: slot)[..<lengthBytes])
        }
        if bytes == nil { post(.slotsShort) }
        return bytes
    }

    func allowance(bytes wanted: Int) -> Int {
        // Paused before bytes are asked for, as with slots.
        state.withLock { $0.isPaused = true }
        let allowed = limiter.bytes(upTo: wanted, of: ObjectIdentifier(self), more: { [weak self] in self?.resume() })
        if allowed > 0 { state.withLock { $0.isPaused = false } }
        return allowed
    }

    func filled(pieceOffset: UInt64) {
        let slot = state.withLock { state -> Slot? in
            defer { state.filling = nil }
            return state.filling?.slot
        }
        guard let slot else { return }
        post(.originPiece(lease, PieceIndex(pieceOffset / UInt64(layout.pieceBytes)), slot))
    }

    func ended(_ result: Result<Void, OriginError>) {
        let (unfilled, hasEntered) = state.withLock { state -> (Slot?, Bool) in
            defer { (state.filling, state.hasEntered) = (nil, false) }
            return (state.filling?.slot, state.hasEntered)
        }
        if let unfilled { arena.give(back: unfilled) }
        if hasEntered { limiter.leave() }
        over()
        switch result {
        case .success: post(.originEnded(lease, nil))
        case .failure(let error): post(.originEnded(lease, OriginFailure(error)))
        }
    }
}

extension OriginFailure {
    /// What the scheduler and the user are told of an origin's error.
    init(_ error: OriginError) {
        let retryable =
            switch error.code {
            // Without ranges it goes on too: the scheduler leases the whole file next time.
            case .truncated, .rateLimited, .unreachable, .cancelled, .rangesUnsupported: true
            default: false
            }
        self.init(
            code: "\(error.code)", description: error.description, retryable: retryable,
            needsWhole: error.code == .rangesUnsupported)
    }
}

extension OriginLocation {
    /// The same file, to be read as one stream.
    var withoutRanges: OriginLocation {
        OriginLocation(kind: kind, url: url, sizeBytes: sizeBytes, validator: validator, acceptsRanges: false)
    }
}
