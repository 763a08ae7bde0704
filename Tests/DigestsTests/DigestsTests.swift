import Artifacts
import Digests
import Testing

private func digest(_ algorithm: Digest.Algorithm, _ bytes: [UInt8]) -> Digest {
    bytes.withUnsafeBytes { Digests.digest(algorithm, $0) }
}

/// The test input of BLAKE3's published vectors: 0, 1, …, 250, 0, 1, …
private func counting(_ count: Int) -> [UInt8] { (0..<count).map { UInt8($0 % 251) } }

@Suite("Digests")
struct DigestsTests {
    @Test(
        "SHA-256 vectors (FIPS 180-4)",
        arguments: [
            ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
            ),
        ])
    func sha256(text: String, hex: String) {
        #expect(Digests.sha256(Array(text.utf8)).hex == hex)
        #expect(Digests.sha256(Array(text.utf8)).algorithm == .sha256)
    }

    @Test(
        "Git blob ids, as `git hash-object` prints them",
        arguments: [
            ("", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"),
            ("hello\n", "ce013625030ba8dba906f756967f9e9ca394464a"),
        ])
    func gitBlob(text: String, hex: String) {
        #expect(digest(.gitBlob, Array(text.utf8)).hex == hex)
    }

    // From the test vectors of the BLAKE3 team, input bytes counting modulo 251.
    @Test(
        "BLAKE3 vectors",
        arguments: [
            (0, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
            (1, "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"),
            (1024, "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7"),
            (1025, "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444"),
            (31744, "62b6960e1a44bcc1eb1a611a8d6235b6b4b78f32e7abc4fb4c6cdcce94895c47"),
            (102400, "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085"),
        ])
    func blake3(count: Int, hex: String) {
        #expect(digest(.blake3, counting(count)).hex == hex)
    }

    @Test("An origin identity is SHA-256 under its own name")
    func origin() {
        let bytes = Array("https://example.org/model \"etag\" 42".utf8)
        #expect(digest(.origin, bytes).bytes == Digests.sha256(bytes).bytes)
        #expect(digest(.origin, bytes) != Digests.sha256(bytes))
    }

    @Test("A piece is verified with the algorithm that is announced")
    func piece() {
        let bytes = counting(5000)
        bytes.withUnsafeBytes {
            #expect(Digests.piece($0) == Digests.digest(Digests.pieceAlgorithm, $0))
        }
        #expect(!Digests.blake3Instructions.isEmpty)
    }

    @Test("One flipped bit changes every digest", arguments: Digest.Algorithm.allCases)
    func flipped(algorithm: Digest.Algorithm) {
        var bytes = counting(70_000)
        let before = digest(algorithm, bytes)
        bytes[69_999] ^= 1
        #expect(digest(algorithm, bytes) != before)
    }
}

@Suite("StreamingDigest")
struct StreamingDigestTests {
    private func streamed(_ algorithm: Digest.Algorithm, _ bytes: [UInt8], cuts: [Int]) -> Digest {
        var stream = StreamingDigest(algorithm, totalBytes: UInt64(bytes.count))
        bytes.withUnsafeBytes { all in
            var start = 0
            for cut in cuts + [bytes.count] {
                stream.update(UnsafeRawBufferPointer(rebasing: all[start..<cut]))
                start = cut
            }
        }
        #expect(stream.hashedBytes == UInt64(bytes.count))
        return stream.finish()
    }

    // 2 200 bytes cross SHA's 64-byte blocks and BLAKE3's 1 KiB chunks twice.
    @Test("Equal to one shot at every point of division", arguments: Digest.Algorithm.allCases)
    func everyCut(algorithm: Digest.Algorithm) {
        let bytes = counting(2200)
        let whole = digest(algorithm, bytes)
        for cut in 0...bytes.count where streamed(algorithm, bytes, cuts: [cut]) != whole {
            Issue.record("\(algorithm.name) differs when cut at \(cut)")
        }
    }

    @Test("Equal to one shot over many unequal parts", arguments: Digest.Algorithm.allCases)
    func manyParts(algorithm: Digest.Algorithm) {
        let bytes = counting(300_000)
        let cuts = Array(stride(from: 1, to: bytes.count, by: 4099))
        #expect(streamed(algorithm, bytes, cuts: cuts) == digest(algorithm, bytes))
    }

    @Test("A blob shorter than announced matches nothing published")
    func truncatedBlob() {
        let bytes = counting(100)
        var stream = StreamingDigest(.gitBlob, totalBytes: 101)
        bytes.withUnsafeBytes { stream.update($0) }
        #expect(stream.finish() != digest(.gitBlob, bytes))
    }

    @Test("Two streams do not mix")
    func independent() {
        var first = StreamingDigest(.blake3)
        var second = StreamingDigest(.blake3)
        counting(10).withUnsafeBytes { first.update($0) }
        counting(20).withUnsafeBytes { second.update($0) }
        #expect(first.finish() == digest(.blake3, counting(10)))
        #expect(second.finish() == digest(.blake3, counting(20)))
    }
}
