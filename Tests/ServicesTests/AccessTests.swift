import ControlAPI
import Identity
import RPC
import System
import Testing

/// Somebody who calls, and what it shows.
private enum Actor: Hashable, CustomStringConvertible {
    case stranger, local
    case role(Role)
    case otherCluster, expired, revoked, otherAuthority

    static let all: [Actor] =
        [.stranger, .local] + Role.allCases.map { .role($0) } + [.otherCluster, .expired, .revoked, .otherAuthority]

    var description: String {
        switch self {
        case .stranger: "stranger"
        case .local: "local"
        case .role(let role): role.rawValue
        case .otherCluster: "other cluster"
        case .expired: "expired"
        case .revoked: "revoked"
        case .otherAuthority: "other authority"
        }
    }

    /// What the table says of it, written down anew.
    func isAdmitted(_ row: AccessRow) -> Bool {
        switch self {
        case .stranger: row.admitsStrangers
        case .local: row.admitsLocal
        case .role(let role): row.roles.contains(role)
        case .otherCluster, .expired, .revoked, .otherAuthority: false
        }
    }
}

/// A server with a door and nothing behind it, on TCP and on a Unix socket.
private struct Door {
    let authority: Authority
    let revocations = Revocations()
    let gatekeeper: Gatekeeper
    let server: RPCServer
    let held: RPCIdentity
    let path: String

    init() throws {
        authority = try Authority(cluster: "north", nowUnixS: WallClock.nowSeconds())
        gatekeeper = Gatekeeper(cluster: "north", revocations: revocations, isOpen: false)
        held = RPCIdentity(try Door.contents(authority, "north", .scheduler, "s").material)
        path = "/tmp/martlet-door-\(Entropy.uint64())"
        let door = gatekeeper
        var options = RPCServerOptions()
        options.admit = { door.admit($0) }
        server = try RPCServer.start(
            listeners: [
                RPCListener(.tcp(host: "127.0.0.1", port: 0), credentials: .rotating(held, admitsStrangers: true)),
                RPCListener(.unix(path: path), credentials: .insecure),
            ], services: [], options: options)
    }

    static func contents(
        _ authority: Authority, _ cluster: String, _ role: Role, _ host: String, ageS: Int64 = 0
    ) throws -> IdentityStore.Contents {
        let key = try PrivateKey()
        let made = try authority.issue(
            request: try key.request(), to: try MemberIdentity(cluster: cluster, role: role, host: host), lifeS: 600,
            nowUnixS: WallClock.nowSeconds() - ageS)
        return IdentityStore.Contents(key: key, certificate: made, authority: authority.certificate)
    }

    func channel(_ actor: Actor) throws -> RPCChannel {
        let tcp = server.addresses[0]
        func mutual(_ contents: IdentityStore.Contents) throws -> RPCChannel {
            var material = contents.material
            material.caPEM = authority.certificate.pem
            return try RPCChannel(
                to: tcp,
                credentials: RPCCredentials.rotating(RPCIdentity(material)).toward(.scheduler, cluster: "north"))
        }
        switch actor {
        case .stranger:
            return try RPCChannel(
                to: tcp,
                credentials: .tls(caPEM: authority.certificate.pem, serverName: "scheduler.north.martlet"))
        case .local: return try RPCChannel(to: .unix(path: path), credentials: .insecure)
        case .role(let role): return try mutual(try Door.contents(authority, "north", role, "h"))
        case .otherCluster: return try mutual(try Door.contents(authority, "south", .operator, "h"))
        case .expired: return try mutual(try Door.contents(authority, "north", .operator, "h", ageS: 700))
        case .revoked:
            let contents = try Door.contents(authority, "north", .operator, "h")
            revocations.replace([contents.certificate.serial])
            return try mutual(contents)
        case .otherAuthority:
            let other = try Authority(cluster: "north", nowUnixS: WallClock.nowSeconds())
            return try mutual(try Door.contents(other, "north", .operator, "h"))
        }
    }

    func end() async { await server.shutdown(grace: .zero) }
}

/// Any method, whatever its messages are: nothing is behind the door that would read them.
private func outcome(_ channel: RPCChannel, _ path: String) async throws -> RPCStatus {
    let parts = path.split(separator: "/").map(String.init)
    let method = RPCMethod<Wire.WatchRequest, Wire.WatchRequest>(
        service: parts[0], name: parts[1], kind: .bidirectional)
    let call = channel.open(method, options: .timeout(.seconds(20)))
    defer { call.cancel() }
    do throws(RPCError) {
        try await call.send(Wire.WatchRequest())
        // A stream that was let in has nothing to say yet, or says it: either is an admission.
        let isAlive = path.hasSuffix("Health/Watch") || path.hasSuffix("ServerReflectionInfo")
        if !isAlive { try await call.finishSending() }
        if path.hasSuffix("ServerReflectionInfo") { try await call.finishSending() }
        _ = try await call.receive()
        if isAlive { return .ok }
        return await call.status().status
    } catch {
        return error.status
    }
}

@Suite(.timeLimit(.minutes(5))) struct AccessTests {
    @Test func everyMethodHasARowAndEveryRowAMethod() throws {
        let door = try RPCServer.start(
            listeners: [RPCListener(.tcp(host: "127.0.0.1", port: 0), credentials: .insecure)], services: [])
        let methods = Wire.files.flatMap(\.methodPaths) + door.methodPaths
        Task { await door.shutdown(grace: .zero) }
        #expect(Set(methods) == Set(AccessTable.rows.map(\.path)))
        #expect(methods.count == AccessTable.rows.count)
    }

    @Test func everyMethodIsRefusedToWhomTheTableDoesNotName() async throws {
        let door = try Door()
        var lines: [String] = []
        for actor in Actor.all {
            let channel = try door.channel(actor)
            var admitted: [String] = []
            for row in AccessTable.rows {
                let status = try await outcome(channel, row.path)
                let isRefused = [.unauthenticated, .permissionDenied, .unavailable].contains(status)
                #expect(isRefused != actor.isAdmitted(row), "\(actor) \(row.path): \(status)")
                if !isRefused { admitted.append(row.path) }
            }
            channel.close()
            lines.append("\(actor): \(admitted.count) of \(AccessTable.rows.count) admitted")
        }
        print(lines.joined(separator: "\n"))
        // Whoever got as far as the door was counted there; wrong certificates fail before it.
        let counts = Dictionary(uniqueKeysWithValues: door.gatekeeper.refusals.map { ($0.reason, $0.count) })
        #expect(counts[.stranger]! > 0 && counts[.role]! > 0 && counts[.cluster]! > 0 && counts[.revoked]! > 0)
        #expect(RPCHandshakes.failures > 0)
        await door.end()
    }

    @Test func aMethodThatNobodyKnowsIsRefused() async throws {
        let door = try Door()
        let channel = try door.channel(.role(.operator))
        #expect(try await outcome(channel, "/martlet.v1.Manager/Nothing") == .unimplemented)
        channel.close()
        await door.end()
    }

    @Test func aLiveStreamEndsWhenItsCertificateIsRevoked() async throws {
        let door = try Door()
        let contents = try Door.contents(door.authority, "north", .peer, "h")
        let channel = try RPCChannel(
            to: door.server.addresses[0],
            credentials: RPCCredentials.rotating(RPCIdentity(contents.material)).toward(.scheduler, cluster: "north"))
        let method = RPCMethod<Wire.WatchRequest, Wire.WatchRequest>(
            service: "grpc.health.v1.Health", name: "Watch", kind: .serverStreaming)
        let call = channel.open(method, Wire.WatchRequest(), options: .timeout(.seconds(60)))
        _ = try await call.receive()
        door.revocations.replace([contents.certificate.serial])
        let end = await call.status()
        #expect(end.status == .unauthenticated)
        #expect(end.message.contains("revoked"))
        channel.close()
        await door.end()
    }

    @Test func aServerShowsItsNextCertificateWithoutARestart() async throws {
        let door = try Door()
        door.held.replace(try Door.contents(door.authority, "north", .manager, "m").material)
        let old = try door.channel(.role(.peer))
        #expect(try await outcome(old, "/martlet.v1.Scheduler/Attach") == .unavailable)
        let contents = try Door.contents(door.authority, "north", .peer, "h")
        let new = try RPCChannel(
            to: door.server.addresses[0],
            credentials: RPCCredentials.rotating(RPCIdentity(contents.material)).toward(.manager, cluster: "north"))
        #expect(try await outcome(new, "/martlet.v1.Scheduler/Attach") == .unimplemented)
        old.close()
        new.close()
        await door.end()
    }
}
