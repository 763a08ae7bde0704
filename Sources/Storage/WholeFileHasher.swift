import Artifacts
import Digests
import System

/// The digest of a whole file, advanced over its beginning while later pieces are still on their way.
///
/// SHA-256 cannot be computed out of order, so it follows the contiguous prefix of kept pieces; what it has done during
/// the download it need not do at the end. It reads the page cache, where the pieces were just written.
struct WholeFileHasher: ~Copyable, Sendable {
    private static let stepBytes = 1 << 20

    private var digest: StreamingDigest
    private let sizeBytes: UInt64
    /// How far it has come.
    private(set) var hashedBytes: UInt64 = 0

    init(_ algorithm: Digest.Algorithm, sizeBytes: UInt64) {
        digest = StreamingDigest(algorithm, totalBytes: sizeBytes)
        self.sizeBytes = sizeBytes
    }

    /// Goes on up to `end`, all of which is in the file.
    mutating func advance(over file: borrowing FileDescriptor, to end: UInt64) throws(Errno) {
        guard hashedBytes < end else { return }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.stepBytes, alignment: 4096)
        defer { buffer.deallocate() }
        while hashedBytes < end {
            let wanted = Int(min(UInt64(buffer.count), end - hashedBytes))
            let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<wanted])
            let count = try file.read(at: hashedBytes, into: part)
            guard count == wanted else { throw Errno.shortFile }
            digest.update(UnsafeRawBufferPointer(part))
            hashedBytes += UInt64(count)
        }
    }

    /// The digest of the whole file; traps before its end.
    consuming func finish() -> Digest {
        precondition(
            hashedBytes == sizeBytes, "a digest was finished after \(hashedBytes) of \(sizeBytes) bytes")
        return digest.finish()
    }
}
