import Dispatch
import Identity
import RPC
import Synchronization
import System

/// A member's own certificate: got with a token or found on disk, renewed before it expires, and the list of those that were
/// revoked.
///
/// None → joined → renewed → …; a manager that is away changes nothing until the certificate expires. Thread-safe.
public final class IdentityKeeper: Sendable {
    /// Who to be, where to keep it, whom to ask.
    public struct Settings: Sendable {
        /// Who to be.
        public var identity: MemberIdentity
        /// Where key and certificates are kept.
        public var store: IdentityStore
        /// Where managers are; tried in turn.
        public var managers: [RPCAddress]
        /// What to join with; nil: only with what is kept.
        public var token: JoinToken?
        /// How long to try to join while no manager answers.
        public var joinLimit: Duration = .seconds(60)

        /// Describes an identity to be had.
        public init(identity: MemberIdentity, store: IdentityStore, managers: [RPCAddress], token: JoinToken?) {
            self.identity = identity
            self.store = store
            self.managers = managers
            self.token = token
        }
    }

    /// What may be worth a line in the log.
    public enum Note: Sendable, Hashable {
        /// Got a certificate with the token; valid until this second.
        case joined(untilUnixS: Int64)
        /// Got the next one.
        case renewed(untilUnixS: Int64)
        /// It was tried again later: why.
        case failed(String)
    }

    /// The longest pause between attempts.
    private static let pauseMax = Duration.seconds(30)

    /// Certificates not to be believed, as the manager says.
    public let revocations = Revocations()
    private let settings: Settings
    private let held: RPCIdentity
    private let certificate: Mutex<Certificate>
    private let onNote: @Sendable (Note) -> Void

    private init(_ settings: Settings, _ contents: IdentityStore.Contents, _ onNote: @escaping @Sendable (Note) -> Void)
    {
        self.settings = settings
        held = RPCIdentity(contents.material)
        certificate = Mutex(contents.certificate)
        self.onNote = onNote
    }

    /// Finds the identity on disk, or joins with the token. Throws `IdentityError`, or the manager's refusal (`RPCError`).
    public static func establish(
        _ settings: Settings, onNote: @escaping @Sendable (Note) -> Void = { _ in }
    ) async throws -> IdentityKeeper {
        let kept = try await Blocking.run { () throws(IdentityError) in try settings.store.load() }
        if let kept, isUsable(kept, settings) { return IdentityKeeper(settings, kept, onNote) }
        guard let token = settings.token else {
            throw IdentityError(
                .untrusted,
                "this \(settings.identity.role) has no valid certificate in \(settings.store.path): get a token by `martlet token create --role \(settings.identity.role)` on the manager's machine and give it by --token-file (or use --insecure, on this machine alone)"
            )
        }
        let contents = try await joinPatiently(settings, token, onNote)
        onNote(.joined(untilUnixS: contents.certificate.notAfterUnixS))
        return IdentityKeeper(settings, contents, onNote)
    }

    /// How to prove who we are, as server and as client; it changes by itself.
    public var credentials: RPCCredentials { .rotating(held) }
    /// Until when the present certificate is valid.
    public var validUntilUnixS: Int64 { certificate.withLock { $0.notAfterUnixS } }

    /// Renews and listens for revocations until the task is cancelled.
    public func run() async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.keepRenewed() }
            group.addTask { await self.keepWatching() }
        }
    }

    private static func isUsable(_ kept: IdentityStore.Contents, _ settings: Settings) -> Bool {
        guard kept.certificate.identity == settings.identity else { return false }
        // A token of another authority: the server is to move to another cluster.
        if let token = settings.token, token.pin != kept.authority.pin { return false }
        return kept.certificate.isSigned(by: kept.authority, atUnixS: WallClock.nowSeconds())
    }

    // Joining

    private static func joinPatiently(
        _ settings: Settings, _ token: JoinToken, _ onNote: @Sendable (Note) -> Void
    ) async throws -> IdentityStore.Contents {
        guard !settings.managers.isEmpty else {
            throw IdentityError(.malformed, "a token is no use without a manager to join by; give --manager")
        }
        let end = ContinuousClock.now.advanced(by: settings.joinLimit)
        var failures = 0
        while true {
            do {
                return try await join(settings, token, settings.managers[failures % settings.managers.count])
            } catch {
                let isPassing =
                    switch error {
                    case let error as IdentityError: error.code == .unreachable
                    case let error as RPCError: [.unavailable, .deadlineExceeded].contains(error.status)
                    default: false
                    }
                guard isPassing, ContinuousClock.now < end, !Task.isCancelled else { throw error }
                if failures == 0 { onNote(.failed("\(error)")) }
            }
            failures += 1
            try await Task.sleep(for: .milliseconds(min(2_000, 100 << min(failures, 5))))
        }
    }

    private static func join(
        _ settings: Settings, _ token: JoinToken, _ manager: RPCAddress
    ) async throws -> IdentityStore.Contents {
        guard case .tcp(let host, let port) = manager else {
            throw IdentityError(.malformed, "a manager's address is a host and a port, not \(manager)")
        }
        let (authority, key, request) = try await Blocking.run { () throws(IdentityError) in
            let authority = try ServerPin.authority(
                host: host, port: port, pin: token.pin, cluster: settings.identity.cluster, timeoutMs: 5_000,
                nowUnixS: WallClock.nowSeconds())
            let key = try PrivateKey()
            return (authority, key, try key.request())
        }
        let identity = settings.identity
        let channel = try RPCChannel(
            to: manager,
            credentials: .tls(
                caPEM: authority.pem, serverName: MemberIdentity.serverName(.manager, cluster: identity.cluster)),
            options: ControlLimits.channel)
        defer { channel.close() }
        let answer = try await TrustClient(channel).join(
            Wire.JoinRequest(
                tokenID: token.id, tokenSecret: token.secret, certificateRequest: request, cluster: identity.cluster,
                role: identity.role.rawValue, host: identity.host))
        return try await accept(answer, key, authority, settings)
    }

    private static func accept(
        _ answer: Wire.Certification, _ key: PrivateKey, _ authority: Certificate, _ settings: Settings
    ) async throws -> IdentityStore.Contents {
        let certificate = try Certificate(pem: answer.certificate)
        guard certificate.isSigned(by: authority, atUnixS: WallClock.nowSeconds()), key.fits(certificate),
            certificate.identity == settings.identity
        else {
            throw IdentityError(
                .untrusted, "the manager's answer is no certificate for \(settings.identity); is it the right manager?")
        }
        let contents = IdentityStore.Contents(key: key, certificate: certificate, authority: authority)
        try await Blocking.run { () throws(IdentityError) in try settings.store.save(contents) }
        return contents
    }

    // Renewing

    /// At two thirds of its life; a tenth of it by chance, so that members do not all come at once.
    private func renewalUnixS() -> Int64 {
        let certificate = certificate.withLock { $0 }
        let began = certificate.notBeforeUnixS + Authority.clockSkewS
        let lifeS = Swift.max(0, certificate.notAfterUnixS - began)
        return began + lifeS * 2 / 3 - Int64.random(in: 0...Swift.max(0, lifeS / 10))
    }

    private func keepRenewed() async {
        var dueS = renewalUnixS()
        var pause = Duration.seconds(1)
        var failures = 0
        while !Task.isCancelled {
            // In slices, by the wall clock: a machine that slept notices.
            guard WallClock.nowSeconds() >= dueS else {
                try? await Task.sleep(for: .seconds(Swift.min(30, Swift.max(1, dueS - WallClock.nowSeconds()))))
                continue
            }
            do {
                try await renew(failures)
                failures = 0
                dueS = renewalUnixS()
                pause = .seconds(1)
            } catch {
                if Task.isCancelled { return }
                onNote(.failed("\(error)"))
                failures += 1
                try? await Task.sleep(for: pause)
                pause = Swift.min(pause * 2, IdentityKeeper.pauseMax)
            }
        }
    }

    private func renew(_ failures: Int) async throws {
        let isOver = WallClock.nowSeconds() >= validUntilUnixS
        let contents: IdentityStore.Contents
        guard !settings.managers.isEmpty else {
            throw IdentityError(.unreachable, "no manager is named that could renew the certificate; give --manager")
        }
        let manager = settings.managers[failures % settings.managers.count]
        if isOver, let token = settings.token {
            contents = try await IdentityKeeper.join(settings, token, manager)
        } else {
            let authority = try Certificate(pem: held.current.caPEM)
            let (key, request) = try await Blocking.run { () throws(IdentityError) in
                let key = try PrivateKey()
                return (key, try key.request())
            }
            let channel = try channelToManager(manager)
            defer { channel.close() }
            let answer = try await TrustClient(channel).renew(Wire.RenewRequest(certificateRequest: request))
            contents = try await IdentityKeeper.accept(answer, key, authority, settings)
        }
        certificate.withLock { $0 = contents.certificate }
        held.replace(contents.material)
        onNote(.renewed(untilUnixS: contents.certificate.notAfterUnixS))
    }

    private func channelToManager(_ manager: RPCAddress) throws(RPCError) -> RPCChannel {
        try RPCChannel(
            to: manager, credentials: credentials.toward(.manager, cluster: settings.identity.cluster),
            options: ControlLimits.channel)
    }

    // Revocations

    private func keepWatching() async {
        var failures = 0
        while !Task.isCancelled, !settings.managers.isEmpty {
            do {
                let channel = try channelToManager(settings.managers[failures % settings.managers.count])
                defer { channel.close() }
                let call = TrustClient(channel).watch(Wire.WatchRequest())
                defer { call.cancel() }
                while let state = try await call.receive() {
                    failures = 0
                    revocations.replace(state.revokedSerials)
                }
            } catch {
                // What was said last holds; the membership's own stream says that the manager is away.
            }
            failures += 1
            let backoffMs = Swift.min(5_000, 200 << Swift.min(failures, 5))
            try? await Task.sleep(for: .milliseconds(Int.random(in: backoffMs / 2...backoffMs)))
        }
    }
}

extension IdentityStore.Contents {
    /// What gRPC takes.
    public var material: RPCIdentity.Material {
        RPCIdentity.Material(caPEM: authority.pem, certPEM: certificate.pem, keyPEM: key.pem)
    }
}

/// Files and handshakes, off the cooperative pool.
enum Blocking {
    private static let queue = DispatchQueue(label: "martlet.identity", attributes: .concurrent)

    static func run<Value: Sendable>(
        _ body: @escaping @Sendable () throws(IdentityError) -> Value
    ) async throws(IdentityError) -> Value {
        let result = await withCheckedContinuation {
            (continuation: CheckedContinuation<Result<Value, IdentityError>, Never>) in
            queue.async { continuation.resume(returning: Result { () throws(IdentityError) in try body() }) }
        }
        return try result.get()
    }
}
