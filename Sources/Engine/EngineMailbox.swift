import Synchronization
import System

/// The engine thread's mailbox: any thread posts, one thread takes all there is at once.
///
/// Its length is bounded by what is out there: slots, links and orders of the scheduler, each bounded by itself.
public final class EngineMailbox: Sendable {
    private struct State {
        var events: [EngineEvent] = []
        var isClosed = false
    }
    private let state = Mutex(State())
    private let bell: EventCounter

    /// An empty mailbox.
    public init() throws(Errno) { bell = try EventCounter() }

    /// Puts an event in and wakes the engine; dropped when the mailbox is closed.
    public var post: @Sendable (EngineEvent) -> Void { { [self] event in _ = offer(event) } }

    /// Puts an event in; false when the mailbox is closed.
    func offer(_ event: EngineEvent) -> Bool {
        let (taken, ring) = state.withLock { state in
            guard !state.isClosed else { return (false, false) }
            state.events.append(event)
            return (true, state.events.count == 1)
        }
        if ring { bell.signal() }
        return taken
    }

    /// Takes no more events; `next` returns nil once what is there has been taken.
    func close() {
        state.withLock { $0.isClosed = true }
        bell.signal()
    }

    /// Everything there is, after waiting until there is something or the time has come; nil when closed and empty.
    func next(untilNs: UInt64?) -> [EngineEvent]? {
        let (events, isClosed) = take()
        if !events.isEmpty { return events }
        if isClosed { return nil }
        let now = MonotonicClock.nowNs()
        if let untilNs, untilNs <= now { return [] }
        let limitNs = min((untilNs ?? .max) - now, 1_000_000_000)
        _ = bell.wait(timeoutMs: Int32((limitNs + 999_999) / 1_000_000))
        _ = bell.clear()
        return take().0
    }

    private func take() -> ([EngineEvent], Bool) {
        state.withLock { state in
            let events = state.events
            state.events = []
            return (events, state.isClosed)
        }
    }
}
