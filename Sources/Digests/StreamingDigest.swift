import Artifacts
import CDigest

/// A digest fed in parts, in order: what a whole file's published digest is checked with.
///
/// One owner, one thread at a time. Equal to the one-shot digest wherever the content is cut. Dropping it unfinished
/// is allowed: a download may end at any time.
public struct StreamingDigest: ~Copyable, Sendable {
    // Safety: the stream is owned by this noncopyable value alone, so only one thread can be inside it.
    private nonisolated(unsafe) let stream: OpaquePointer
    /// Which algorithm it feeds.
    public let algorithm: Digest.Algorithm
    /// How many bytes of content were fed so far.
    public private(set) var hashedBytes: UInt64 = 0

    /// Starts a digest.
    ///
    /// `totalBytes` counts for `.gitBlob` alone, whose digest begins with the content's length; feeding another number
    /// of bytes gives a digest that matches nothing, which is what a truncated file deserves.
    public init(_ algorithm: Digest.Algorithm, totalBytes: UInt64 = 0) {
        let shim =
            switch algorithm {
            case .sha256, .origin: MARTLET_DIGEST_SHA256
            case .gitBlob: MARTLET_DIGEST_SHA1
            case .blake3: MARTLET_DIGEST_BLAKE3
            }
        guard let opened = martlet_digest_open(CInt(shim)) else {
            fatalError("the crypto library refuses \(algorithm.name): check OpenSSL's configuration")
        }
        stream = opened
        self.algorithm = algorithm
        if algorithm == .gitBlob {
            let header = Array("blob \(totalBytes)\0".utf8)
            header.withUnsafeBytes { feed($0) }
        }
    }

    /// Feeds the next bytes; the buffer is not kept.
    public mutating func update(_ bytes: UnsafeRawBufferPointer) {
        feed(bytes)
        hashedBytes += UInt64(bytes.count)
    }

    /// The digest of everything fed.
    public consuming func finish() -> Digest {
        let stream = self.stream
        return collect(algorithm) { martlet_digest_finish(stream, $0) }
    }

    private func feed(_ bytes: UnsafeRawBufferPointer) {
        let result = martlet_digest_update(stream, bytes.baseAddress, bytes.count)
        precondition(result == 0, "the crypto library failed in the middle of \(algorithm.name)")
    }

    deinit { martlet_digest_close(stream) }
}
