import Configuration

/// What `martlet token` was asked for.
public enum TokenRequest: Sendable {
    /// A new token.
    case create(roles: [String], lifeS: UInt64, usesMax: UInt32, host: String)
    /// Those there are.
    case list
    /// No more joins with this token.
    case revokeToken(String)
    /// No more calls by this host.
    case revokeMember(role: String, host: String)
}

extension Command {
    static let token = Command(
        name: "token", summary: "let servers join the cluster, and put them out again",
        examples: [
            Example("martlet token create --role peer", "A token for peers, good for an hour; printed once."),
            Example("martlet token create --role seed,peer --life 24h --uses 32", "For a roll-out of up to 32 nodes."),
            Example(
                "martlet token create --role peer --host node-7", "For that host alone; it may replace its certificate."
            ),
            Example("martlet token list", "Which there are; never the secrets."),
            Example("martlet token revoke 0123456789abcdef", "Nobody joins with it any more."),
            Example("martlet token revoke peer/node-7", "That host's certificates end now, its streams with them."),
        ],
        about: [
            "Asks the manager, on its own machine by its Unix socket. A server joins with --token-file, gets a certificate for its "
                + "own role and name, and renews it by itself; the token is not needed again.",
            "The token pins the cluster's authority, so that a server cannot be lured into another cluster.",
        ],
        arguments: .some("create|list|revoke"),
        options: [
            Option("--role", "ROLE,...", "Who may join with it: scheduler, seed, peer, operator, client."),
            Option("--life", "TIME", "How long it can be used, such as 10m or 24h; 1h."),
            Option("--uses", "N", "How many may join with it; any number."),
            Option("--host", "NAME", "The only host that may join with it; any that has no certificate."),
            .json,
        ], configuration: .token
    ) { input, context in
        try await runToken(try TokenRequest(input), json: input.has("--json"), context)
    }
}

extension TokenRequest {
    /// Reads the words and flags.
    init(_ input: Command.Input) throws(CommandFailure) {
        let words = input.arguments
        switch (words.first, words.count) {
        case ("create", 1):
            guard let roles = input.values["--role"] else {
                throw CommandFailure(.usage, "say who may join: martlet token create --role peer")
            }
            guard let lifeNs = ConfigurationUnits.durationNs(input.values["--life"] ?? "1h") else {
                throw CommandFailure(.usage, "--life takes a time such as 10m or 24h")
            }
            guard let uses = UInt32(input.values["--uses"] ?? "0") else {
                throw CommandFailure(.usage, "--uses takes a number")
            }
            self = .create(
                roles: roles.split(separator: ",").map(String.init), lifeS: lifeNs / 1_000_000_000, usesMax: uses,
                host: input.values["--host"] ?? "")
        case ("list", 1): self = .list
        case ("revoke", 2):
            let parts = words[1].split(separator: "/", maxSplits: 1).map(String.init)
            self = parts.count == 2 ? .revokeMember(role: parts[0], host: parts[1]) : .revokeToken(words[1])
        default:
            throw CommandFailure(
                .usage,
                "martlet token takes create, list, or revoke with a token's id or ROLE/HOST; see martlet token --help")
        }
    }
}
