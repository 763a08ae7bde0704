import ControlAPI
import Identity
import RPC
import Synchronization
import System

/// A cluster's trust, as its manager keeps it: the authority, the tokens it gave out, the certificates it signed.
///
/// Decided under one lock, from memory; saved before anybody is answered. Thread-safe.
final class TrustCore: Sendable {
    /// A join token; the secret itself is nowhere.
    struct Token: Sendable, Hashable {
        var id: String
        var secretHash: String
        var roles: [Role]
        /// The only host that may join with it; empty: any that has no certificate yet.
        var host: String
        var expiresUnixS: Int64
        /// 0: any number.
        var usesMax: UInt32
        var uses: UInt32
    }

    /// A certificate that was signed.
    struct Issued: Sendable, Hashable {
        var serial: String
        var identity: MemberIdentity
        var notAfterUnixS: Int64
        var isRevoked: Bool
    }

    private struct State {
        var tokens: [String: Token] = [:]
        var issued: [String: Issued] = [:]
        var serials: [MemberIdentity: Set<String>] = [:]
        var watchers: [UInt64: StreamOutbox<Wire.TrustState>] = [:]
        var nextWatcher: UInt64 = 1
    }

    /// Tokens at a time; a forgotten script must not fill the disk.
    static let tokensMax = 10_000
    /// Certificates at a time that have not expired.
    static let issuedMax = 1_000_000
    /// The longest life of a token, in seconds: 30 days.
    static let tokenLifeMaxS: Int64 = 30 * 86_400

    let cluster: String
    let authority: Authority
    let revocations = Revocations()
    private let certificateLifeS: Int64
    private let database: TrustDatabase
    private let state: Mutex<State>

    init(
        cluster: String, authority: Authority, certificateLifeS: Int64, database: TrustDatabase
    ) async throws(DatabaseError) {
        self.cluster = cluster
        self.authority = authority
        self.certificateLifeS = certificateLifeS
        self.database = database
        let (tokens, issued) = try await database.load()
        var state = State()
        for token in tokens { state.tokens[token.id] = token }
        for certificate in issued {
            state.issued[certificate.serial] = certificate
            state.serials[certificate.identity, default: []].insert(certificate.serial)
        }
        revocations.replace(TrustCore.revoked(state))
        self.state = Mutex(state)
    }

    // Tokens

    /// Makes a token; its text is known to the caller alone from then on.
    func createToken(
        roles: [Role], host: String, lifeS: Int64, usesMax: UInt32
    ) async throws(RPCError) -> (JoinToken, Token) {
        guard !roles.isEmpty, !roles.contains(.manager) else {
            throw RPCError(.invalidArgument, "a token is for one or more of scheduler, seed, peer, operator and client")
        }
        guard host.isEmpty || MemberIdentity.isName(host) else {
            throw RPCError(.invalidArgument, "‘\(host.prefix(80))’ is no host name")
        }
        guard (1...TrustCore.tokenLifeMaxS).contains(lifeS) else {
            throw RPCError(.invalidArgument, "a token lives 1 s to 30 days, not \(lifeS) s")
        }
        let shown = JoinToken(pin: authority.pin)
        let token = Token(
            id: shown.id, secretHash: shown.secretHash, roles: roles, host: host,
            expiresUnixS: WallClock.nowSeconds() + lifeS, usesMax: usesMax, uses: 0)
        let hasRoom = state.withLock { state in
            let nowS = WallClock.nowSeconds()
            state.tokens = state.tokens.filter { $0.value.expiresUnixS > nowS }
            guard state.tokens.count < TrustCore.tokensMax else { return false }
            state.tokens[token.id] = token
            return true
        }
        guard hasRoom else {
            throw RPCError(
                .resourceExhausted, "there are \(TrustCore.tokensMax) tokens; revoke some, or wait for them to expire")
        }
        try await durable { (database) throws(DatabaseError) in try await database.save(token) }
        return (shown, token)
    }

    /// Those that can still be used, the next to expire first.
    var tokens: [Token] {
        let nowS = WallClock.nowSeconds()
        return state.withLock { $0.tokens.values.filter { $0.expiresUnixS > nowS } }
            .sorted { ($0.expiresUnixS, $0.id) < ($1.expiresUnixS, $1.id) }
    }

    /// Lets nobody in with it any more; throws `notFound` where there is none.
    func revokeToken(_ id: String) async throws(RPCError) {
        guard state.withLock({ $0.tokens.removeValue(forKey: id) }) != nil else {
            throw RPCError(.notFound, "there is no token \(id.prefix(40)); see martlet token list")
        }
        try await durable { (database) throws(DatabaseError) in try await database.removeToken(id) }
    }

    // Certificates

    /// Lets somebody in who has a token: a certificate for that identity.
    ///
    /// `unauthenticated` for a token that is not valid, whatever the reason; `permissionDenied` for an identity that is
    /// not the token's to give.
    func join(
        tokenID: String, secret: String, request: String, cluster: String, role: String, host: String
    ) async throws(RPCError) -> Certificate {
        let hash = JoinToken.hash(secret)
        let nowS = WallClock.nowSeconds()
        let token = state.withLock { state -> Token? in
            guard let token = state.tokens[tokenID], JoinToken.isEqual(token.secretHash, hash),
                nowS < token.expiresUnixS, token.usesMax == 0 || token.uses < token.usesMax
            else { return nil }
            return token
        }
        guard let token else {
            throw RPCError(
                .unauthenticated,
                "the token is not valid: unknown, expired, used up or revoked; make another by martlet token create")
        }
        guard cluster == self.cluster else {
            throw RPCError(
                .failedPrecondition,
                "this manager knows \(self.cluster), and no cluster ‘\(cluster.prefix(80))’; set cluster.name, or ask its manager"
            )
        }
        guard let role = Role(rawValue: role), token.roles.contains(role), role != .manager else {
            let roles = token.roles.map(\.rawValue).joined(separator: ", ")
            throw RPCError(.permissionDenied, "the token is for \(roles), not for ‘\(role.prefix(20))’")
        }
        guard token.host.isEmpty || token.host == host else {
            throw RPCError(.permissionDenied, "the token is for the host \(token.host), not for ‘\(host.prefix(80))’")
        }
        let identity = try named(cluster, role, host)
        if token.host.isEmpty, role == .scheduler || role == .seed || role == .peer, isHeld(identity, nowS) {
            throw RPCError(
                .permissionDenied,
                "\(identity) has a valid certificate already: to replace it make a token for that host alone (martlet token create --host \(host)), or revoke it (martlet token revoke \(role)/\(host))"
            )
        }
        // Checked before the use is counted: a wrong request costs nothing.
        let certificate = try sign(request, identity, nowS)
        let used = state.withLock { state -> Token? in
            guard var token = state.tokens[tokenID], token.usesMax == 0 || token.uses < token.usesMax else {
                return nil
            }
            token.uses += 1
            state.tokens[tokenID] = token
            return token
        }
        guard let used else { throw RPCError(.unauthenticated, "the token was used up a moment ago") }
        try await durable { (database) throws(DatabaseError) in try await database.save(used) }
        try await record(certificate, identity)
        return certificate
    }

    /// The next certificate of somebody whose present one is valid.
    ///
    /// Never inlined: the optimiser of Swift 6.3 fails on its caller otherwise.
    @inline(never)
    func renew(_ identity: MemberIdentity, request: String) async throws(RPCError) -> Certificate {
        let certificate = try sign(request, identity, WallClock.nowSeconds())
        try await record(certificate, identity)
        return certificate
    }

    /// A certificate for this process, from a key that stays in it.
    func own(_ identity: MemberIdentity) throws(IdentityError) -> IdentityStore.Contents {
        let key = try PrivateKey()
        let certificate = try authority.issue(
            request: try key.request(), to: identity, lifeS: certificateLifeS, nowUnixS: WallClock.nowSeconds())
        return IdentityStore.Contents(key: key, certificate: certificate, authority: authority.certificate)
    }

    /// Ends all certificates that a host has now; how many.
    func revoke(role: String, host: String) async throws(RPCError) -> Int {
        guard let role = Role(rawValue: role) else {
            throw RPCError(.invalidArgument, "‘\(role.prefix(20))’ is no role")
        }
        let identity = try named(cluster, role, host)
        let nowS = WallClock.nowSeconds()
        let (ended, watchers) = state.withLock { state in
            let serials = state.serials[identity] ?? []
            var ended: [Issued] = []
            for serial in serials.sorted() {
                guard var issued = state.issued[serial], !issued.isRevoked, issued.notAfterUnixS > nowS else {
                    continue
                }
                issued.isRevoked = true
                state.issued[serial] = issued
                ended.append(issued)
            }
            revocations.replace(TrustCore.revoked(state))
            return (ended, Array(state.watchers.values))
        }
        guard !ended.isEmpty else {
            throw RPCError(.notFound, "\(identity) has no certificate that is valid now")
        }
        try await durable { (database) throws(DatabaseError) in try await database.save(ended) }
        tell(watchers)
        return ended.count
    }

    // Watchers

    /// Begins a stream that hears of revocations, of those that are in force first.
    func watch() -> (id: UInt64, outbox: StreamOutbox<Wire.TrustState>) {
        let outbox = StreamOutbox<Wire.TrustState>(limit: 64)
        let id = state.withLock { state in
            let id = state.nextWatcher
            state.nextWatcher += 1
            state.watchers[id] = outbox
            return id
        }
        tell([outbox])
        return (id, outbox)
    }

    /// Ends it.
    func unwatch(_ id: UInt64) { state.withLock { $0.watchers.removeValue(forKey: id) }?.close() }

    /// How many certificates are valid, and how many of them are revoked.
    var counts: (valid: Int, revoked: Int, tokens: Int) {
        let nowS = WallClock.nowSeconds()
        return state.withLock { state in
            let valid = state.issued.values.filter { $0.notAfterUnixS > nowS }
            return (valid.count, valid.count { $0.isRevoked }, state.tokens.values.count { $0.expiresUnixS > nowS })
        }
    }

    private func tell(_ watchers: [StreamOutbox<Wire.TrustState>]) {
        let serials = state.withLock { TrustCore.revoked($0) }
        for outbox in watchers where !outbox.put(CollectionOfOne(Wire.TrustState(revokedSerials: serials))) {
            // One that does not read starts anew, and hears everything.
            outbox.close()
        }
    }

    // Parts

    private static func revoked(_ state: State) -> [String] {
        let nowS = WallClock.nowSeconds()
        return state.issued.values.filter { $0.isRevoked && $0.notAfterUnixS > nowS }.map(\.serial).sorted()
    }

    private func named(_ cluster: String, _ role: Role, _ host: String) throws(RPCError) -> MemberIdentity {
        do throws(IdentityError) { return try MemberIdentity(cluster: cluster, role: role, host: host) } catch {
            throw RPCError(.invalidArgument, error.sentence)
        }
    }

    private func isHeld(_ identity: MemberIdentity, _ nowS: Int64) -> Bool {
        state.withLock { state in
            (state.serials[identity] ?? []).contains { serial in
                state.issued[serial].map { !$0.isRevoked && $0.notAfterUnixS > nowS } ?? false
            }
        }
    }

    private func sign(_ request: String, _ identity: MemberIdentity, _ nowS: Int64) throws(RPCError) -> Certificate {
        do throws(IdentityError) {
            return try authority.issue(request: request, to: identity, lifeS: certificateLifeS, nowUnixS: nowS)
        } catch {
            throw RPCError(error.code == .failed ? .internalError : .invalidArgument, error.sentence)
        }
    }

    private func record(_ certificate: Certificate, _ identity: MemberIdentity) async throws(RPCError) {
        let issued = Issued(
            serial: certificate.serial, identity: identity, notAfterUnixS: certificate.notAfterUnixS, isRevoked: false)
        let nowS = WallClock.nowSeconds()
        let (hasRoom, gone) = state.withLock { state in
            var gone: [String] = []
            for serial in state.serials[identity] ?? [] where (state.issued[serial]?.notAfterUnixS ?? 0) <= nowS {
                state.issued[serial] = nil
                state.serials[identity]?.remove(serial)
                gone.append(serial)
            }
            guard state.issued.count < TrustCore.issuedMax else { return (false, gone) }
            state.issued[issued.serial] = issued
            state.serials[identity, default: []].insert(issued.serial)
            return (true, gone)
        }
        guard hasRoom else { throw RPCError(.resourceExhausted, "too many certificates are valid at a time") }
        try await durable { (database) throws(DatabaseError) in
            try await database.save([issued])
            try await database.remove(gone)
        }
    }

    private func durable(
        _ body: (TrustDatabase) async throws(DatabaseError) -> Void
    ) async throws(RPCError) {
        do throws(DatabaseError) { try await body(database) } catch { throw RPCError(.unavailable, error.description) }
    }
}
