import Identity
import RPC
import Synchronization
import System

/// Certificates that are not to be believed though they have not expired. Thread-safe.
public final class Revocations: Sendable {
    /// Far more than a cluster revokes within the life of a certificate.
    public static let serialsMax = 100_000
    private let serials = Mutex<Set<String>>([])

    /// None yet.
    public init() {}

    /// Replaces all.
    public func replace(_ new: some Sequence<String>) {
        serials.withLock { $0 = Set(new.prefix(Revocations.serialsMax)) }
    }
    /// Whether this one is revoked.
    public func contains(_ serial: String) -> Bool { serials.withLock { $0.contains(serial) } }
    /// How many there are.
    public var count: Int { serials.withLock { $0.count } }
}

/// Who makes a call, as far as the connection proves it.
public enum Caller: Hashable, Sendable {
    /// Came by the Unix socket, whose file says who may.
    case local
    /// Showed a certificate of the cluster's authority.
    case member(MemberIdentity, serial: String)
    /// Showed a certificate of a given authority that names no Martlet identity.
    case unnamed(serial: String)
    /// Showed nothing.
    case stranger
}

/// Stands before every method of a server: lets through whom `AccessTable` names, and refuses, counts and tells the rest.
///
/// Thread-safe; never blocks.
public final class Gatekeeper: Sendable {
    /// Why somebody was refused.
    public enum Reason: String, Hashable, Sendable, CaseIterable {
        /// No certificate.
        case stranger
        /// A certificate of another cluster.
        case cluster
        /// A role that may not.
        case role
        /// A certificate whose time is over, or has not come.
        case expired
        /// A certificate that was revoked.
        case revoked
        /// Somebody who says to be another than the certificate says.
        case impostor
        /// A join token that is not valid, or not for that identity.
        case token
        /// A method without a row.
        case unknown
    }

    private struct State {
        var read: [String: Certificate] = [:]
        var refusals: [Reason: UInt64] = [:]
    }

    /// Certificates whose reading is remembered; more are read again.
    private static let readMax = 16_384

    /// The cluster whose members may come.
    public let cluster: String
    /// What it looks up.
    public let revocations: Revocations
    private let isOpen: Bool
    private let onRefusal: @Sendable (Reason, String, String) -> Void
    private let state = Mutex(State())

    /// A gatekeeper of a cluster's server.
    ///
    /// - Parameters:
    ///   - isOpen: whoever can connect may call: for servers without TLS, which listen on this machine alone.
    ///   - onRefusal: reason, method and who it was; for the log. Must not block.
    public init(
        cluster: String, revocations: Revocations, isOpen: Bool,
        onRefusal: @escaping @Sendable (Reason, _ method: String, _ who: String) -> Void = { _, _, _ in }
    ) {
        self.cluster = cluster
        self.revocations = revocations
        self.isOpen = isOpen
        self.onRefusal = onRefusal
    }

    /// How often it refused, by reason.
    public var refusals: [(reason: Reason, count: UInt64)] {
        state.withLock { state in Reason.allCases.map { ($0, state.refusals[$0] ?? 0) } }
    }

    /// Counts a refusal that a handler decided on.
    public func count(_ reason: Reason) { state.withLock { $0.refusals[reason, default: 0] += 1 } }

    /// Why a call may not be made; nil when it may. For `RPCServerOptions.admit`.
    public func admit(_ context: RPCServerContext) -> RPCError? {
        guard let row = AccessTable.row(for: context.method) else {
            return refused(.unknown, context, .unimplemented, "this server has no method \(context.method)")
        }
        if isOpen { return nil }
        guard let pem = context.peerCertificate else {
            if context.isLocal ? row.admitsLocal : row.admitsStrangers { return nil }
            return refused(
                .stranger, context, .unauthenticated,
                "\(context.method) needs a certificate of this cluster; get one by joining with a token (martlet token create)"
            )
        }
        guard let certificate = read(pem) else {
            return refused(.stranger, context, .unauthenticated, "the certificate cannot be read")
        }
        let nowS = WallClock.nowSeconds()
        guard certificate.notBeforeUnixS <= nowS, nowS < certificate.notAfterUnixS else {
            return refused(
                .expired, context, .unauthenticated, "the certificate is not valid now; renew it, or join anew")
        }
        guard !revocations.contains(certificate.serial) else {
            return refused(
                .revoked, context, .unauthenticated, "the certificate was revoked; join anew with a new token")
        }
        guard let identity = certificate.identity else {
            // A given authority may not know of roles: its members are members, and nobody's masters.
            if row.roles.isDisjoint(with: [.scheduler, .seed, .peer]) {
                return refused(
                    .role, context, .permissionDenied,
                    "\(context.method) needs a certificate that names its role: martlet://CLUSTER/ROLE/HOST")
            }
            return nil
        }
        guard identity.cluster == cluster else {
            return refused(
                .cluster, context, .permissionDenied,
                "the certificate is of cluster \(identity.cluster), this server is of \(cluster)")
        }
        guard row.roles.contains(identity.role) else {
            return refused(.role, context, .permissionDenied, "a \(identity.role) may not call \(context.method)")
        }
        return nil
    }

    /// Who makes a call that was admitted.
    public func caller(_ context: RPCServerContext) -> Caller {
        guard let pem = context.peerCertificate, let certificate = read(pem) else {
            return context.isLocal ? .local : .stranger
        }
        return certificate.identity.map { .member($0, serial: certificate.serial) }
            ?? .unnamed(serial: certificate.serial)
    }

    /// Checks that somebody who announces itself by these names is who its certificate says; throws `permissionDenied`.
    public func check(
        _ context: RPCServerContext, announces role: Role, host: String, cluster announced: String
    ) throws(RPCError) {
        guard !isOpen, case .member(let identity, _) = caller(context) else { return }
        guard identity.role == role, identity.host == host, identity.cluster == announced else {
            let sentence =
                "‘\(host.prefix(80))’ announces itself as \(role) of cluster ‘\(announced.prefix(80))’, but its certificate is \(identity)'s"
            throw refused(.impostor, context, .permissionDenied, sentence)
        }
    }

    private func refused(
        _ reason: Reason, _ context: RPCServerContext, _ status: RPCStatus, _ sentence: String
    ) -> RPCError {
        state.withLock { $0.refusals[reason, default: 0] += 1 }
        let who = context.peerCertificate.flatMap { read($0)?.identity?.uri }
        onRefusal(reason, context.method, who.map { "\($0) from \(context.peer)" } ?? context.peer)
        return RPCError(status, sentence)
    }

    private func read(_ pem: String) -> Certificate? {
        if let known = state.withLock({ $0.read[pem] }) { return known }
        guard let certificate = try? Certificate(pem: pem) else { return nil }
        state.withLock { state in
            if state.read.count >= Gatekeeper.readMax { state.read = [:] }
            state.read[pem] = certificate
        }
        return certificate
    }
}

extension RPCCredentials {
    /// The same, expecting a server of this role and cluster. Given files (`.mutualTLS`) check the host's name as ever.
    public func toward(_ role: Role, cluster: String) -> RPCCredentials {
        guard case .rotating(let identity, _, let admitsStrangers) = self else { return self }
        return .rotating(
            identity, serverName: MemberIdentity.serverName(role, cluster: cluster), admitsStrangers: admitsStrangers)
    }
}
