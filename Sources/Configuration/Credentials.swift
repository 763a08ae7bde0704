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
    /// Nobody proves anything.
    case plaintext
    /// Both sides show a certificate of the same authority.
    case mutualTLS(CredentialFiles)
}

extension Configuration {
    /// The process's credentials, from `tls.*` and nowhere else.
    ///
    /// Refuses half a set, and listening without TLS where other machines can connect unless `tls.insecure` says so.
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
        if !self[Schema.TLS.insecure], let exposed = listening.first(where: { !$0.isLoopback }) {
            throw ConfigurationError(
                .conflict,
                "\(exposed) can be reached from other machines and there is no TLS; "
                    + "give tls.ca, tls.cert and tls.key, or accept it with --tls-insecure")
        }
        return .plaintext
    }
}
