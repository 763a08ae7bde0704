import CCrypto
import System

/// What a server joins a cluster with: a name to find it by, a secret, and the pin of the cluster's authority.
///
/// Written `martlet-ID.SECRET.PIN`, in hexadecimal: 8, 16 and 32 bytes. The secret is shown once, when the token is made.
public struct JoinToken: Sendable, Hashable, CustomStringConvertible, CustomDebugStringConvertible {
    private static let idBytes = 8
    private static let secretBytes = 16
    private static let prefix = "martlet-"

    /// Names it in lists; no secret.
    public let id: String
    /// Proves that its holder was let in.
    public let secret: String
    /// The authority's public key, as `Certificate.pin`.
    public let pin: String

    /// A new token for the authority of this pin.
    public init(pin: String) {
        id = Hexadecimal.text(Entropy.bytes(JoinToken.idBytes))
        secret = Hexadecimal.text(Entropy.bytes(JoinToken.secretBytes))
        self.pin = pin
    }

    /// Reads a token as people paste it; nil for anything else.
    public init?(_ text: String) {
        let trimmed = text.filter { !$0.isWhitespace }
        guard trimmed.hasPrefix(JoinToken.prefix) else { return nil }
        let parts = trimmed.dropFirst(JoinToken.prefix.count).split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3 else { return nil }
        for (part, bytes) in zip(parts, [JoinToken.idBytes, JoinToken.secretBytes, 32]) {
            guard Hexadecimal.bytes(part)?.count == bytes else { return nil }
        }
        id = String(parts[0])
        secret = String(parts[1])
        pin = String(parts[2])
    }

    /// The whole token: a secret.
    public var text: String { "\(JoinToken.prefix)\(id).\(secret).\(pin)" }
    /// What the manager keeps of the secret: its SHA-256. 128 random bits need no salt.
    public var secretHash: String { JoinToken.hash(secret) }

    /// The hash of a secret that somebody shows.
    public static func hash(_ secret: String) -> String {
        let bytes = Array(secret.utf8)
        var hash = [UInt8](repeating: 0, count: Int(MARTLET_CRYPTO_HASH_BYTES))
        martlet_crypto_sha256(bytes, bytes.count, &hash)
        return Hexadecimal.text(hash)
    }

    /// Whether two hashes are equal, in a time that says nothing about where they differ.
    public static func isEqual(_ left: String, _ right: String) -> Bool {
        let (left, right) = (Array(left.utf8), Array(right.utf8))
        return left.count == right.count && martlet_crypto_equal(left, right, left.count) == 1
    }

    /// Without the secret.
    public var description: String { "join token \(id)" }
    /// Without the secret.
    public var debugDescription: String { description }
}
