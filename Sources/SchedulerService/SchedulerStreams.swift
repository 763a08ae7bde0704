import ControlAPI
import Observability
import RPC
import Scheduling

/// Answers hosts' `Attach`: one reader and one writer a stream, around the core.
struct SchedulerStreams: SchedulerHandler {
    let core: SchedulerCore
    let name: String
    let cluster: String
    let gatekeeper: Gatekeeper
    let log: Logger

    func attach(
        requests: RPCIncoming<Wire.HostMessage>, responses: RPCOutgoing<Wire.SchedulerMessage>,
        context: RPCServerContext
    ) async throws {
        guard let first = try await requests.receive() else { return }
        guard case .hello(let hello) = first.kind else {
            throw RPCError(.invalidArgument, "a host's stream begins with its hello")
        }
        guard hello.cluster == cluster else {
            let sentence =
                "this scheduler serves cluster \(cluster), not ‘\(hello.cluster.prefix(64))’; set cluster.name, or give another scheduler"
            throw RPCError(.failedPrecondition, sentence)
        }
        let info = try HostInfo(wire: hello)
        try gatekeeper.check(
            context, announces: info.role == .seed ? .seed : .peer, host: info.host.name, cluster: hello.cluster)
        var leases: [HeldLease] = []
        for lease in hello.leases.prefix(1_024) { leases.append(try HeldLease(wire: lease)) }
        let stream: SchedulerCore.Stream
        switch core.attach(info, leases: leases) {
        case .admitted(let admitted): stream = admitted
        case .later(let retryAfterMs):
            let reason = "too many hosts attach at once; this one has its turn in \(retryAfterMs) ms"
            try await responses.send(
                .tryLater(Wire.TryLater(retryAfterMs: UInt32(clamping: retryAfterMs), reason: reason)))
            return
        }
        log.info("host attached", ["host": .text(info.host.name), "from": .text(context.peer)])
        do {
            try await serve(stream, requests, responses)
            if let reason = core.detach(stream) { throw RPCError(.aborted, reason) }
            log.info("host detached", ["host": .text(info.host.name)])
        } catch {
            let reason = core.detach(stream)
            log.warning("host lost", ["host": .text(info.host.name), "reason": .text(reason ?? "\(error)")])
            if let reason { throw RPCError(.aborted, reason) }
            throw error
        }
    }

    /// Returns when either side has ended.
    private func serve(
        _ stream: SchedulerCore.Stream, _ requests: RPCIncoming<Wire.HostMessage>,
        _ responses: RPCOutgoing<Wire.SchedulerMessage>
    ) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                while let messages = await stream.outbox.take() {
                    for message in messages { try await responses.send(message.wire(scheduler: name)) }
                }
            }
            group.addTask {
                while let message = try await requests.receive() {
                    if let move = try SchedulerEvent.move(wire: message, of: stream.session) { core.handle(move) }
                    if let event = try SchedulerEvent(wire: message, of: stream.session) { core.handle(event) }
                }
            }
            defer { group.cancelAll() }
            try await group.next()
        }
    }
}
