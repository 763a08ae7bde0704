import ControlAPI
import RPC
import TLS
import Transport

/// How a host's links are secured: by the certificate that it shows on the control plane too.
struct RailSecurity: Sendable {
    /// nil: nobody proves anything, on this machine alone.
    let links: LinkSecurity?
    let authenticator: any HandshakeAuthenticator

    /// Nobody proves anything.
    static let none = RailSecurity(links: nil, authenticator: ClusterNameAuthenticator())

    private init(links: LinkSecurity?, authenticator: any HandshakeAuthenticator) {
        self.links = links
        self.authenticator = authenticator
    }

    /// Takes what the host proves itself with toward schedulers.
    init(_ credentials: RPCCredentials, revocations: Revocations) {
        let isRevoked: @Sendable (LinkProof) -> Bool = { revocations.contains($0.serial) }
        switch credentials {
        case .rotating(let identity, _, _):
            links = LinkSecurity { TLSMaterial(identity.current) }
            authenticator = CertificateAuthenticator(isRevoked: isRevoked)
        case .mutualTLS(let caPEM, let certPEM, let keyPEM, _):
            let material = TLSMaterial(authorityPEM: caPEM, certificatePEM: certPEM, keyPEM: keyPEM)
            links = LinkSecurity { material }
            authenticator = CertificateAuthenticator(admitsUnnamed: true, isRevoked: isRevoked)
        case .insecure:
            self = .none
        case .tls, .serverTLS:
            preconditionFailure("a host that others read from shows a certificate and wants one")
        }
    }
}

extension TLSMaterial {
    fileprivate init(_ material: RPCIdentity.Material) {
        self.init(authorityPEM: material.caPEM, certificatePEM: material.certPEM, keyPEM: material.keyPEM)
    }
}
