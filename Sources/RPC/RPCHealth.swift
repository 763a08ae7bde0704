import Synchronization

/// The states of a server's services, as the standard health service tells them to clients and load balancers.
///
/// The empty name stands for the server as a whole. Thread-safe. Every server has one: `RPCServer.health`.
public final class RPCHealth: Sendable, HealthV1.HealthHandler {
    /// Can it answer?
    public enum State: Sendable, Hashable {
        /// Yes.
        case serving
        /// Not now.
        case notServing
    }

    private struct Watched {
        var states: [String: State]
        var isShutDown = false
        /// Done at the next change.
        var changed = Completion<Void>()
    }

    private let watched: Mutex<Watched>

    /// The server and these services, all serving.
    public init(services: [String]) {
        var states: [String: State] = ["": .serving]
        for service in services { states[service] = .serving }
        watched = Mutex(Watched(states: states))
    }

    /// Sets a service's state; the empty name is the server's as a whole. Ignored after shutdown.
    public func set(_ service: String, _ state: State) {
        change { watched in
            guard !watched.isShutDown, watched.states[service] != state else { return false }
            watched.states[service] = state
            return true
        }
    }

    /// The state of a service; nil for one that is not known.
    public func state(_ service: String) -> State? { watched.withLock { $0.states[service] } }

    /// Says notServing for everything, for good, and ends those who watch.
    func shutdown() {
        change { watched in
            guard !watched.isShutDown else { return false }
            watched.isShutDown = true
            for service in watched.states.keys { watched.states[service] = .notServing }
            return true
        }
    }

    private func change(_ body: (inout Watched) -> Bool) {
        let changed: Completion<Void>? = watched.withLock { watched in
            guard body(&watched) else { return nil }
            defer { watched.changed = Completion() }
            return watched.changed
        }
        changed?.complete(())
    }

    /// Answers `Check`.
    public func check(
        _ request: HealthV1.HealthCheckRequest, context: RPCServerContext
    ) async throws -> HealthV1.HealthCheckResponse {
        guard let state = state(request.service) else {
            throw RPCError(.notFound, "this server has no service '\(request.service)'")
        }
        return HealthV1.HealthCheckResponse(status: state == .serving ? .serving : .notServing)
    }

    /// Answers `Watch`.
    public func watch(
        _ request: HealthV1.HealthCheckRequest, responses: RPCOutgoing<HealthV1.HealthCheckResponse>,
        context: RPCServerContext
    ) async throws {
        var told: HealthV1.HealthCheckResponse.ServingStatus?
        while true {
            let (state, isShutDown, changed) = watched.withLock {
                ($0.states[request.service], $0.isShutDown, $0.changed)
            }
            let status: HealthV1.HealthCheckResponse.ServingStatus =
                switch state {
                case .serving: .serving
                case .notServing: .notServing
                case nil: .serviceUnknown
                }
            if status != told { try await responses.send(HealthV1.HealthCheckResponse(status: status)) }
            told = status
            guard !isShutDown else { throw RPCError(.unavailable, "the server is shutting down") }
            guard await changed.wait() != nil else { throw CancellationError() }
        }
    }
}
