import CCrypto
import System

/// A cluster's certificate authority: signs its members' certificates, and nothing else.
///
/// Its key stays in the manager's process and in the file it is read from. A value; thread-safe.
public struct Authority: Sendable {
    /// How long a new authority lives, in seconds: ten years.
    public static let lifeS: Int64 = 10 * 365 * 86_400
    /// How far before now a certificate's life begins: clocks of a cluster differ.
    public static let clockSkewS: Int64 = 300
    /// The longest life of a member's certificate, in seconds: 30 days.
    public static let memberLifeMaxS: Int64 = 30 * 86_400

    /// Its own certificate: what members check each other against.
    public let certificate: Certificate
    let key: PrivateKey

    /// A new authority for a cluster.
    public init(cluster: String, nowUnixS: Int64) throws(IdentityError) {
        let key = try PrivateKey()
        let pem = try PEMText.make("make an authority") {
            martlet_crypto_make_authority(
                key.pem, "martlet authority", Authority.newSerial(), nowUnixS - Authority.clockSkewS,
                nowUnixS + Authority.lifeS, $0, $1)
        }
        try self.init(certificate: try Certificate(pem: pem), key: key)
    }

    /// An authority that was kept, or given; throws `malformed` where the two do not belong together.
    public init(certificate: Certificate, key: PrivateKey) throws(IdentityError) {
        guard certificate.isAuthority, key.fits(certificate) else {
            throw IdentityError(
                .malformed,
                "the authority's certificate does not fit its key, or may not sign others; give both of one authority")
        }
        self.certificate = certificate
        self.key = key
    }

    /// What joiners compare the authority with.
    public var pin: String { certificate.pin }

    /// Signs a member's certificate; names in the request are passed over, the identity alone counts.
    ///
    /// Throws `untrusted` for a request that its own key did not sign, `malformed` for one that is none. The text holds
    /// the authority's certificate behind the member's. It never lives longer than its authority.
    public func issue(
        request: String, to identity: MemberIdentity, lifeS: Int64, nowUnixS: Int64
    ) throws(IdentityError) -> Certificate {
        let life = max(1, min(lifeS, Authority.memberLifeMaxS))
        let uri = identity.uri
        let name = identity.serverName
        let host = identity.host
        let pem = try PEMText.make("sign a certificate") { text, capacity in
            Authority.with([uri, name, host, certificate.pem, key.pem, request]) { texts in
                Authority.newSerial().withUnsafeBufferPointer { serial in
                    withUnsafePointer(to: texts[1]) { names in
                        var order = martlet_crypto_issue_order(
                            authority_pem: texts[3], authority_key_pem: texts[4], request_pem: texts[5],
                            common_name: texts[2], uri: texts[0], dns_names: names, dns_name_count: 1,
                            serial: serial.baseAddress!, not_before_unix_s: nowUnixS - Authority.clockSkewS,
                            not_after_unix_s: min(nowUnixS + life, certificate.notAfterUnixS))
                        return martlet_crypto_issue(&order, text, capacity)
                    }
                }
            }
        }
        return try Certificate(pem: pem + certificate.pem)
    }

    /// 127 random bits: nobody can guess one, and no two are equal.
    private static func newSerial() -> [UInt8] {
        var serial = Entropy.bytes(Int(MARTLET_CRYPTO_SERIAL_BYTES))
        serial[0] = serial[0] & 0x7F | 0x40
        return serial
    }

    /// Texts as C strings for the time of a call.
    private static func with<Result>(_ texts: [String], _ body: ([UnsafePointer<CChar>]) -> Result) -> Result {
        func next(_ rest: ArraySlice<String>, _ made: [UnsafePointer<CChar>]) -> Result {
            guard let first = rest.first else { return body(made) }
            return first.withCString { next(rest.dropFirst(), made + [$0]) }
        }
        return next(texts[...], [])
    }
}
