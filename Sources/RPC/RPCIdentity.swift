import CGRPC
import Synchronization

/// A key with its certificates, to be exchanged for newer ones while servers and channels use it.
///
/// A server shows the newest from its next handshake on; a channel takes what is newest when it is made. Connections that
/// are there already stay as they are. Thread-safe; equal only to itself.
public final class RPCIdentity: Sendable, Hashable {
    /// What one side of a connection needs, as PEM texts.
    public struct Material: Sendable, Hashable, CustomStringConvertible, CustomDebugStringConvertible {
        /// Whom the other side's certificate must come from.
        public var caPEM: String
        /// The certificate, its issuer's behind it.
        public var certPEM: String
        /// Its private key.
        public var keyPEM: String

        /// Groups them.
        public init(caPEM: String, certPEM: String, keyPEM: String) {
            self.caPEM = caPEM
            self.certPEM = certPEM
            self.keyPEM = keyPEM
        }

        /// Says nothing of it.
        public var description: String { "a key with its certificate" }
        /// Says nothing of it.
        public var debugDescription: String { description }
    }

    private let state: Mutex<(material: Material, version: UInt64)>

    /// Begins with these.
    public init(_ material: Material) { state = Mutex((material, 1)) }

    /// The newest.
    public var current: Material { state.withLock { $0.material } }

    /// Exchanges them.
    public func replace(_ material: Material) {
        state.withLock { state in
            state.material = material
            state.version += 1
        }
    }

    /// Whether it is the same object.
    public static func == (left: RPCIdentity, right: RPCIdentity) -> Bool { left === right }
    /// By the object.
    public func hash(into hasher: inout Hasher) { hasher.combine(ObjectIdentifier(self)) }

    /// gRPC's credentials for a listener; to be released by the caller.
    func makeServerCredentials(requiresClients: Bool) -> OpaquePointer? {
        // gRPC does not say when it is done with the context: one of these per listener stays for good.
        let context = Unmanaged.passRetained(Reload(self)).toOpaque()
        return martlet_rpc_rotating_server_tls(
            requiresClients ? 1 : 0,
            { context, config in
                guard let context, let config else { return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_FAIL }
                // Safety: retained above, and never released.
                return Unmanaged<Reload>.fromOpaque(context).takeUnretainedValue().fetch(config)
            }, context)
    }

    /// One listener's view: which version it has.
    private final class Reload: Sendable {
        private let identity: RPCIdentity
        private let versionShown = Mutex<UInt64>(0)

        init(_ identity: RPCIdentity) { self.identity = identity }

        func fetch(
            _ config: UnsafeMutablePointer<OpaquePointer?>
        ) -> grpc_ssl_certificate_config_reload_status {
            let (material, version) = identity.state.withLock { $0 }
            guard versionShown.withLock({ $0 }) != version else {
                return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED
            }
            guard let made = martlet_rpc_certificate_config(material.caPEM, material.certPEM, material.keyPEM) else {
                return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_FAIL
            }
            config.pointee = made
            versionShown.withLock { $0 = version }
            return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW
        }
    }
}

/// What gRPC counts of TLS in this process.
public enum RPCHandshakes {
    /// Handshakes that failed, as a server and as a client: strangers, wrong certificates, no TLS at all.
    public static var failures: UInt64 { martlet_rpc_handshake_failures() }
}
