import ControlAPI
import Dispatch
import Identity
import Observability
import RPC
import System

/// A manager's trust as it runs: the authority's files, the core, and the manager's own certificate, kept fresh.
final class TrustKeeper: Sendable {
    let core: TrustCore
    /// The manager's own; members without a certificate may connect, to join.
    let credentials: RPCCredentials
    private let held: RPCIdentity
    private let identity: MemberIdentity
    private let lifeS: Int64
    private let log: Logger

    private init(_ core: TrustCore, _ identity: MemberIdentity, _ held: RPCIdentity, lifeS: Int64, log: Logger) {
        self.core = core
        self.identity = identity
        self.held = held
        self.lifeS = lifeS
        self.log = log
        credentials = .rotating(held, admitsStrangers: true)
    }

    /// Opens the authority, or makes it; nil where the configuration says that there is none.
    static func start(
        _ configuration: ManagerConfiguration, database: DatabaseQueue, log: Logger
    ) async throws -> TrustKeeper? {
        guard let directory = configuration.authorityDirectory else { return nil }
        let identity = try MemberIdentity(cluster: configuration.cluster, role: .manager, host: "manager")
        let (authority, isNew) = try await withCheckedThrowingContinuation { continuation in
            DispatchQueue.global().async {
                continuation.resume(
                    with: Result {
                        try Authority.loadOrCreate(
                            IdentityStore(path: directory), cluster: configuration.cluster,
                            nowUnixS: WallClock.nowSeconds())
                    })
            }
        }
        let core = try await TrustCore(
            cluster: configuration.cluster, authority: authority, certificateLifeS: configuration.certificateLifeS,
            database: TrustDatabase(queue: database))
        log.info(
            isNew ? "made the cluster's authority" : "opened the cluster's authority",
            ["directory": .text(directory), "pin": .text(authority.pin)])
        return TrustKeeper(
            core, identity, RPCIdentity(try core.own(identity).material), lifeS: configuration.certificateLifeS,
            log: log)
    }

    /// Renews the manager's own certificate until the task is cancelled.
    func run() async {
        while !Task.isCancelled {
            // By half its life: nobody else is asked for it, so it costs nothing.
            try? await Task.sleep(for: .milliseconds(max(500, min(60_000, lifeS * 125))))
            guard let now = try? Certificate(pem: held.current.certPEM),
                WallClock.nowSeconds() * 2 >= now.notBeforeUnixS + Authority.clockSkewS + now.notAfterUnixS
            else { continue }
            do throws(IdentityError) { held.replace(try core.own(identity).material) } catch {
                log.error("the manager's own certificate is not renewed", ["reason": .text(error.sentence)])
            }
        }
    }
}
