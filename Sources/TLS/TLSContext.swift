import CTLS

/// What one side of a connection proves who it is with, and whom it believes: TLS 1.3, both sides certified by one authority.
///
/// Sessions made of a context go on when another has taken its place. Safe from any thread.
///
/// Safety: OpenSSL's contexts are counted and locked; ours is not changed after it is made.
public final class TLSContext: @unchecked Sendable {
    let handle: OpaquePointer

    /// Takes the authority's certificates, the own chain (own certificate first) and its key, as PEM texts.
    ///
    /// - Throws: what is wrong with them, without any of the key.
    public init(authorityPEM: String, certificatePEM: String, keyPEM: String) throws(TLSError) {
        var error = [CChar](repeating: 0, count: Int(MARTLET_TLS_ERROR_BYTES))
        guard let made = martlet_tls_context_new(authorityPEM, certificatePEM, keyPEM, &error) else {
            throw TLSError(text(error))
        }
        handle = made
    }

    deinit { martlet_tls_context_free(handle) }
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
