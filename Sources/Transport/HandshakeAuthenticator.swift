/// Decides which hosts of the own cluster may have a link.
///
/// Called on the rail's thread when a far side has announced itself and before the link comes up; must not block. Nothing
/// of a link (no message, no export) exists before `admits` said yes. The data streams of a link prove that they belong to
/// it with a random ticket handed out inside the handshake.
public protocol HandshakeAuthenticator: Sendable {
    /// Whether this host may have a link. The cluster has been compared already.
    ///
    /// - Parameter proof: what the far side's certificate says; nil where the connection is not secured.
    func admits(_ peer: LinkIdentity, proof: LinkProof?, inbound: Bool) -> Bool
}

/// Admits every host that names the own cluster: for one's own machine, and networks where everyone is trusted.
public struct ClusterNameAuthenticator: HandshakeAuthenticator {
    /// Makes one.
    public init() {}
    /// Says yes to everyone.
    public func admits(_ peer: LinkIdentity, proof: LinkProof?, inbound: Bool) -> Bool { true }
}

/// Admits a host whose certificate names it: `martlet://CLUSTER/ROLE/HOST` with a role that may have links, in a certificate
/// that was not revoked.
public struct CertificateAuthenticator: HandshakeAuthenticator {
    private let roles: [String]
    private let admitsUnnamed: Bool
    private let isRevoked: @Sendable (LinkProof) -> Bool

    /// Admits hosts of these roles.
    ///
    /// - Parameters:
    ///   - admitsUnnamed: whether a certificate that names no member of any cluster will do: where an authority of
    ///     someone's own vouches for hosts in its own way, and signs nobody else.
    ///   - isRevoked: asked on rails' threads; must not block.
    public init(
        roles: [String] = ["peer", "seed"], admitsUnnamed: Bool = false,
        isRevoked: @escaping @Sendable (LinkProof) -> Bool = { _ in false }
    ) {
        self.roles = roles
        self.admitsUnnamed = admitsUnnamed
        self.isRevoked = isRevoked
    }

    /// Whether the certificate names the host that was announced.
    public func admits(_ peer: LinkIdentity, proof: LinkProof?, inbound: Bool) -> Bool {
        guard let proof, !isRevoked(proof) else { return false }
        if admitsUnnamed, !proof.names.contains(where: { $0.hasPrefix("martlet://") }) { return true }
        let own = roles.map { "martlet://\(peer.cluster)/\($0)/\(peer.host)" }
        return proof.names.contains(where: own.contains)
    }
}
