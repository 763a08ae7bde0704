import CGRPC

/// What a server or a client proves who it is with: the one value that all of them take.
///
/// Keys and certificates are PEM texts. Its description never shows them.
public enum RPCCredentials: Sendable, Hashable, CustomStringConvertible, CustomDebugStringConvertible {
    /// Nobody proves anything, nothing is encrypted.
    case insecure
    /// Both sides show a certificate signed by `caPEM`'s authority, and refuse one that is not.
    ///
    /// A client checks that the server's certificate names the host it connects to, or `serverName` where it is set (a
    /// Unix socket has no host). On a server `serverName` means nothing.
    case mutualTLS(caPEM: String, certPEM: String, keyPEM: String, serverName: String? = nil)
    /// A client that checks the server and shows nothing itself.
    case tls(caPEM: String, serverName: String? = nil)
    /// A server that shows a certificate and asks clients for none.
    case serverTLS(certPEM: String, keyPEM: String)

    /// Mutual TLS with certificates that are exchanged while it is used: connections made from then on use the new ones.
    ///
    /// `serverName` is the name that a client expects of the server. `admitsStrangers`: the server lets clients without a
    /// certificate connect (never one whose certificate is wrong); what they may call is for `RPCServerOptions.admit`.
    case rotating(RPCIdentity, serverName: String? = nil, admitsStrangers: Bool = false)

    /// Whether connections prove anything.
    public var isInsecure: Bool { self == .insecure }

    /// Which kind it is, without secrets.
    public var description: String {
        switch self {
        case .insecure: "insecure"
        case .mutualTLS: "mutual TLS"
        case .tls: "TLS (client)"
        case .serverTLS: "TLS (server)"
        case .rotating: "mutual TLS, rotating"
        }
    }

    /// The same as the description.
    public var debugDescription: String { description }

    /// The name that a client expects in the server's certificate, where it is not the host's.
    var serverName: String? {
        switch self {
        case .mutualTLS(_, _, _, let serverName), .tls(_, let serverName), .rotating(_, let serverName, _): serverName
        case .insecure, .serverTLS: nil
        }
    }

    /// gRPC's credentials for a channel; to be released by the caller.
    func makeChannelCredentials() throws(RPCError) -> OpaquePointer {
        let made: OpaquePointer?
        switch self {
        case .insecure:
            made = grpc_insecure_credentials_create()
        case .mutualTLS(let caPEM, let certPEM, let keyPEM, _):
            try Self.check(certificates: [caPEM, certPEM], key: keyPEM)
            made = martlet_rpc_client_tls(caPEM, certPEM, keyPEM)
        case .tls(let caPEM, _):
            try Self.check(certificates: [caPEM], key: nil)
            made = martlet_rpc_client_tls(caPEM, nil, nil)
        case .rotating(let identity, _, _):
            let now = identity.current
            made = martlet_rpc_client_tls(now.caPEM, now.certPEM, now.keyPEM)
        case .serverTLS:
            throw RPCError(
                .invalidArgument, "a client cannot use a server's TLS credentials; give it .tls or .mutualTLS"
            )
        }
        guard let made else { throw RPCError(.invalidArgument, "gRPC refused the \(self) credentials") }
        return made
    }

    /// gRPC's credentials for a listener; to be released by the caller.
    func makeServerCredentials() throws(RPCError) -> OpaquePointer {
        let made: OpaquePointer?
        switch self {
        case .insecure:
            made = grpc_insecure_server_credentials_create()
        case .mutualTLS(let caPEM, let certPEM, let keyPEM, _):
            try Self.check(certificates: [caPEM, certPEM], key: keyPEM)
            made = martlet_rpc_server_tls(caPEM, certPEM, keyPEM)
        case .serverTLS(let certPEM, let keyPEM):
            try Self.check(certificates: [certPEM], key: keyPEM)
            made = martlet_rpc_server_tls(nil, certPEM, keyPEM)
        case .rotating(let identity, _, let admitsStrangers):
            made = identity.makeServerCredentials(requiresClients: !admitsStrangers)
        case .tls:
            throw RPCError(
                .invalidArgument,
                "a server cannot use a client's TLS credentials; give it .serverTLS or .mutualTLS")
        }
        guard let made else { throw RPCError(.invalidArgument, "gRPC refused the \(self) credentials") }
        return made
    }

    /// gRPC accepts any text and fails at the first connection; this finds a file that was swapped or is empty.
    private static func check(certificates: [String], key: String?) throws(RPCError) {
        guard certificates.allSatisfy({ $0.contains("-----BEGIN CERTIFICATE-----") }) else {
            throw RPCError(
                .invalidArgument, "a certificate is not PEM: it has no line -----BEGIN CERTIFICATE-----")
        }
        guard key?.contains("PRIVATE KEY-----") ?? true else {
            throw RPCError(.invalidArgument, "the key is not PEM: it has no line -----BEGIN PRIVATE KEY-----")
        }
    }
}
