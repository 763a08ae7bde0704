import CTLS

/// What one side of a connection proves who it is with, and whom it believes: TLS 1.3, both sides certified by one authority.
///
/// Sessions made of a context go on when another has taken its place. Safe from any thread.
///
/// Safety: OpenSSL's contexts are counted and locked; ours is not changed after it is made.
public final class TLSContext: @unchecked Sendable {
    let handle: OpaquePointer

    /// Takes what one side proves itself with.
    ///
    /// - Throws: what is wrong with it, without any of the key.
    public init(_ material: TLSMaterial) throws(TLSError) {
        var error = [CChar](repeating: 0, count: Int(MARTLET_TLS_ERROR_BYTES))
        let made = martlet_tls_context_new(material.authorityPEM, material.certificatePEM, material.keyPEM, &error)
        guard let made else {
            throw TLSError(text(error))
        }
        handle = made
    }

    deinit { martlet_tls_context_free(handle) }
}

/// What one side of a connection proves itself with, as PEM texts. Its description shows none of it.
public struct TLSMaterial: Sendable, Hashable, CustomStringConvertible, CustomDebugStringConvertible {
    /// Whom the far side's certificate must come from.
    public let authorityPEM: String
    /// The own certificate, its issuers' behind it.
    public let certificatePEM: String
    /// Its private key.
    public let keyPEM: String

    /// Groups them.
    public init(authorityPEM: String, certificatePEM: String, keyPEM: String) {
        self.authorityPEM = authorityPEM
        self.certificatePEM = certificatePEM
        self.keyPEM = keyPEM
    }

    /// Says nothing of it.
    public var description: String { "a key with its certificate" }
    /// Says nothing of it.
    public var debugDescription: String { description }
}

/// Why a connection cannot be secured, or is not any more.
public struct TLSError: Error, Sendable, Hashable, CustomStringConvertible {
    /// In words.
    public let description: String

    /// Wraps the words.
    public init(_ description: String) { self.description = description }
}

/// The text before the first NUL.
func text(_ bytes: [CChar]) -> String {
    String(decoding: bytes.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}
