import Artifacts

@testable import Swarm

/// Small manifests and digests to test with.
enum Fixtures {
    /// A digest that is a function of one number.
    static func digest(_ value: UInt64) -> Digest {
        var bytes: [UInt8] = []
        for place in 0..<32 { bytes.append(UInt8(truncatingIfNeeded: value >> UInt64(8 * (place & 7)))) }
        return Digest(.blake3, bytes: bytes)!
    }

    /// Files of so many pieces of 1 MiB each (0: an empty file), named so that they keep their order.
    static func manifest(pieces: [Int]) -> Manifest {
        let files = pieces.enumerated().map { index, count in
            let letter = String(UnicodeScalar(UInt8(97 + index)))
            return ManifestFile(
                path: "\(letter).bin", sizeBytes: UInt64(count) << 20, publishedDigest: digest(UInt64(index)),
                task: TaskID(digest(UInt64(1000 + index))))
        }
        return try! Manifest(reference: "file:///model", revision: "1", files: files)
    }

    static func address(_ file: Int, _ piece: Int) -> PieceAddress {
        PieceAddress(file: FileIndex(file), piece: PieceIndex(piece))
    }

    /// The right digest of a piece.
    static func digest(_ file: Int, _ piece: Int) -> Digest {
        digest(UInt64(file) << 32 | UInt64(piece) | 1 << 60)
    }

    /// The right digests of a file's first pieces.
    static func digests(_ file: Int, _ count: Int) -> [PieceIndex: Digest] {
        Dictionary(uniqueKeysWithValues: (0..<count).map { (PieceIndex($0), digest(file, $0)) })
    }

    static let pieceBytes = 1 << 20
}
