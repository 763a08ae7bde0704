import Rails
import Swarm
import Synchronization
import System
import Transport

/// The engine thread's mailbox: any thread posts, one thread takes all there is at once.
///
/// Most of what comes is bounded by what is out there: slots, links, orders of the scheduler. What peers say is not:
/// beyond a bound it is dropped, and the links that said it are reported instead, to be closed. The storage of events
/// goes back and forth between the two sides: a rail's piece costs its thread no allocation here.
public final class EngineMailbox: Sendable {
    private struct State {
        var events: [EngineEvent] = []
        /// About the memory that peers' messages take.
        var messageBytes = 0
        /// Links reported since the engine last took events.
        var flooding: Set<FloodingLink> = []
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

    /// What a rail is started with: puts its events in, a batch under one lock and with one wake-up.
    public func sink(of rail: RailNumber) -> RailHandle.Sink {
        { [self] batch in
            let ring = state.withLock { state in
                guard !state.isClosed else { return false }
                let wasEmpty = state.events.isEmpty
                for event in batch { add(.rail(rail, event), to: &state) }
                return wasEmpty && !state.events.isEmpty
            }
            if ring { bell.signal() }
        }
    }

    private func add(_ event: EngineEvent, to state: inout State) {
        guard case .rail(let rail, .message(let link, let message)) = event else { return state.events.append(event) }
        let bytes = message.memoryBytes
        if state.messageBytes + bytes <= messageBytesMax {
            state.messageBytes += bytes
            state.events.append(event)
        } else if state.flooding.insert(FloodingLink(rail: rail, link: link)).inserted {
            // Said once until the engine has caught up: the report must not pile up either.
            state.events.append(.flooded(rail, link))
        }
    }

    /// Takes no more events; `next` returns nil once what is there has been taken.
    func close() {
        state.withLock { $0.isClosed = true }
        bell.signal()
    }

    /// Puts everything there is in place of what `events` holds, after waiting until there is something or the time has
    /// come; false when closed and empty.
    func next(untilNs: UInt64?, into events: inout [EngineEvent]) -> Bool {
        events.removeAll(keepingCapacity: true)
        let isClosed = take(into: &events)
        if !events.isEmpty { return true }
        if isClosed { return false }
        let now = MonotonicClock.nowNs()
        if let untilNs, untilNs <= now { return true }
        let limitNs = min((untilNs ?? .max) - now, 1_000_000_000)
        _ = bell.wait(timeoutMs: Int32((limitNs + 999_999) / 1_000_000))
        _ = bell.clear()
        _ = take(into: &events)
        return true
    }

    /// Swaps an empty array for what waits; whether the mailbox is closed.
    private func take(into events: inout [EngineEvent]) -> Bool {
        state.withLock { state in
            swap(&events, &state.events)
            state.messageBytes = 0
            state.flooding.removeAll(keepingCapacity: true)
            return state.isClosed
        }
    }
}

/// A link that said too much.
private struct FloodingLink: Hashable {
    let rail: RailNumber
    let link: LinkID
}

extension PeerMessage {
    /// About the memory it takes.
    fileprivate var memoryBytes: Int {
        switch self {
        case .map(_, _, let bits, _): 128 + bits.count
        case .have(_, let pieces): 128 + 4 * pieces.count
        default: 128
        }
    }
}
