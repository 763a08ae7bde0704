import Testing

@testable import Artifacts

@Suite struct DigestTests {
    private let hex = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

    @Test func textAndBytesGiveTheSameDigest() throws {
        let digest = try #require(Digest(.sha256, hex: hex))
        #expect(digest.hex == hex)
        #expect(digest.description == "sha256:" + hex)
        #expect(Digest(text: digest.description) == digest)
        #expect(Digest(.sha256, bytes: digest.bytes) == digest)
        #expect(Digest(.sha256, hex: hex.uppercased()) == digest)
    }

    @Test func aGitBlobIsTwentyBytes() throws {
        let digest = try #require(Digest(.gitBlob, hex: "ce013625030ba8dba906f756967f9e9ca394464a"))
        #expect(digest.bytes.count == 20)
        #expect(digest.description == "gitblob:ce013625030ba8dba906f756967f9e9ca394464a")
    }

    @Test(arguments: [
        "", "sha256", "sha256:", "sha256:zz", "md5:00", "sha256:9f86",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a0g",
        "gitblob:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    ]) func malformedTextIsNoDigest(_ text: String) {
        #expect(Digest(text: text) == nil)
    }

    @Test func theAlgorithmIsPartOfTheIdentity() {
        let bytes = [UInt8](repeating: 7, count: 32)
        #expect(Digest(.sha256, bytes: bytes) != Digest(.blake3, bytes: bytes))
        #expect(Digest(.sha256, bytes: bytes.dropLast()) == nil)
    }

    @Test func hostNamesFollowTheirRule() {
        #expect(HostID("gpu-17.rack_3") != nil)
        #expect(HostID(String(repeating: "a", count: 64)) != nil)
        for refused in ["", "a b", "a/b", "ü", String(repeating: "a", count: 65)] {
            #expect(HostID(refused) == nil)
        }
    }
}
