import ControlAPI
import Observability
import RPC
import System

/// The body of `martlet token`.
func runToken(_ request: TokenRequest, json: Bool, _ context: CommandContext) async throws -> ExitCode {
    try await ManagerConnection.use(context) { channel in
        let trust = TrustClient(channel)
        switch request {
        case .create(let roles, let lifeS, let usesMax, let host):
            let made = try await trust.createToken(
                Wire.CreateTokenRequest(roles: roles, lifeS: lifeS, usesMax: usesMax, host: host))
            if json {
                context.console.printJSON(["token": .string(made.token), "id": .string(made.info?.id ?? "")])
            } else {
                context.console.print(made.token)
            }
        case .list:
            let tokens = try await trust.listTokens(Wire.ListTokensRequest()).tokens
            if json {
                context.console.printJSON(.array(tokens.map(described)))
            } else {
                var table = TextTable([
                    .left("TOKEN"), .left("ROLES"), .left("HOST"), .right("USES"), .right("EXPIRES IN"),
                ])
                for token in tokens {
                    let left = Int64(clamping: token.expiresUnixS) - WallClock.nowSeconds()
                    table.add([
                        token.id, token.roles.joined(separator: ","), token.host.isEmpty ? "any" : token.host,
                        token.usesMax == 0 ? "\(token.uses)" : "\(token.uses) of \(token.usesMax)", "\(max(0, left)) s",
                    ])
                }
                for line in table.lines() { context.console.print(line) }
            }
        case .revokeToken(let id):
            _ = try await trust.revokeToken(Wire.RevokeTokenRequest(id: id))
        case .revokeMember(let role, let host):
            let count = try await trust.revokeMember(Wire.RevokeMemberRequest(role: role, host: host)).certificates
            context.console.note("\(count) certificates of \(role)/\(host) are revoked")
        }
        return .ok
    }
}

private func described(_ token: Wire.TokenInfo) -> JSONValue {
    [
        "id": .string(token.id), "roles": .array(token.roles.map { .string($0) }), "host": .string(token.host),
        "uses": .integer(Int64(token.uses)), "uses_max": .integer(Int64(token.usesMax)),
        "expires_unix_s": .integer(Int64(clamping: token.expiresUnixS)),
    ]
}
