/// Where a process's credentials lie.
public struct CredentialFiles: Hashable, Sendable {
    /// PEM: the authority that others' certificates must come from.
    public let caPath: String
    /// PEM: this process's certificate chain.
    public let certificatePath: String
    /// PEM: its private key.
    public let keyPath: String
}

/// How a process proves who it is, and how others must: the same for all its servers and clients.
public enum Credentials: Hashable, Sendable {
    /// Nobody proves anything; on this machine alone.
    case plaintext
    /// Both sides show a certificate of the same authority: given files.
    case mutualTLS(CredentialFiles)
    /// The same, with certificates of the cluster's own authority, which the process gets and renews by itself.
    case joined
}

extension Configuration {
    /// The process's credentials, from `tls.*` and nowhere else: given files, else plaintext where `tls.insecure` says so,
    /// else an identity of the cluster's own.
    ///
    /// Refuses half a set of files, and plaintext with any address that is not loopback.
    public func credentials(listening: [NetworkAddress]) throws(ConfigurationError) -> Credentials {
        let parts = [(Schema.TLS.ca), (Schema.TLS.certificate), (Schema.TLS.key)]
        let missing = parts.filter { self[$0] == nil }
        if let ca = self[Schema.TLS.ca], let certificate = self[Schema.TLS.certificate],
            let key = self[Schema.TLS.key]
        {
            return .mutualTLS(CredentialFiles(caPath: ca, certificatePath: certificate, keyPath: key))
        }
        guard missing.count == parts.count else {
            throw ConfigurationError(
                .conflict,
                "\(missing.map(\.key.name).joined(separator: " and ")) is missing; mutual TLS needs tls.ca, tls.cert and tls.key"
            )
        }
        guard self[Schema.TLS.insecure] else { return .joined }
        let toward = self[Schema.Manager.addresses] + self[Schema.Peer.schedulers]
        if let exposed = (listening + toward).first(where: { !$0.isLoopback }) {
            throw ConfigurationError(
                .conflict,
                "\(exposed) is beyond this machine, where --insecure is refused; leave it out and join with a token, "
                    + "or give tls.ca, tls.cert and tls.key")
        }
        return .plaintext
    }
}
