/// A content digest with its algorithm: 32 bytes held inline, so that digests are cheap map keys.
///
/// The text form is `algorithm:hex` (`sha256:9f86…`). Digests shorter than 32 bytes (git's SHA-1) are
/// padded with zero bytes and printed at their own length.
public struct Digest: Hashable, Sendable, CustomStringConvertible {
    /// The digest algorithms Martlet speaks of.
    public enum Algorithm: UInt8, Sendable, CaseIterable {
        /// SHA-256 of the content: LFS object ids, OCI digests.
        case sha256 = 1
        /// Git's blob id: SHA-1 of `"blob <length>\0"` and the content. The hub publishes it for small files.
        case gitBlob = 2
        /// BLAKE3 with 32 bytes of output: what pieces are verified with.
        case blake3 = 3
        /// SHA-256 of origin, validator and length: an identity where no content digest is published.
        case origin = 4

        /// The name used in text forms.
        public var name: String {
            switch self {
            case .sha256: "sha256"
            case .gitBlob: "gitblob"
            case .blake3: "blake3"
            case .origin: "origin"
            }
        }

        /// How many of the 32 bytes count.
        public var byteCount: Int { self == .gitBlob ? 20 : 32 }
    }

    /// Which algorithm made this digest.
    public let algorithm: Algorithm
    private let word0: UInt64
    private let word1: UInt64
    private let word2: UInt64
    private let word3: UInt64

    /// All of its bytes: other hosts name digests that nothing was ever hashed to, and could choose many alike in part.
    public func hash(into hasher: inout Hasher) {
        hasher.combine(word0)
        hasher.combine(word1)
        hasher.combine(word2)
        hasher.combine(word3)
    }

    /// Makes a digest from its bytes; nil unless there are exactly `algorithm.byteCount` of them.
    public init?(_ algorithm: Algorithm, bytes: some Collection<UInt8>) {
        guard bytes.count == algorithm.byteCount else { return nil }
        var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
        var position = 0
        for byte in bytes {
            let shifted = UInt64(byte) << UInt64(56 - 8 * (position & 7))
            switch position >> 3 {
            case 0: words.0 |= shifted
            case 1: words.1 |= shifted
            case 2: words.2 |= shifted
            default: words.3 |= shifted
            }
            position += 1
        }
        self.algorithm = algorithm
        (word0, word1, word2, word3) = words
    }

    /// Makes a digest from lower- or upper-case hex; nil when it is not hex of the right length.
    public init?(_ algorithm: Algorithm, hex: some StringProtocol) {
        guard hex.utf8.count == 2 * algorithm.byteCount else { return nil }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(algorithm.byteCount)
        var high: UInt8? = nil
        for character in hex.utf8 {
            guard let nibble = hexNibble(character) else { return nil }
            if let first = high {
                bytes.append(first << 4 | nibble)
                high = nil
            } else {
                high = nibble
            }
        }
        self.init(algorithm, bytes: bytes)
    }

    /// Parses `algorithm:hex`.
    public init?(text: some StringProtocol) {
        guard let colon = text.firstIndex(of: ":"),
            let algorithm = Algorithm.allCases.first(where: { $0.name == text[..<colon] })
        else { return nil }
        self.init(algorithm, hex: text[text.index(after: colon)...])
    }

    /// The digest's bytes: 32, or 20 for a git blob id.
    public var bytes: [UInt8] {
        let words = [word0, word1, word2, word3]
        return (0..<algorithm.byteCount).map { UInt8(truncatingIfNeeded: words[$0 >> 3] >> UInt64(56 - 8 * ($0 & 7))) }
    }

    /// The bytes in lower-case hex.
    public var hex: String {
        let digits = Array("0123456789abcdef".utf8)
        var text: [UInt8] = []
        text.reserveCapacity(2 * algorithm.byteCount)
        for byte in bytes {
            text.append(digits[Int(byte >> 4)])
            text.append(digits[Int(byte & 15)])
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// The text form.
    public var description: String { "\(algorithm.name):\(hex)" }
}

private func hexNibble(_ character: UInt8) -> UInt8? {
    switch character {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): character - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): character - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): character - UInt8(ascii: "A") + 10
    default: nil
    }
}
