import ControlAPI
import RPC
import Registry
import Synchronization
import System

/// The registry with the streams and the database around it: one lock, under which events are decided, and their rows
/// and messages queued in order.
final class ManagerCore: Sendable {
    /// One member's stream.
    struct Stream: Sendable {
        let session: MemberSession
        let outbox: StreamOutbox<Wire.ManagerMessage>
    }

    private struct State {
        var registry: Registry
        var outboxes: [MemberSession: StreamOutbox<Wire.ManagerMessage>] = [:]
        var failures: [MemberSession: RPCError] = [:]
        var nextSession: UInt64 = 1
    }
    private let state: Mutex<State>
    private let database: DatabaseQueue
    private let outboxMax: Int

    init(_ registry: Registry, database: DatabaseQueue, outboxMax: Int) {
        state = Mutex(State(registry: registry))
        self.database = database
        self.outboxMax = outboxMax
    }

    /// Begins a member's stream; it may be over at once, refused.
    func attach(_ member: Member) -> Stream {
        let stream = state.withLock { state in
            let stream = Stream(
                session: MemberSession(state.nextSession), outbox: StreamOutbox(limit: outboxMax))
            state.nextSession += 1
            state.outboxes[stream.session] = stream.outbox
            return stream
        }
        handle(.registered(stream.session, member))
        return stream
    }

    /// Ends a member's stream; says why when it was us who ended it.
    func detach(_ stream: Stream) -> RPCError? {
        let failure = state.withLock { state in
            state.outboxes[stream.session] = nil
            return state.failures.removeValue(forKey: stream.session)
        }
        stream.outbox.close()
        handle(.ended(stream.session))
        return failure
    }

    /// Takes an event; answers with why it was refused, if it was.
    @discardableResult
    func handle(_ event: RegistryEvent) -> RegistryFailure? {
        let (ended, refusal) = state.withLock { state in
            let actions = state.registry.handle(
                event, nowNs: MonotonicClock.nowNs(), unixMs: WallClock.nowMilliseconds())
            return perform(actions, &state)
        }
        for outbox in ended { outbox.close() }
        return refusal
    }

    private func perform(
        _ actions: [RegistryAction], _ state: inout State
    ) -> ([StreamOutbox<Wire.ManagerMessage>], RegistryFailure?) {
        var rows: [RegistryAction] = []
        var closed: [MemberSession: RPCError] = [:]
        var refusal: RegistryFailure?
        for action in actions {
            switch action {
            case .saveCluster, .saveMember, .removeMember: rows.append(action)
            case .configure(let session, let configuration):
                send(session, .configuration(configuration.wire), state, &closed)
            case .renew(let session, let leaseMs):
                send(session, .heartbeat(Wire.HeartbeatAnswer(leaseMs: leaseMs)), state, &closed)
            case .close(let session, let failure): closed[session] = failure.rpc
            case .refuse(let failure): refusal = failure
            }
        }
        if !rows.isEmpty, !database.post(rows) {
            refusal = RegistryFailure(
                .tooMany, "the manager's database does not take changes; see its log, free its disk")
        }
        let ended = closed.keys.sorted().compactMap { session in
            state.failures[session] = closed[session]
            return state.outboxes.removeValue(forKey: session)
        }
        return (ended, refusal)
    }

    private func send(
        _ session: MemberSession, _ message: Wire.ManagerMessage, _ state: State,
        _ closed: inout [MemberSession: RPCError]
    ) {
        guard let outbox = state.outboxes[session], !outbox.put(CollectionOfOne(message)) else { return }
        closed[session] = RPCError(.aborted, "the member does not read what the manager says; attach anew")
    }

    /// Lets leases end, and tries again what could not be saved, until the task is cancelled.
    func tick() async {
        while !Task.isCancelled {
            try? await Task.sleep(for: .milliseconds(250))
            let isDue = state.withLock { ($0.registry.wakeAtNs ?? .max) <= MonotonicClock.nowNs() }
            if isDue { handle(.tick) }
            if database.failure != nil { _ = database.post([]) }
        }
    }

    /// Makes a cluster, or changes its settings; durable when it returns.
    func put(_ name: String, _ settings: ClusterSettings) async throws -> Cluster {
        if let failure = handle(.putCluster(name: name, settings)) { throw failure.rpc }
        do throws(DatabaseError) { try await database.flush() } catch {
            throw RPCError(.unavailable, error.description)
        }
        guard let cluster = clusters.first(where: { $0.name == name }) else {
            throw RPCError(.internalError, "cluster \(name) is not there after it was put")
        }
        return cluster
    }

    /// Changes named settings of a cluster, which must make sense; durable when it returns.
    func change(_ cluster: String, _ changes: [String: String?]) async throws {
        if let failure = handle(.changeSettings(cluster: cluster, changes)) { throw failure.rpc }
        do throws(DatabaseError) { try await database.flush() } catch {
            throw RPCError(.unavailable, error.description)
        }
    }

    /// All clusters, by name.
    var clusters: [Cluster] { state.withLock { $0.registry.clusters } }
    /// How many members have a stream.
    var sessionCount: Int { state.withLock { $0.registry.sessionCount } }
    /// A cluster's members, by role and name.
    func members(cluster: String, liveOnly: Bool) -> [Member] {
        state.withLock { $0.registry.members(cluster: cluster, liveOnly: liveOnly) }
    }
}
