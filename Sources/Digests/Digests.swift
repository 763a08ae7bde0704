import Artifacts
import CDigest

/// Digests of bytes that lie in memory in one run: a slot, a header, a small file.
///
/// Every call hashes on the calling thread and returns when done (16 MiB take 2.5–10 ms), so call them from a
/// worker, never from a rail or from Swift concurrency's cooperative pool. All are safe from any thread.
public enum Digests {
    /// What pieces are verified with. The essay on why: `docs/piece-digest.md`.
    public static let pieceAlgorithm: Digest.Algorithm = .blake3

    /// The digest a piece is verified with: BLAKE3.
    public static func piece(_ bytes: UnsafeRawBufferPointer) -> Digest { blake3(bytes) }

    /// SHA-256: what LFS and OCI publish for whole files.
    public static func sha256(_ bytes: UnsafeRawBufferPointer) -> Digest {
        oneShot(.sha256, MARTLET_DIGEST_SHA256, bytes)
    }

    /// SHA-256 of an array: for identities and small documents.
    public static func sha256(_ bytes: [UInt8]) -> Digest { bytes.withUnsafeBytes { sha256($0) } }

    /// BLAKE3 with 32 bytes of output.
    public static func blake3(_ bytes: UnsafeRawBufferPointer) -> Digest {
        oneShot(.blake3, MARTLET_DIGEST_BLAKE3, bytes)
    }

    /// Git's blob id: SHA-1 of `"blob <length>\0"` and the bytes. The hub publishes it for small files.
    public static func gitBlob(_ bytes: UnsafeRawBufferPointer) -> Digest {
        var stream = StreamingDigest(.gitBlob, totalBytes: UInt64(bytes.count))
        stream.update(bytes)
        return stream.finish()
    }

    /// The digest by the algorithm given: how a published digest is compared with bytes at hand.
    ///
    /// `.origin` is SHA-256 under another name: an identity, made of the origin's words for the content.
    public static func digest(_ algorithm: Digest.Algorithm, _ bytes: UnsafeRawBufferPointer) -> Digest {
        switch algorithm {
        case .sha256: sha256(bytes)
        case .gitBlob: gitBlob(bytes)
        case .blake3: blake3(bytes)
        case .origin: oneShot(.origin, MARTLET_DIGEST_SHA256, bytes)
        }
    }

    /// Which instructions BLAKE3 uses on this processor, e.g. `AVX-512`.
    public static var blake3Instructions: String { String(cString: martlet_blake3_instructions()) }

    private static func oneShot(
        _ algorithm: Digest.Algorithm, _ shim: Int, _ bytes: UnsafeRawBufferPointer
    ) -> Digest {
        collect(algorithm) { martlet_digest(CInt(shim), bytes.baseAddress, bytes.count, $0) }
    }
}

/// Turns what a shim call writes into a digest; a refusal by the crypto library ends the process, because nothing
/// can be verified without it (a FIPS configuration that forbids SHA-1, for one).
func collect(_ algorithm: Digest.Algorithm, _ call: (UnsafeMutablePointer<UInt8>) -> CInt) -> Digest {
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: Int(MARTLET_DIGEST_BYTES_MAX)) { buffer in
        // Safety: the buffer has room for the longest digest; the shim writes as many bytes as it returns.
        let count = Int(call(buffer.baseAddress!))
        guard count > 0, let digest = Digest(algorithm, bytes: buffer[0..<count]) else {
            fatalError("the crypto library refuses \(algorithm.name): check OpenSSL's configuration")
        }
        return digest
    }
}
