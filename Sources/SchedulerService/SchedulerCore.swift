import ControlAPI
import RPC
import Scheduling
import Synchronization
import System

/// The machine with the streams around it: one lock, under which events are decided and their messages queued in order.
///
/// Callers never wait for a host: messages go into the host's outbox, and a host that lets its outbox fill up is ended.
final class SchedulerCore: Sendable {
    /// One host's stream.
    struct Stream: Sendable {
        let session: SessionID
        let outbox: StreamOutbox<SchedulerMessage>
    }

    private struct State {
        var scheduler: Scheduler
        var outboxes: [SessionID: StreamOutbox<SchedulerMessage>] = [:]
        /// Why streams were ended by us, until their handlers ask.
        var reasons: [SessionID: String] = [:]
        var nextSession: UInt64 = 1
        /// The ticking task's nap, and when it ends.
        var nap: Task<Void, Never>?
        var napEndsNs = UInt64.max
        var streamsOverflown: UInt64 = 0
    }

    private let state: Mutex<State>
    private let outboxMax: Int

    init(settings: SchedulingSettings, outboxMax: Int) {
        let startedMs = WallClock.nowMilliseconds()
        let scheduler = Scheduler(
            settings: settings, seed: startedMs, firstLease: startedMs << 20, nowNs: MonotonicClock.nowNs())
        self.outboxMax = outboxMax
        state = Mutex(State(scheduler: scheduler))
    }

    /// Begins a host's stream.
    func attach(_ info: HostInfo, leases: [HeldLease]) -> Stream {
        let stream = state.withLock { state in
            let stream = Stream(session: SessionID(state.nextSession), outbox: StreamOutbox(limit: outboxMax))
            state.nextSession += 1
            state.outboxes[stream.session] = stream.outbox
            return stream
        }
        handle(.attached(stream.session, info, leases: leases))
        return stream
    }

    /// Ends a host's stream; says why when it was us who ended it.
    func detach(_ stream: Stream) -> String? {
        let reason = state.withLock { state in
            state.outboxes[stream.session] = nil
            return state.reasons.removeValue(forKey: stream.session)
        }
        stream.outbox.close()
        handle(.detached(stream.session))
        return reason
    }

    /// Takes an event: decides, and queues what is to be said.
    func handle(_ event: SchedulerEvent) {
        let (ended, nap) = state.withLock { state in
            let actions = state.scheduler.handle(event, nowNs: MonotonicClock.nowNs())
            let ended = perform(actions, &state)
            // The ticking task must not sleep past what is due now.
            let isDueSooner = (state.scheduler.wakeAtNs ?? .max) < state.napEndsNs
            return (ended, isDueSooner ? state.nap : nil)
        }
        for outbox in ended { outbox.close() }
        nap?.cancel()
    }

    /// Queues messages, one batch a stream; answers with the streams that are over.
    private func perform(
        _ actions: [SchedulerAction], _ state: inout State
    ) -> [StreamOutbox<SchedulerMessage>] {
        var batches: [SessionID: [SchedulerMessage]] = [:]
        var order: [SessionID] = []
        var closed: [SessionID: String] = [:]
        for action in actions {
            switch action {
            case .send(let session, let message):
                if batches[session] == nil { order.append(session) }
                batches[session, default: []].append(message)
            case .close(let session, let reason): closed[session] = reason
            }
        }
        for session in order {
            guard let outbox = state.outboxes[session], !outbox.put(batches[session]!) else { continue }
            state.streamsOverflown += 1
            closed[session] = "the host does not read what the scheduler says; attach anew"
        }
        return closed.keys.sorted().compactMap { session in
            guard let outbox = state.outboxes.removeValue(forKey: session) else { return nil }
            state.reasons[session] = closed[session]
            return outbox
        }
    }

    /// Wakes the machine whenever it asks for it, until the task is cancelled.
    func tick() async {
        while !Task.isCancelled {
            let nap = state.withLock { state in
                let nowNs = MonotonicClock.nowNs()
                let wakeNs = state.scheduler.wakeAtNs ?? .max
                // At least once a second, whatever happens to timers.
                let sleepNs = wakeNs <= nowNs ? 0 : min(wakeNs - nowNs, 1_000_000_000)
                let nap = Task<Void, Never> { try? await Task.sleep(for: .nanoseconds(sleepNs)) }
                state.nap = nap
                state.napEndsNs = nowNs + sleepNs
                return nap
            }
            await withTaskCancellationHandler {
                await nap.value
            } onCancel: {
                nap.cancel()
            }
            handle(.tick)
        }
    }

    /// How the scheduler is doing.
    var snapshot: SchedulerSnapshot { state.withLock { $0.scheduler.snapshot } }
    /// Streams ended because their hosts did not read.
    var streamsOverflown: UInt64 { state.withLock { $0.streamsOverflown } }
}
