import CCrypto

/// A certificate and what it says. Reading one does not verify it.
public struct Certificate: Hashable, Sendable {
    /// PEM; its issuer's may follow it.
    public let pem: String
    /// Hexadecimal; unique among those of one authority.
    public let serial: String
    /// Valid from this second on.
    public let notBeforeUnixS: Int64
    /// Valid until this second.
    public let notAfterUnixS: Int64
    /// SHA-256 of its public key, hexadecimal: what a token pins of an authority.
    public let pin: String
    /// Whether it may sign others.
    public let isAuthority: Bool
    /// Whom it names; nil when that is no Martlet identity.
    public let identity: MemberIdentity?

    /// Reads the first certificate of a PEM text.
    public init(pem: String) throws(IdentityError) {
        var read = martlet_crypto_certificate()
        let result = martlet_crypto_describe(pem, &read)
        guard result == 0 else { throw PEMText.failure("read a certificate", -result) }
        self.pem = pem
        serial = withUnsafeBytes(of: read.serial) { Hexadecimal.text($0.prefix(Int(read.serial_bytes))) }
        notBeforeUnixS = read.not_before_unix_s
        notAfterUnixS = read.not_after_unix_s
        pin = withUnsafeBytes(of: read.public_key_hash) { Hexadecimal.text($0) }
        isAuthority = read.is_authority != 0
        let uri = withUnsafeBytes(of: read.uri) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        identity = MemberIdentity(uri: uri)
    }

    /// Whether this authority signed it, and both are valid at this time.
    public func isSigned(by authority: Certificate, atUnixS nowUnixS: Int64) -> Bool {
        martlet_crypto_verify(pem, authority.pem, nowUnixS) == 0
    }

    /// All certificates of a PEM text, in order.
    public static func chain(pem: String) throws(IdentityError) -> [Certificate] {
        let end = "-----END CERTIFICATE-----"
        var found: [Certificate] = []
        var block = ""
        for line in pem.split(separator: "\n", omittingEmptySubsequences: false) {
            block += line + "\n"
            guard line.hasPrefix(end) else { continue }
            found.append(try Certificate(pem: block))
            block = ""
        }
        return found
    }
}
