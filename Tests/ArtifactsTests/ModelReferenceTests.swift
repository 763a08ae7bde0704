import Testing

@testable import Artifacts

@Suite struct ModelReferenceTests {
    @Test(arguments: [
        ("hf://org/name", "hf://org/name@main"),
        ("HF://org/name/", "hf://org/name@main"),
        ("hf://org/name@v1.0", "hf://org/name@v1.0"),
        ("hf://org/name@v1/sub/file.bin", "hf://org/name@v1/sub/file.bin"),
        ("hf://org/name@main/a@b", "hf://org/name@main/a@b"),
        ("hf://org/name@refs/pr/1/config.json", "hf://org/name@refs/pr/1/config.json"),
        ("hf://org/name@refs%2Fpr%2F1", "hf://org/name@refs/pr/1"),
        ("hf://org/name@feature%2Fx/a", "hf://org/name@feature%2Fx/a"),
        ("hf://hub.local/org/name", "hf://hub.local/org/name@main"),
        ("hf://HUB.local:8080/org/name", "hf://hub.local:8080/org/name@main"),
        ("hf://localhost/org/name", "hf://localhost/org/name@main"),
        ("hf://[::1]:80/org/name", "hf://[::1]:80/org/name@main"),
        ("https://Host.Example:443/a/b.bin", "https://host.example/a/b.bin"),
        ("http://host:80/a?token=x", "http://host/a?token=x"),
        ("https://host/a%20b", "https://host/a%20b"),
        ("https://host/a b", "https://host/a%20b"),
        ("file:///srv/models//name/", "file:///srv/models/name"),
        ("file://localhost/srv/a%20b", "file:///srv/a%20b"),
        ("file:///srv/100%25", "file:///srv/100%25"),
    ]) func eachFormHasOneCanonicalText(_ text: String, _ canonical: String) throws {
        let reference = try ModelReference(text)
        #expect(reference.canonicalText == canonical)
        #expect(try ModelReference(canonical) == reference)
    }

    @Test func partsOfAHubReference() throws {
        guard case .hub(let hub) = try ModelReference("hf://h.x:1/org/na.me@dev/sub/f").source else {
            Issue.record("not a hub reference")
            return
        }
        #expect(hub.host == "h.x:1")
        #expect(hub.repository == "org/na.me")
        #expect(hub.revision == "dev")
        #expect(hub.path == "sub/f")
    }

    @Test(arguments: ["org/name", "ftp://x/y", "C:\\x", "", "/srv/x", "s3://bucket/x"])
    func unknownSchemesSayWhatToWrite(_ text: String) {
        let error = #expect(throws: ModelReferenceError.self) { try ModelReference(text) }
        #expect(error?.code == .unknownScheme)
        #expect(error?.description.contains("hf://org/name, https://host/file or file:///path") == true)
        #expect(error?.description.contains("\n") == false)
    }

    @Test(arguments: [
        "hf://", "hf://org", "hf://org/", "hf:///name", "hf://h.x/org", "hf://org/name@",
        "hf://org/name@../x", "hf://org/name/../x",
        "hf://org/name//x", "hf://org/na me", "hf://h.x:0/org/name", "hf://h.x:99999/org/name",
        "hf://:80/org/name", "hf://org/name@a%2",
        "hf://org/name/a\nb", "https://", "https://host", "https://host/", "https://user:secret@host/f",
        "https://host/f#x",
        "https://host/../f", "https://host/a/..", "https://host/%2e%2e", "https://host/a%2Fb",
        "https://ho st/f", "file://", "file://host/x",
        "file:///", "file:///a/../b", "file:///a?x", "file:///a%zz", "file://relative",
        "hf://org/" + String(repeating: "a", count: 3000),
    ]) func malformedReferencesShowAnExample(_ text: String) {
        let error = #expect(throws: ModelReferenceError.self) { try ModelReference(text) }
        #expect(error?.code == .malformed)
        #expect(error?.description.contains("write ") == true)
        #expect(error?.description.contains("\n") == false)
        #expect(error?.description.contains("secret") == false)
    }

    @Test func queriesAreNotShown() throws {
        let reference = try ModelReference("https://host/f?X-Signature=secret")
        #expect("\(reference)" == "https://host/f")
        #expect(reference.canonicalText.contains("secret"))
    }

    @Test(
        arguments: [
            ("hf://o/n", nil, "https://huggingface.co"),
            ("hf://o/n", "", "https://huggingface.co"),
            ("hf://o/n", "https://mirror.x/hf/", "https://mirror.x/hf"),
            ("hf://o/n", "http://mirror.x:8080", "http://mirror.x:8080"),
            ("hf://mirror.x:8080/o/n", "http://mirror.x:8080", "http://mirror.x:8080"),
            ("hf://mirror.x:8080/o/n", nil, "https://mirror.x:8080"),
            ("hf://other.x/o/n", "http://mirror.x:8080", "https://other.x"),
            ("hf://localhost:99/o/n", nil, "http://localhost:99"),
            ("hf://127.0.0.1:99/o/n", nil, "http://127.0.0.1:99"),
            ("hf://[::1]:99/o/n", nil, "http://[::1]:99"),
            ("hf://127.0.0.1.evil.x/o/n", nil, "https://127.0.0.1.evil.x"),
            ("hf://localhost.evil.x/o/n", nil, "https://localhost.evil.x"),
        ] as [(String, String?, String)]) func plainHTTPIsForThisMachineOrWhenConfigured(
            _ text: String, _ configured: String?, _ endpoint: String
        ) throws
    {
        guard case .hub(let hub) = try ModelReference(text).source else {
            Issue.record("not a hub reference")
            return
        }
        #expect(try hub.endpoint(default: configured) == endpoint)
    }

    @Test(arguments: ["huggingface.co", "ftp://x", "https://", "https://a b", "https://h/?q"])
    func aMalformedEndpointIsNamed(_ text: String) {
        let error = #expect(throws: ModelReferenceError.self) {
            try ModelReference.hubEndpoint(configured: text)
        }
        #expect(error?.description.contains("HF_ENDPOINT") == true)
    }
}
