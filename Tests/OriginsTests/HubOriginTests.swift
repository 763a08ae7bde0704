import Artifacts
import Digests
import Origins
import Testing

@Suite(.timeLimit(.minutes(2))) struct HubOriginTests {
    private static let weights = patternedBytes(2_500_000)
    private static let config = Array("{\"a\": 1}\n".utf8)

    private func hub() throws -> LocalHub {
        try LocalHub([
            "org/name/model.safetensors": HubOriginTests.weights,
            "org/name/config.json": HubOriginTests.config,
            "org/name/sub/größe 1.txt": Array("sub".utf8), "org/name/empty": [],
        ])
    }

    private func error(_ origins: Origins, _ reference: String) async -> OriginError? {
        do {
            _ = try await origins.resolve(ModelReference(reference))
            return nil
        } catch { return error as? OriginError }
    }

    @Test func aRevisionIsPinnedWithPublishedDigests() async throws {
        let hub = try hub()
        let resolved = try await hub.origins().resolve(ModelReference("hf://org/name"))
        #expect(resolved.manifest.reference == "hf://org/name@main")
        #expect(resolved.manifest.revision.count == 40)
        #expect(
            resolved.manifest.files.map(\.path) == [
                "config.json", "empty", "model.safetensors", "sub/größe 1.txt",
            ])
        let weights = resolved.manifest.files[2]
        #expect(weights.publishedDigest == Digests.sha256(HubOriginTests.weights))
        #expect(weights.task == TaskID(Digests.sha256(HubOriginTests.weights)))
        #expect(weights.sizeBytes == 2_500_000)
        #expect(
            resolved.manifest.files[0].publishedDigest
                == HubOriginTests.config.withUnsafeBytes { Digests.gitBlob($0) })
        #expect(resolved.model == ModelID(Digests.sha256(Array(resolved.manifest.canonicalText.utf8))))
        #expect(resolved.locations.map(\.sizeBytes) == resolved.manifest.files.map(\.sizeBytes))
        #expect(
            resolved.locations[2].url
                == "\(hub.endpoint)/org/name/resolve/\(resolved.manifest.revision)/model.safetensors")
    }

    @Test func everyFileIsReadAsPublished() async throws {
        let hub = try hub()
        let origins = try hub.origins()
        let resolved = try await origins.resolve(ModelReference("hf://org/name"))
        let weights = await origins.read(resolved.locations[2])
        #expect(weights.end.code == nil)
        #expect(weights.bytes == HubOriginTests.weights)
        let named = await origins.read(resolved.locations[3])
        #expect(named.bytes == Array("sub".utf8))
        #expect(try hub.served().bytes == 2_500_003)
        #expect(origins.counters.bytesRead == 2_500_003)
        #expect(origins.counters(of: .hub).requests == 2)
    }

    @Test func aRangeOfPiecesIsReadAlone() async throws {
        let hub = try hub()
        let origins = try hub.origins()
        let location = try await origins.resolve(ModelReference("hf://org/name")).locations[2]
        let middle = await origins.read(location, ByteRange(offset: 131072, length: 65536 * 3))
        #expect(middle.bytes == Array(HubOriginTests.weights[131072..<131072 + 65536 * 3]))
        let tail = await origins.read(location, ByteRange(offset: 65536 * 38, length: 2_500_000 - 65536 * 38))
        #expect(tail.bytes == Array(HubOriginTests.weights[(65536 * 38)...]))
    }

    @Test func aPathNamesAFileOrADirectory() async throws {
        let hub = try hub()
        let origins = try hub.origins()
        #expect(
            try await origins.resolve(ModelReference("hf://org/name@main/config.json")).manifest.files.map(
                \.path) == ["config.json"])
        #expect(
            try await origins.resolve(ModelReference("hf://org/name@main/sub")).manifest.files.map(\.path)
                == ["sub/größe 1.txt"])
        #expect(await error(origins, "hf://org/name@main/su")?.code == .notFoundFile)
    }

    @Test func pagesOfTheTreeAreFollowed() async throws {
        let hub = try hub()
        try hub.fault(#"{"page_entries": 2}"#)
        #expect(try await hub.origins().resolve(ModelReference("hf://org/name")).manifest.files.count == 4)
    }

    @Test func aPageOnAnotherServerIsNotFollowed() async throws {
        let hub = try hub()
        try hub.fault(#"{"page_entries": 2, "foreign_next": "http://localhost:1/api"}"#)
        let error = await error(try hub.origins(), "hf://org/name")
        #expect(error?.code == .invalidResponse)
        #expect(error?.description.contains("another server, http://localhost:1/api") == true)
    }

    @Test(arguments: [
        ("hf://org/missing", OriginError.Code.notFoundRepository, "has no model ‘org/missing’"),
        ("hf://org/name@nowhere", .notFoundRevision, "has no revision ‘nowhere’"),
        ("hf://org/name@main/nothing.bin", .notFoundFile, "has no file ‘nothing.bin’ at revision ‘main’"),
    ]) func whatIsMissingIsNamed(_ reference: String, _ code: OriginError.Code, _ words: String) async throws {
        let hub = try hub()
        let error = await error(try hub.origins(), reference)
        #expect(error?.code == code)
        #expect(error?.description.contains(words) == true, "\(error?.description ?? "")")
    }

    @Test func namesThatMayNotBeWrittenAreRefused() async throws {
        for name in ["../x", "/abs", "a/../../x", "a\\\\b"] {
            let hub = try hub()
            try hub.fault(#"{"bad_names": ["\#(name)"]}"#)
            let error = await error(try hub.origins(), "hf://org/name")
            #expect(error?.code == .refusedName)
        }
    }

    @Test func aGatedModelIsRefusedAtOnceAndReadWithItsToken() async throws {
        let hub = try hub()
        try hub.fault(#"{"token": "hf_right"}"#)
        let without = await error(try hub.origins(), "hf://org/name")
        #expect(without?.code == .unauthorized)
        #expect(without?.description.contains("set HF_TOKEN to a token that can read org/name") == true)
        let wrong = await error(try hub.origins(token: "hf_wrong"), "hf://org/name")
        #expect(wrong?.code == .forbidden)
        #expect(wrong?.description.contains("hf_wrong") == false)
        let origins = try hub.origins(token: "hf_right")
        let resolved = try await origins.resolve(ModelReference("hf://org/name"))
        #expect(await origins.read(resolved.locations[2]).bytes == HubOriginTests.weights)
        #expect(!"\(resolved)".contains("hf_right"))
    }

    @Test func aTokenStaysWithItsServerAcrossARedirect() async throws {
        let hub = try hub()
        let elsewhere = try hub_elsewhere()
        let origins = try hub.origins(token: "hf_secret")
        let location = try await origins.resolve(ModelReference("hf://org/name")).locations[0]
        // The other server refuses whoever shows a token: with no token it says 401, with any other than its own 403.
        try elsewhere.fault(#"{"token": "another"}"#)
        try hub.fault(#"{"redirect": "\#(elsewhere.endpoint)"}"#)
        #expect(await origins.read(location).end.code == .unauthorized)
        try elsewhere.fault("{}")
        #expect(await origins.read(location).bytes == HubOriginTests.config)
    }

    private func hub_elsewhere() throws -> LocalHub { try hub() }
}
