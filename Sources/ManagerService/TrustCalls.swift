import ControlAPI
import Identity
import Observability
import RPC

/// Answers the trust service's calls around the core. Who may call is the gatekeeper's business.
struct TrustCalls: TrustHandler {
    let core: TrustCore
    let gatekeeper: Gatekeeper
    let log: Logger

    func join(_ request: Wire.JoinRequest, context: RPCServerContext) async throws -> Wire.Certification {
        do throws(RPCError) {
            let certificate = try await core.join(
                tokenID: request.tokenID, secret: request.tokenSecret, request: request.certificateRequest,
                cluster: request.cluster, role: request.role, host: request.host)
            log.info(
                "member joined",
                [
                    "identity": .text(certificate.identity?.uri ?? ""), "from": .text(context.peer),
                    "serial": .text(certificate.serial), "join_id": .text(request.tokenID),
                ])
            return certification(certificate)
        } catch {
            gatekeeper.count(.token)
            log.warning(
                "join refused",
                [
                    "from": .text(context.peer), "host": .text(String(request.host.prefix(80))),
                    "reason": .text(error.message),
                ])
            throw error
        }
    }

    func renew(_ request: Wire.RenewRequest, context: RPCServerContext) async throws -> Wire.Certification {
        guard case .member(let identity, _) = gatekeeper.caller(context) else {
            throw RPCError(.unauthenticated, "only a certificate of this cluster can be renewed")
        }
        let certificate = try await core.renew(identity, request: request.certificateRequest)
        log.info("certificate renewed", ["identity": .text(identity.uri), "serial": .text(certificate.serial)])
        return certification(certificate)
    }

    private func certification(_ certificate: Certificate) -> Wire.Certification {
        Wire.Certification(certificate: certificate.pem, authority: core.authority.certificate.pem)
    }

    func watch(
        _ request: Wire.WatchRequest, responses: RPCOutgoing<Wire.TrustState>, context: RPCServerContext
    ) async throws {
        let (id, outbox) = core.watch()
        defer { core.unwatch(id) }
        while let messages = await outbox.take() {
            for message in messages { try await responses.send(message) }
        }
    }

    func createToken(
        _ request: Wire.CreateTokenRequest, context: RPCServerContext
    ) async throws -> Wire.CreateTokenResponse {
        var roles: [Role] = []
        for name in request.roles.prefix(Role.allCases.count) {
            guard let role = Role(rawValue: name) else {
                throw RPCError(
                    .invalidArgument,
                    "‘\(name.prefix(20))’ is no role; there are scheduler, seed, peer, operator and client")
            }
            if !roles.contains(role) { roles.append(role) }
        }
        let (shown, token) = try await core.createToken(
            roles: roles, host: request.host, lifeS: Int64(clamping: request.lifeS), usesMax: request.usesMax)
        log.info(
            "token made", ["join_id": .text(token.id), "roles": .text(roles.map(\.rawValue).joined(separator: ","))])
        return Wire.CreateTokenResponse(token: shown.text, info: token.wire)
    }

    func listTokens(_ request: Wire.ListTokensRequest, context: RPCServerContext) async throws
        -> Wire.ListTokensResponse
    {
        Wire.ListTokensResponse(tokens: core.tokens.map(\.wire))
    }

    func revokeToken(
        _ request: Wire.RevokeTokenRequest, context: RPCServerContext
    ) async throws -> Wire.RevokeTokenResponse {
        try await core.revokeToken(request.id)
        log.info("token revoked", ["join_id": .text(request.id)])
        return Wire.RevokeTokenResponse()
    }

    func revokeMember(
        _ request: Wire.RevokeMemberRequest, context: RPCServerContext
    ) async throws -> Wire.RevokeMemberResponse {
        let count = try await core.revoke(role: request.role, host: request.host)
        log.warning(
            "member revoked", ["role": .text(request.role), "host": .text(request.host), "certificates": .count(count)])
        return Wire.RevokeMemberResponse(certificates: UInt32(clamping: count))
    }
}

extension TrustCore.Token {
    /// As lists show it.
    var wire: Wire.TokenInfo {
        Wire.TokenInfo(
            id: id, roles: roles.map(\.rawValue), expiresUnixS: UInt64(clamping: expiresUnixS), usesMax: usesMax,
            uses: uses, host: host)
    }
}
