import CCrypto

/// An EC P-256 private key. Its description never shows it; it is made where it is used, and only `IdentityStore` writes it.
public struct PrivateKey: Sendable, CustomStringConvertible, CustomDebugStringConvertible {
    /// PKCS #8, PEM.
    public let pem: String

    /// A new key.
    public init() throws(IdentityError) {
        pem = try PEMText.make("make a key") { martlet_crypto_make_key($0, $1) }
    }

    /// A key that was kept. Whether it is one shows when it is used.
    public init(pem: String) { self.pem = pem }

    /// A certificate request: the public key, signed, without any name.
    public func request() throws(IdentityError) -> String {
        try PEMText.make("make a certificate request") { martlet_crypto_make_request(pem, $0, $1) }
    }

    /// Whether a certificate is this key's.
    public func fits(_ certificate: Certificate) -> Bool { martlet_crypto_key_fits(pem, certificate.pem) == 1 }

    /// Says nothing of it.
    public var description: String { "private key" }
    /// Says nothing of it.
    public var debugDescription: String { description }
}

/// Texts that the C side writes.
enum PEMText {
    /// Far more than a chain of four certificates.
    static let bytesMax = 64 << 10

    static func make(
        _ what: String, _ body: (UnsafeMutablePointer<CChar>, Int) -> CInt
    ) throws(IdentityError) -> String {
        var buffer = [CChar](repeating: 0, count: bytesMax)
        let result = buffer.withUnsafeMutableBufferPointer { body($0.baseAddress!, $0.count) }
        guard result >= 0 else { throw failure(what, -result) }
        return String(decoding: buffer[..<Int(result)].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    static func failure(_ what: String, _ error: CInt) -> IdentityError {
        switch error {
        case EINVAL:
            IdentityError(.malformed, "cannot \(what): what was given is no EC P-256 key, request or certificate")
        case EACCES: IdentityError(.untrusted, "cannot \(what): its signature does not hold")
        default: IdentityError(.failed, "cannot \(what): OpenSSL failed [errno \(error)]")
        }
    }
}

/// Bytes as people and protocols write them: lower-case hexadecimal.
enum Hexadecimal {
    static func text(_ bytes: some Sequence<UInt8>) -> String {
        var text = ""
        for byte in bytes { text += (byte < 16 ? "0" : "") + String(byte, radix: 16) }
        return text
    }

    static func bytes(_ text: some StringProtocol) -> [UInt8]? {
        let digits = Array(text.utf8)
        guard digits.count % 2 == 0 else { return nil }
        var bytes: [UInt8] = []
        for index in stride(from: 0, to: digits.count, by: 2) {
            guard let high = digit(digits[index]), let low = digit(digits[index + 1]) else { return nil }
            bytes.append(high << 4 | low)
        }
        return bytes
    }

    private static func digit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        default: nil
        }
    }
}
