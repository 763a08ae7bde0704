import ControlAPI
import RPC
import Synchronization

/// What references mean: asked of the scheduler that a reference belongs to.
extension SchedulerFleet {
    /// A question that waits for its answer; asked again of the next scheduler when this one is lost.
    struct PendingResolve: Sendable {
        let reference: String
        let refresh: Bool
        let continuation: CheckedContinuation<Wire.ResolveReply, any Error>
    }

    /// Asks what a reference means; waits over a lost scheduler, up to the time limit.
    func resolve(_ reference: String, refresh: Bool, limit: Duration) async throws -> Wire.ResolveReply {
        let request = state.withLock { state in
            defer { state.nextRequest += 1 }
            return state.nextRequest
        }
        let timer = Task {
            try await Task.sleep(for: limit)
            let pending = state.withLock { $0.pending.removeValue(forKey: request) }
            let sentence =
                attachedTo == nil
                ? "no scheduler answers; is one running at the configured address?"
                : "the scheduler did not find out what \(reference) means within \(limit.components.seconds) s"
            pending?.continuation.resume(throwing: RPCError(.deadlineExceeded, sentence))
        }
        defer { timer.cancel() }
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let refusal = state.withLock { state in
                    if state.refusal == nil {
                        state.pending[request] = PendingResolve(
                            reference: reference, refresh: refresh, continuation: continuation)
                    }
                    return state.refusal
                }
                if let refusal { return continuation.resume(throwing: refusal) }
                if Task.isCancelled { cancel(request) }
                ask(request, reference, refresh: refresh)
            }
        } onCancel: {
            cancel(request)
        }
    }

    /// The answer of a scheduler; one that comes twice, or too late, is passed over.
    func answered(_ reply: Wire.ResolveReply) {
        let pending = state.withLock { $0.pending.removeValue(forKey: reply.request) }
        pending?.continuation.resume(returning: reply)
    }

    /// Asks again what waits, of those questions that are to be.
    func askPendingAgain(where isConcerned: (inout State, PendingResolve) -> Bool) {
        let pending = state.withLock { state in state.pending.filter { isConcerned(&state, $0.value) } }
        for (request, question) in pending { ask(request, question.reference, refresh: question.refresh) }
    }

    /// Tells all who wait.
    func failPending(_ error: RPCError) {
        let pending = state.withLock { state in
            defer { state.pending = [:] }
            return state.pending
        }
        for question in pending.values { question.continuation.resume(throwing: error) }
    }

    private func ask(_ request: UInt64, _ reference: String, refresh: Bool) {
        let link = state.withLock { state in
            state.routing.owner(ofReference: reference).flatMap { state.links[$0] }
        }
        link?.put(.resolve(Wire.Resolve(request: request, reference: reference, refresh: refresh)))
    }

    private func cancel(_ request: UInt64) {
        let pending = state.withLock { $0.pending.removeValue(forKey: request) }
        pending?.continuation.resume(throwing: CancellationError())
    }
}
