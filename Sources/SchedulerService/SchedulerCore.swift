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
        var admission: Admission
        /// Streams whose inventories are on their way.
        var reporting: Set<SessionID> = []
    }

    private let state: Mutex<State>
    private let outboxMax: Int

    /// The settings of the process's configuration.
    private let base: SchedulingSettings

    init(name: String = "", settings: SchedulingSettings, outboxMax: Int) {
        let startedMs = WallClock.nowMilliseconds()
        let scheduler = Scheduler(
            settings: settings, seed: startedMs, firstLease: SchedulerCore.firstLease(startedMs: startedMs, name: name),
            nowNs: MonotonicClock.nowNs())
        self.outboxMax = outboxMax
        base = settings
        state = Mutex(State(scheduler: scheduler, admission: Admission(seed: startedMs)))
    }

    /// Numbers leases of this life: by the time of its start, so that none of an earlier one comes again, and within
    /// it by the scheduler's name, so that two schedulers started together do not count alike.
    ///
    /// Should two schedulers still meet, or a clock go back, a host returns a lease whose number it knows from another
    /// scheduler, and a lease that an attaching host claims is never given again: numbers only tell leases apart.
    private static func firstLease(startedMs: UInt64, name: String) -> UInt64 {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in name.utf8 { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
        return startedMs << 20 | (hash >> 20) & 0xF_FFFF
    }

    /// What became of a host that wants to attach.
    enum Attachment {
        case admitted(Stream)
        /// It is to come back then.
        case later(retryAfterMs: UInt64)
    }

    /// Begins a host's stream, or says when the host should try again.
    func attach(_ info: HostInfo, leases: [HeldLease]) -> Attachment {
        let attachment = state.withLock { state -> Attachment in
            let decision = state.admission.ask(
                isPreferred: info.role == .seed || !leases.isEmpty, reporting: state.reporting.count,
                settings: state.scheduler.settings, nowNs: MonotonicClock.nowNs())
            if case .later(let retryAfterMs) = decision { return .later(retryAfterMs: retryAfterMs) }
            let stream = Stream(session: SessionID(state.nextSession), outbox: StreamOutbox(limit: outboxMax))
            state.nextSession += 1
            state.outboxes[stream.session] = stream.outbox
            state.reporting.insert(stream.session)
            return .admitted(stream)
        }
        if case .admitted(let stream) = attachment { handle(.attached(stream.session, info, leases: leases)) }
        return attachment
    }

    /// The cluster's settings are the process's own with these changes; answers with what could not be carried out.
    func change(_ named: [(name: String, value: String)]) -> [String] {
        var settings = base
        var faults: [String] = []
        for (name, value) in named {
            do throws(SchedulingKnob.Refusal) {
                try SchedulingKnob.named(name).set(value, in: &settings)
            } catch {
                faults.append(error.description)
            }
        }
        handle(.settings(settings))
        return faults
    }

    /// Ends a host's stream; says why when it was us who ended it.
    func detach(_ stream: Stream) -> String? {
        let reason = state.withLock { state in
            state.outboxes[stream.session] = nil
            state.reporting.remove(stream.session)
            return state.reasons.removeValue(forKey: stream.session)
        }
        stream.outbox.close()
        handle(.detached(stream.session))
        return reason
    }

    /// Takes an event: decides, and queues what is to be said.
    func handle(_ event: SchedulerEvent) {
        let (ended, nap) = state.withLock { state in
            if case .inventory(let session, _, _, true) = event { state.reporting.remove(session) }
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
    /// The settings in force.
    var settings: SchedulingSettings { state.withLock { $0.scheduler.settings } }
    /// Who was admitted and who was not, and how many inventories are on their way.
    var admission: (counts: Admission.Counts, reporting: Int) {
        state.withLock { ($0.admission.counts, $0.reporting.count) }
    }
    /// Streams ended because their hosts did not read.
    var streamsOverflown: UInt64 { state.withLock { $0.streamsOverflown } }
}
