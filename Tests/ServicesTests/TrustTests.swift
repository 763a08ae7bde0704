import ControlAPI
import Identity
import ManagerService
import RPC
import System
import Testing

/// A manager with an authority of its own, in a directory of its own.
private struct Trusting {
    let path = "/tmp/martlet-trust-\(Entropy.uint64())"
    let manager: ManagerServer

    init(lifeS: Int64 = 3_600) async throws {
        try Directory.create(path: path, permissions: 0o700)
        var configuration = ManagerConfiguration(
            listen: .tcp(host: "127.0.0.1", port: 0), database: "\(path)/manager.sqlite", cluster: "north")
        configuration.authorityDirectory = "\(path)/authority"
        configuration.socket = "\(path)/manager.sock"
        configuration.certificateLifeS = lifeS
        manager = try await ManagerServer.start(configuration, log: quiet)
    }

    /// As an operator on the manager's machine.
    func asOperator<Value: Sendable>(_ body: (TrustClient) async throws -> Value) async throws -> Value {
        let channel = try RPCChannel(to: .unix(path: "\(path)/manager.sock"), credentials: .insecure)
        defer { channel.close() }
        return try await body(TrustClient(channel))
    }

    func token(_ roles: [String], lifeS: UInt64 = 600, usesMax: UInt32 = 0, host: String = "") async throws -> JoinToken
    {
        let text = try await asOperator {
            try await $0.createToken(
                Wire.CreateTokenRequest(roles: roles, lifeS: lifeS, usesMax: usesMax, host: host)
            ).token
        }
        return try #require(JoinToken(text))
    }

    func join(
        _ token: JoinToken?, as role: Role, _ host: String, cluster: String = "north", in directory: String? = nil
    ) async throws -> IdentityKeeper {
        var settings = IdentityKeeper.Settings(
            identity: try MemberIdentity(cluster: cluster, role: role, host: host),
            store: IdentityStore(path: "\(path)/\(directory ?? "\(role)-\(host)")"), managers: [manager.address],
            token: token)
        settings.joinLimit = .seconds(5)
        return try await IdentityKeeper.establish(settings)
    }

    func end() async {
        await manager.stop()
        try? Directory(path: "/tmp").removeTree(String(path.dropFirst("/tmp/".count)))
    }
}

private func failure(_ body: () async throws -> Void) async -> String? {
    do {
        try await body()
        return nil
    } catch { return "\(error)" }
}

@Suite(.timeLimit(.minutes(3))) struct TrustTests {
    @Test func aTokenLetsInItsRolesAndNobodyElse() async throws {
        let trust = try await Trusting()
        let token = try await trust.token(["peer", "seed"])
        _ = try await trust.join(token, as: .peer, "a")
        _ = try await trust.join(token, as: .seed, "a")
        #expect(await failure { _ = try await trust.join(token, as: .scheduler, "a") }?.contains("peer, seed") == true)
        #expect(await failure { _ = try await trust.join(token, as: .operator, "a") } != nil)
        #expect(await failure { _ = try await trust.join(token, as: .manager, "a") } != nil)
        #expect(
            await failure { _ = try await trust.join(token, as: .peer, "a", cluster: "south") }?.contains(
                "of cluster north")
                == true)
        #expect(
            await failure { _ = try await trust.join(nil, as: .peer, "b") }?.contains("martlet token create") == true)
        await trust.end()
    }

    @Test func aHostsNameIsNotTakenFromItByAnother() async throws {
        let trust = try await Trusting()
        let token = try await trust.token(["peer"])
        _ = try await trust.join(token, as: .peer, "a")
        // The host itself needs no token any more.
        _ = try await trust.join(nil, as: .peer, "a")
        #expect(
            await failure { _ = try await trust.join(token, as: .peer, "a", in: "thief") }?.contains(
                "certificate already")
                == true)
        // What is made for that host alone replaces it.
        let own = try await trust.token(["peer"], host: "a")
        _ = try await trust.join(own, as: .peer, "a", in: "reinstalled")
        #expect(await failure { _ = try await trust.join(own, as: .peer, "b") }?.contains("the host a") == true)
        await trust.end()
    }

    @Test func tokensAreUsedUpRevokedAndForged() async throws {
        let trust = try await Trusting()
        let once = try await trust.token(["peer"], usesMax: 1)
        _ = try await trust.join(once, as: .peer, "a")
        #expect(await failure { _ = try await trust.join(once, as: .peer, "b") }?.contains("not valid") == true)
        let revoked = try await trust.token(["peer"])
        try await trust.asOperator { _ = try await $0.revokeToken(Wire.RevokeTokenRequest(id: revoked.id)) }
        #expect(await failure { _ = try await trust.join(revoked, as: .peer, "b") }?.contains("not valid") == true)
        let token = try await trust.token(["peer"])
        let forged = try #require(
            JoinToken("martlet-\(token.id).\(String(repeating: "0", count: 32)).\(token.pin)"))
        #expect(await failure { _ = try await trust.join(forged, as: .peer, "b") }?.contains("not valid") == true)
        let lured = try #require(
            JoinToken("martlet-\(token.id).\(token.secret).\(String(repeating: "0", count: 64))"))
        #expect(
            await failure { _ = try await trust.join(lured, as: .peer, "b") }?.contains("another authority") == true)
        #expect(
            try await trust.asOperator { try await $0.listTokens(Wire.ListTokensRequest()).tokens.map(\.id) }.contains(
                token.id))
        let short = try await trust.token(["peer"], lifeS: 1)
        try await eventually("the token has expired") {
            try await trust.asOperator { try await $0.listTokens(Wire.ListTokensRequest()) }.tokens.allSatisfy {
                $0.id != short.id
            }
        }
        #expect(await failure { _ = try await trust.join(short, as: .peer, "b") }?.contains("not valid") == true)
        await trust.end()
    }

    @Test func aMemberIsWhoItsCertificateSays() async throws {
        let trust = try await Trusting()
        let own = try await trust.join(try await trust.token(["peer"]), as: .peer, "a")
        for (role, name) in [(Wire.MemberRole.peer, "b"), (.seed, "a"), (.scheduler, "a")] {
            let membership = ManagerMembership(
                ManagerMembership.Settings(
                    addresses: [trust.manager.address], credentials: own.credentials,
                    member: Wire.Member(role: role, name: name, incarnation: 1, cluster: "north", addresses: ["x:1"])),
                onConfiguration: { _ in Issue.record("an impostor was let in") })
            let refusal = await failure { try await membership.run() }
            #expect(refusal?.contains("its certificate is martlet://north/peer/a") == true)
        }
        await trust.end()
    }

    @Test func aCertificateIsRenewedBeforeItExpires() async throws {
        let trust = try await Trusting(lifeS: 9)
        let own = try await trust.join(try await trust.token(["peer"], usesMax: 1), as: .peer, "a")
        let first = own.validUntilUnixS
        let running = Task { await own.run() }
        try await eventually("renewed twice") { own.validUntilUnixS >= first + 8 }
        running.cancel()
        _ = await running.value
        await trust.end()
    }

    @Test func aRevokedHostIsOutAtOnceAndOthersHearOfIt() async throws {
        let trust = try await Trusting()
        let token = try await trust.token(["peer", "scheduler"])
        let host = try await trust.join(token, as: .peer, "a")
        let scheduler = try await trust.join(token, as: .scheduler, "s")
        let running = Task { await scheduler.run() }
        let channel = try RPCChannel(
            to: trust.manager.address, credentials: host.credentials.toward(.manager, cluster: "north"))
        let watch = TrustClient(channel).watch(Wire.WatchRequest())
        _ = try await watch.receive()
        let count = try await trust.asOperator {
            try await $0.revokeMember(Wire.RevokeMemberRequest(role: "peer", host: "a")).certificates
        }
        #expect(count == 1)
        try await eventually("the scheduler knows") { scheduler.revocations.count == 1 }
        while (try? await watch.receive()) != nil {}
        #expect(await watch.status().status == .unauthenticated)
        #expect(
            await failure { _ = try await TrustClient(channel).renew(Wire.RenewRequest(certificateRequest: "")) }?
                .contains("revoked") == true)
        channel.close()
        running.cancel()
        _ = await running.value
        // With a new token it may come back.
        _ = try await trust.join(token, as: .peer, "a", in: "again")
        await trust.end()
    }

    @Test func aRestartForgetsNothing() async throws {
        let trust = try await Trusting()
        let token = try await trust.token(["peer"], usesMax: 2)
        _ = try await trust.join(token, as: .peer, "a")
        await trust.manager.stop()
        var configuration = ManagerConfiguration(
            listen: .tcp(host: "127.0.0.1", port: 0), database: "\(trust.path)/manager.sqlite", cluster: "north")
        configuration.authorityDirectory = "\(trust.path)/authority"
        let again = try await ManagerServer.start(configuration, log: quiet)
        let settings = { (host: String) in
            IdentityKeeper.Settings(
                identity: try MemberIdentity(cluster: "north", role: .peer, host: host),
                store: IdentityStore(path: "\(trust.path)/\(host)-2"), managers: [again.address], token: token)
        }
        _ = try await IdentityKeeper.establish(try settings("b"))
        #expect(
            await failure { _ = try await IdentityKeeper.establish(try settings("c")) }?.contains("not valid") == true)
        #expect(await failure { _ = try await IdentityKeeper.establish(try settings("a")) } != nil)
        await again.stop()
        await trust.end()
    }
}
