import Configuration
import ControlAPI
import Glibc
import Identity
import ManagerService
import Observability
import RPC

/// What one server of this process proves itself with, kept fresh until it is ended.
struct MemberCredentials: Sendable {
    let credentials: RPCCredentials
    /// Certificates not to be believed.
    let revocations: Revocations
    private let keeping: Task<Void, Never>?

    fileprivate init(_ credentials: RPCCredentials) {
        self.credentials = credentials
        revocations = Revocations()
        keeping = nil
    }

    fileprivate init(_ keeper: IdentityKeeper) {
        credentials = keeper.credentials
        revocations = keeper.revocations
        keeping = Task { await keeper.run() }
    }

    /// No more renewals.
    func end() { keeping?.cancel() }
}

extension CommandContext {
    /// Given files or plaintext; nil where the process is to have an identity of the cluster's own.
    func givenCredentials(listening: [NetworkAddress]) throws -> RPCCredentials? {
        switch try configuration.credentials(listening: listening) {
        case .plaintext:
            log.warning(
                "WARNING: --insecure: NO TLS AND NO IDENTITIES; every process of this machine can take part and read everything"
            )
            return .insecure
        case .mutualTLS(let files):
            return .mutualTLS(
                caPEM: try read(files.caPath), certPEM: try read(files.certificatePath),
                keyPEM: try read(files.keyPath))
        case .joined: return nil
        }
    }

    /// The credentials of a member of the cluster: given ones, or an identity that is found on disk or joined for.
    ///
    /// - Parameter token: what to join with; nil: what the configuration names, if any.
    func join(
        as role: Role, host: String, listening: [NetworkAddress], token: JoinToken? = nil,
        configuration changed: Configuration? = nil
    ) async throws -> MemberCredentials {
        if let given = try givenCredentials(listening: listening) { return MemberCredentials(given) }
        let configuration = changed ?? configuration
        let identity = try MemberIdentity(cluster: configuration[Schema.Cluster.name], role: role, host: host)
        let managers = configuration[Schema.Manager.addresses].map { RPCAddress.tcp(host: $0.host, port: $0.port) }
        let settings = IdentityKeeper.Settings(
            identity: identity, store: IdentityStore(path: identityDirectory(role, host)), managers: managers,
            token: try token ?? configuredToken())
        let log = log.named("identity")
        let keeper = try await untilStopped {
            try await IdentityKeeper.establish(settings) { note in
                switch note {
                case .joined(let untilS):
                    log.info(
                        "joined the cluster", ["identity": .text(identity.uri), "valid_until_unix_s": .integer(untilS)])
                case .renewed(let untilS): log.info("certificate renewed", ["valid_until_unix_s": .integer(untilS)])
                case .failed(let why): log.warning("no certificate yet; trying again", ["reason": .text(why)])
                }
            }
        }
        return MemberCredentials(keeper)
    }

    /// Where a server's key and certificate are: below its data, or where the configuration says.
    private func identityDirectory(_ role: Role, _ host: String) -> String {
        let below: String
        if let given = configuration[Schema.Identity.directory] {
            below = given
        } else if role == .seed || role == .peer {
            below = configuration[Schema.Peer.dataDirectory] + "/identity"
        } else {
            let database = configuration[Schema.Manager.database]
            below = (database.lastIndex(of: "/").map { String(database[..<$0]) } ?? ".") + "/identity"
        }
        return "\(below)/\(role)-\(host)"
    }

    private func configuredToken() throws -> JoinToken? {
        let text: String
        if let given = configuration[Schema.Identity.token] {
            text = given
        } else if let path = configuration[Schema.Identity.tokenFile] {
            text = try read(path)
        } else {
            return nil
        }
        guard let token = JoinToken(text) else {
            throw CommandFailure(
                .usage, "the join token is none: it looks like martlet-ID.SECRET.PIN, as martlet token create prints it"
            )
        }
        Redaction.remember(token.secret)
        return token
    }

    /// What the body gives, unless somebody asks the command to stop before.
    private func untilStopped<Value: Sendable>(_ body: @escaping @Sendable () async throws -> Value) async throws
        -> Value
    {
        let work = Task { try await body() }
        stop.onRequest { _ in work.cancel() }
        return try await work.value
    }

    /// A PEM file or a token: at most 1 MiB.
    private func read(_ path: String) throws -> String {
        guard let file = fopen(path, "r") else {
            throw CommandFailure(.usage, "cannot read \(path): \(String(cString: strerror(errno)))")
        }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        let count = fread(&bytes, 1, bytes.count, file)
        return String(decoding: bytes[..<count], as: UTF8.self)
    }
}

/// Credentials of two members that live and die with one process: an authority that is nowhere but here.
struct PrivateCluster: Sendable {
    let scheduler: RPCCredentials
    let seed: RPCCredentials

    init(cluster: String, host: String, nowUnixS: Int64) throws {
        let authority = try Authority(cluster: cluster, nowUnixS: nowUnixS)
        func issue(_ role: Role) throws(IdentityError) -> RPCCredentials {
            let key = try PrivateKey()
            let certificate = try authority.issue(
                request: try key.request(), to: try MemberIdentity(cluster: cluster, role: role, host: host),
                lifeS: Authority.memberLifeMaxS, nowUnixS: nowUnixS)
            return .rotating(
                RPCIdentity(
                    IdentityStore.Contents(key: key, certificate: certificate, authority: authority.certificate)
                        .material))
        }
        scheduler = try issue(.scheduler)
        seed = try issue(.seed)
    }
}
