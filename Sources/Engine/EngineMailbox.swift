import Rails
import Synchronization
import System
import Transport

/// The engine thread's mailbox: any thread posts, one thread takes all there is at once.
///
/// Most of what comes is bounded by what is out there: slots, links, orders of the scheduler. What peers say is not:
/// beyond a bound it is dropped, and the links that said it are reported instead, to be closed.
public final class EngineMailbox: Sendable {
    private struct State {
        var events: [EngineEvent] = []
        /// About the memory that peers' messages take.
        var messageBytes = 0
        /// Links reported since the engine last took events.
        var flooding = FloodingLinks()
        var isClosed = false
    }
    private let messageBytesMax: Int
    private let state = Mutex(State())
    private let bell: EventCounter

    /// An empty mailbox.
    public init(messageBytesMax: Int = 64 << 20) throws(Errno) {
        self.messageBytesMax = messageBytesMax
        bell = try EventCounter()
    }

    /// Puts an event in and wakes the engine; dropped when the mailbox is closed.
    public var post: @Sendable (EngineEvent) -> Void { { [self] event in _ = offer(event) } }

    /// Puts an event in; false when the mailbox is closed.
    func offer(_ event: EngineEvent) -> Bool {
        let (taken, ring) = state.withLock { state in
            guard !state.isClosed else { return (false, false) }
            let wasEmpty = state.events.isEmpty
            add(event, to: &state)
            return (true, wasEmpty && !state.events.isEmpty)
        }
        if ring { bell.signal() }
        return taken
    }

    private func add(_ event: EngineEvent, to state: inout State) {
        guard case .rail(let rail, let batch) = event else {
            state.events.append(event)
            return
        }
        let bytes = batch.reduce(0) { $0 + $1.messageBytes }
        guard state.messageBytes + bytes > messageBytesMax, bytes > 0 else {
            state.messageBytes += bytes
            state.events.append(event)
            return
        }
        var links: Set<LinkID> = []
        var rest: [RailEvent] = []
        for event in batch {
            if case .message(let link, _) = event { links.insert(link) } else { rest.append(event) }
        }
        if !rest.isEmpty { state.events.append(.rail(rail, rest)) }
        // Said once until the engine has caught up: the report must not pile up either.
        guard state.flooding.insert(links, of: rail) else { return }
        state.events.append(.flooded(rail, Array(links)))
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
            state.messageBytes = 0
            state.flooding = FloodingLinks()
            return (events, state.isClosed)
        }
    }
}

/// Links that said too much, by rail.
private struct FloodingLinks {
    private var links: [RailNumber: Set<LinkID>] = [:]

    /// Whether one of them was not known.
    mutating func insert(_ new: Set<LinkID>, of rail: RailNumber) -> Bool {
        let known = links[rail] ?? []
        links[rail] = known.union(new)
        return !new.isSubset(of: known)
    }
}

extension RailEvent {
    /// About the memory a peer's message takes; 0 for everything else.
    fileprivate var messageBytes: Int {
        guard case .message(_, let message) = self else { return 0 }
        switch message {
        case .map(_, _, let bits, _): return 128 + bits.count
        case .have(_, let pieces): return 128 + 4 * pieces.count
        default: return 128
        }
    }
}
