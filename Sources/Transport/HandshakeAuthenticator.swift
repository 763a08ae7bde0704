/// Decides which hosts of the own cluster may have a link.
///
/// Called on the rail's thread when a far side has announced itself and before the link comes up; must not block. This
/// is where mutual TLS of the handshake comes in: the far side's certificate is checked against the announced identity
/// here, and nothing of a link (no message, no export) exists before `admits` said yes. The data streams of a link
/// prove that they belong to it with a random ticket handed out inside the handshake.
public protocol HandshakeAuthenticator: Sendable {
    /// Whether this host may have a link. The cluster has been compared already.
    func admits(_ peer: LinkIdentity, inbound: Bool) -> Bool
}

/// Admits every host that names the own cluster: for trusted networks, until there are certificates.
public struct ClusterNameAuthenticator: HandshakeAuthenticator {
    /// Makes one.
    public init() {}
    /// Says yes to everyone.
    public func admits(_ peer: LinkIdentity, inbound: Bool) -> Bool { true }
}
