import ControlAPI
import Identity
import Observability
import RPC
import Registry

/// Answers the manager's calls around the core.
struct ManagerCalls: ManagerHandler {
    let core: ManagerCore
    let gatekeeper: Gatekeeper
    let log: Logger

    func attach(
        requests: RPCIncoming<Wire.MemberMessage>, responses: RPCOutgoing<Wire.ManagerMessage>,
        context: RPCServerContext
    ) async throws {
        guard let first = try await requests.receive() else { return }
        guard case .register(let wire) = first.kind else {
            throw RPCError(.invalidArgument, "a member's stream begins with its registration")
        }
        let member = try Member(wire: wire)
        try gatekeeper.check(
            context, announces: member.key.role.asRole, host: member.key.name, cluster: member.key.cluster)
        let stream = core.attach(member)
        log.info(
            "member registered",
            [
                "name": .text(member.key.name), "role": .text("\(member.key.role)"),
                "cluster": .text(member.key.cluster),
            ])
        do {
            try await serve(stream, requests, responses)
        } catch {
            throw core.detach(stream) ?? error
        }
        if let failure = core.detach(stream) {
            log.warning("member refused", ["name": .text(member.key.name), "reason": .text(failure.message)])
            throw failure
        }
    }

    /// Returns when either side has ended.
    private func serve(
        _ stream: ManagerCore.Stream, _ requests: RPCIncoming<Wire.MemberMessage>,
        _ responses: RPCOutgoing<Wire.ManagerMessage>
    ) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                while let messages = await stream.outbox.take() {
                    for message in messages { try await responses.send(message) }
                }
            }
            group.addTask {
                while let message = try await requests.receive() {
                    switch message.kind {
                    case .heartbeat: core.handle(.heartbeat(stream.session))
                    case .farewell: core.handle(.left(stream.session))
                    case .register, nil: throw RPCError(.invalidArgument, "a member registers once on one stream")
                    }
                }
            }
            defer { group.cancelAll() }
            try await group.next()
        }
    }

    func listMembers(
        _ request: Wire.ListMembersRequest, context: RPCServerContext
    ) async throws -> Wire.ListMembersResponse {
        let members = core.members(cluster: request.cluster, liveOnly: request.liveOnly)
        return Wire.ListMembersResponse(members: members.map(\.wire))
    }

    func listClusters(
        _ request: Wire.ListClustersRequest, context: RPCServerContext
    ) async throws -> Wire.ListClustersResponse {
        Wire.ListClustersResponse(clusters: core.clusters.map(\.wire))
    }

    func putCluster(_ request: Wire.PutClusterRequest, context: RPCServerContext) async throws -> Wire.Cluster {
        try await core.put(request.name, ClusterSettings(wire: request.settings)).wire
    }
}

extension MemberRole {
    /// The role in a certificate.
    fileprivate var asRole: Role {
        switch self {
        case .scheduler: .scheduler
        case .seed: .seed
        case .peer: .peer
        }
    }
}
