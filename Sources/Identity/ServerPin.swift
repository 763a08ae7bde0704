import CCrypto

/// How a joiner finds out which authority a manager has, before it can check anybody's certificate.
public enum ServerPin {
    /// The authority whose public key has this hash, as a server shows it in its handshake.
    ///
    /// Nothing is sent and nothing else is believed; a server that shows another authority, or a certificate that this one
    /// did not sign, is refused (`untrusted`), a manager of another cluster with `otherCluster`. Blocks for at most `timeoutMs`: not for the cooperative pool.
    public static func authority(
        host: String, port: UInt16, pin: String, cluster: String, timeoutMs: Int32, nowUnixS: Int64
    ) throws(IdentityError) -> Certificate {
        var failure: CInt = 0
        let text: String
        do throws(IdentityError) {
            text = try PEMText.make("read a chain") { pem, capacity in
                failure = martlet_crypto_fetch_chain(host, "\(port)", timeoutMs, pem, capacity)
                return failure
            }
        } catch {
            throw unreachable("\(host):\(port)", -failure)
        }
        let chain = try Certificate.chain(pem: text)
        guard let leaf = chain.first, let authority = chain.first(where: { $0.isAuthority && $0.pin == pin }) else {
            throw IdentityError(
                .untrusted,
                "the manager at \(host):\(port) belongs to another authority than the token; check the address, or get a token from that manager"
            )
        }
        guard leaf.isSigned(by: authority, atUnixS: nowUnixS) else {
            throw IdentityError(
                .untrusted,
                "the manager at \(host):\(port) shows a certificate that its authority did not sign, or that is not valid now; check this machine's clock"
            )
        }
        if let manager = leaf.identity, manager.cluster != cluster {
            throw IdentityError(
                .otherCluster,
                "the manager at \(host):\(port) is that of cluster \(manager.cluster), not of ‘\(cluster)’; set cluster.name, or give another manager"
            )
        }
        return authority
    }

    private static func unreachable(_ address: String, _ error: CInt) -> IdentityError {
        let why =
            switch error {
            case ECONNREFUSED: "nobody listens there"
            case ETIMEDOUT: "it does not answer in time"
            case ENXIO: "the host name is not known"
            case EPROTO: "it does not speak TLS 1.3 (was it started with --insecure?)"
            default: "errno \(error)"
            }
        return IdentityError(.unreachable, "cannot reach the manager at \(address): \(why)")
    }
}
