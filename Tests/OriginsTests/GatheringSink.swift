import Artifacts
import Origins
import Synchronization

/// A sink that gives slots up to a limit, keeps what is filled, and can be waited for.
///
/// Safety: `state` is locked; a slot's memory is written by the origin's thread only, between `slot` and `filled`.
final class GatheringSink: OriginSink, @unchecked Sendable {
    private struct State {
        var open: [UInt64: UnsafeMutableRawBufferPointer] = [:]
        var pieces: [UInt64: [UInt8]] = [:]
        var slotsLeft: Int
        var refusals = 0
        var ends: [Result<Void, OriginError>] = []
        var waiters: [CheckedContinuation<Result<Void, OriginError>, Never>] = []
        var refusalWaiters: [CheckedContinuation<Void, Never>] = []
    }
    private let state: Mutex<State>

    init(slots: Int = .max) { state = Mutex(State(slotsLeft: slots)) }

    deinit { state.withLock { $0.open.values.forEach { $0.deallocate() } } }

    func slot(for pieceOffset: UInt64, lengthBytes: Int) -> UnsafeMutableRawBufferPointer? {
        let (slot, waiters) = state.withLock { state -> (UInt?, [CheckedContinuation<Void, Never>]) in
            guard state.slotsLeft > 0 else {
                state.refusals += 1
                let waiters = state.refusalWaiters
                state.refusalWaiters = []
                return (nil, waiters)
            }
            state.slotsLeft -= 1
            let slot = UnsafeMutableRawBufferPointer.allocate(byteCount: lengthBytes, alignment: 64)
            state.open[pieceOffset] = slot
            return (UInt(bitPattern: slot.baseAddress), [])
        }
        for waiter in waiters { waiter.resume() }
        return slot.map {
            UnsafeMutableRawBufferPointer(start: UnsafeMutableRawPointer(bitPattern: $0), count: lengthBytes)
        }
    }

    func filled(pieceOffset: UInt64) {
        state.withLock { state in
            guard let slot = state.open.removeValue(forKey: pieceOffset) else {
                fatalError("a piece that has no slot was filled")
            }
            state.pieces[pieceOffset] = Array(slot)
            slot.deallocate()
        }
    }

    func ended(_ result: Result<Void, OriginError>) {
        let (waiters, refusalWaiters) = state.withLock { state in
            state.ends.append(result)
            let waiters = (state.waiters, state.refusalWaiters)
            (state.waiters, state.refusalWaiters) = ([], [])
            return waiters
        }
        for waiter in waiters { waiter.resume(returning: result) }
        for waiter in refusalWaiters { waiter.resume() }
    }

    /// How often the end was told.
    var endCount: Int { state.withLock { $0.ends.count } }

    /// Lets so many more pieces in; the fetch must be resumed too.
    func allow(_ slots: Int) { state.withLock { $0.slotsLeft += slots } }

    /// The pieces that were filled, joined in order.
    var bytes: [UInt8] {
        state.withLock { state in state.pieces.sorted { $0.key < $1.key }.flatMap(\.value) }
    }
    var filledCount: Int { state.withLock { $0.pieces.count } }

    /// The end, once it came.
    func end() async -> Result<Void, OriginError> {
        await withCheckedContinuation { continuation in
            let ended = state.withLock { state -> Result<Void, OriginError>? in
                if let end = state.ends.first { return end }
                state.waiters.append(continuation)
                return nil
            }
            if let ended { continuation.resume(returning: ended) }
        }
    }

    /// Returns once a slot was refused, or the fetch has ended without.
    func refusal() async {
        await withCheckedContinuation { continuation in
            let already = state.withLock { state in
                if state.refusals > 0 || !state.ends.isEmpty { return true }
                state.refusalWaiters.append(continuation)
                return false
            }
            if already { continuation.resume() }
        }
    }
}

extension Result where Success == Void, Failure == OriginError {
    /// The failure's code, nil for success.
    var code: OriginError.Code? {
        if case .failure(let error) = self { error.code } else { nil }
    }
}

extension Origin {
    /// Reads a whole file, or a range of it, in pieces of 64 KiB.
    func read(
        _ location: OriginLocation, _ range: ByteRange? = nil, into sink: GatheringSink = GatheringSink()
    ) async -> (
        end: Result<Void, OriginError>, bytes: [UInt8]
    ) {
        let range = range ?? ByteRange(offset: 0, length: location.sizeBytes)
        let handle = fetch(location, range: range, pieceBytes: 65536, sink: sink)
        let end = await sink.end()
        withExtendedLifetime(handle) {}
        return (end, sink.bytes)
    }
}
