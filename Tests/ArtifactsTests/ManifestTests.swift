import Testing

@testable import Artifacts

@Suite struct ManifestTests {
    private func file(_ path: String, _ sizeBytes: UInt64 = 1) -> ManifestFile {
        let digest = Digest(.sha256, bytes: [UInt8](repeating: 1, count: 32))!
        return ManifestFile(path: path, sizeBytes: sizeBytes, publishedDigest: digest, task: TaskID(digest))
    }

    @Test func filesAreSortedAndSummed() throws {
        let manifest = try Manifest(
            reference: "hf://a/b@main", revision: "c", files: [file("z", 5 << 20), file("a/b"), file("a")])
        #expect(manifest.files.map(\.path) == ["a", "a/b", "z"])
        #expect(manifest.totalBytes == 5 << 20 + 2)
        #expect(manifest.pieceCount == 7)
    }

    @Test func theCanonicalTextDependsOnContentOnly() throws {
        let one = try Manifest(reference: "hf://a/b@main", revision: "1", files: [file("x"), file("y")])
        let other = try Manifest(reference: "https://h/x", revision: "2", files: [file("y"), file("x")])
        #expect(one.canonicalText == other.canonicalText)
        #expect(one.canonicalText.split(separator: "\n").count == 2)
    }

    @Test(arguments: [
        "", "/abs", "../x", "a/../b", "a//b", "./a", "a/.", "a\\b", "a\nb", "a\u{7f}",
        String(repeating: "a", count: 1025), "a/",
    ]) func pathsThatMayNotBeWrittenAreRefused(_ path: String) {
        #expect(Manifest.pathFault(path) != nil)
        #expect(throws: Manifest.Fault.self) {
            try Manifest(reference: "r", revision: "v", files: [file(path)])
        }
    }

    @Test func aManifestCannotMakeWhoReadsItAllocateWithoutBound() throws {
        // 64 KiB of text that speaks of ten thousand million pieces.
        let many = (0..<20_000).map { file("f\($0)", Limits.fileBytesMax) }
        #expect(throws: Manifest.Fault.self) { try Manifest(reference: "r", revision: "v", files: many) }
        let two = [file("a", Limits.fileBytesMax), file("b", Limits.fileBytesMax)]
        #expect(try Manifest(reference: "r", revision: "v", files: two).pieceCount == Limits.modelPiecesMax)
        let long = String(repeating: "x", count: Limits.referenceBytesMax + 1)
        #expect(throws: Manifest.Fault.self) { try Manifest(reference: long, revision: "v", files: [file("a")]) }
        #expect(throws: Manifest.Fault.self) { try Manifest(reference: "r", revision: long, files: [file("a")]) }
    }

    @Test(arguments: ["a", "a/b.txt", ".hidden", "..a", "weights 1.bin", "größe/日本"]) func usualPathsPass(
        _ path: String
    ) {
        #expect(Manifest.pathFault(path) == nil)
    }

    @Test func emptyDoubleAndHugeAreRefused() {
        #expect(throws: Manifest.Fault(description: "the manifest of r has no files")) {
            try Manifest(reference: "r", revision: "v", files: [])
        }
        #expect(throws: Manifest.Fault(description: "the manifest of r names a twice")) {
            try Manifest(reference: "r", revision: "v", files: [file("a"), file("a")])
        }
        #expect(throws: Manifest.Fault.self) {
            try Manifest(reference: "r", revision: "v", files: [file("a", Limits.fileBytesMax + 1)])
        }
    }
}
