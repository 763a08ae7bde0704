import Foundation
import HTTP
import Testing

@testable import Origins

@Suite struct OriginErrorTests {
    private func head(_ status: Int, _ code: String? = nil, retryAfter: String? = nil) -> HTTPResponseHead {
        var headers: [HTTPHeader] = []
        if let code { headers.append(HTTPHeader("x-error-code", code)) }
        if let retryAfter { headers.append(HTTPHeader("retry-after", retryAfter)) }
        return HTTPResponseHead(status: status, headers: headers, url: "https://hub/x?sig=secret")
    }
    private let model = OriginSubject(hub: "hub.co", repository: "org/name", revision: "v1")
    private let hubFile = OriginSubject(
        OriginLocation(
            kind: .hub, url: "https://hub.co/org/name/resolve/abc/sub/w.bin", sizeBytes: 9, validator: nil,
            acceptsRanges: true))
    private let webFile = OriginSubject(
        OriginLocation(
            kind: .http, url: "https://web.co/w.bin?sig=secret", sizeBytes: 9, validator: nil,
            acceptsRanges: true))

    @Test func everyAnswerHasItsSentence() {
        let table: [(OriginError, OriginError.Code, String)] = [
            (
                model.error(head(404, "RepoNotFound")), .notFoundRepository,
                "hub.co has no model ‘org/name’ that may be seen here; check the name, or set HF_TOKEN if it is private"
            ),
            (
                model.error(head(401, "RepoNotFound")), .notFoundRepository,
                "hub.co has no model ‘org/name’ that may be seen here; check the name, or set HF_TOKEN if it is private"
            ),
            (
                model.error(head(404)), .notFoundRepository,
                "hub.co has no model ‘org/name’ that may be seen here; check the name, or set HF_TOKEN if it is private"
            ),
            (
                model.error(head(404, "RevisionNotFound")), .notFoundRevision,
                "org/name has no revision ‘v1’ on hub.co; name a branch, tag or commit, as in hf://org/name@main"
            ),
            (
                hubFile.error(head(404, "EntryNotFound")), .notFoundFile,
                "org/name has no file ‘sub/w.bin’ at revision ‘abc’; check the path behind hf://org/name@abc/"
            ),
            (
                webFile.error(head(404)), .notFoundFile,
                "there is no file at https://web.co/w.bin; check the URL"
            ),
            (
                hubFile.error(head(401)), .unauthorized,
                "hub.co wants a token for org/name (401); set HF_TOKEN to a token that can read org/name"
            ),
            (
                webFile.error(head(401)), .unauthorized,
                "https://web.co/w.bin wants credentials (401); set MARTLET_HTTP_AUTHORIZATION to ‘web.co <Authorization value>’"
            ),
            (
                hubFile.error(head(403, "GatedRepo")), .forbidden,
                "hub.co does not let this token read org/name (403); ask for access on the model's page, or set HF_TOKEN to a token that has it"
            ),
            (
                webFile.error(head(403)), .forbidden,
                "https://web.co/w.bin may not be read with these credentials (403); check MARTLET_HTTP_AUTHORIZATION and the file's permissions there"
            ),
            (
                webFile.error(head(416)), .changed,
                "https://web.co/w.bin changed at the origin while it was read; resolve the reference again"
            ),
            (
                hubFile.truncated, .truncated,
                "hub.co keeps ending org/name/sub/w.bin before its length; try again, or check the server and the proxies between"
            ),
            (
                webFile.rangesUnsupported, .rangesUnsupported,
                "web.co does not serve ranges of https://web.co/w.bin; it can only be read whole, as one stream"
            ),
            (
                model.error(head(429, retryAfter: "300")), .rateLimited,
                "hub.co limits the rate of requests (429), it asks to wait 300 seconds; try again later or set HF_TOKEN, which has a higher limit"
            ),
            (
                model.error(head(502)), .unreachable,
                "hub.co fails to serve org/name (status 502); try again later"
            ),
            (
                webFile.error(HTTPError(.dns, url: "https://web.co/w.bin?sig=secret")), .unreachable,
                "cannot find the host of https://web.co/w.bin; check the name and the resolver"
            ),
            (
                webFile.error(HTTPError(.tls, url: "https://web.co/w.bin")), .unreachable,
                "cannot trust https://web.co/w.bin: TLS failed; check the host's certificate and the machine's CA bundle and clock"
            ),
            (
                webFile.error(head(302)), .invalidResponse,
                "web.co answered https://web.co/w.bin with status 302; check that it serves what the reference says"
            ),
            (
                webFile.error(HTTPError(.cancelled, url: "https://web.co")), .cancelled,
                "reading https://web.co/w.bin was cancelled"
            ),
        ]
        for (error, code, sentence) in table {
            #expect(error.code == code)
            #expect(error.description == sentence)
            #expect(!error.description.contains("secret"))
        }
    }
}

@Suite struct OriginSettingsTests {
    @Test func aTokenIsForItsHubOnly() throws {
        let settings = try OriginSettings(environment: [
            "HF_TOKEN": " hf_secret\n", "HF_ENDPOINT": "https://mirror.x/hf",
        ])
        #expect(settings.credentials.authorization(for: "https://mirror.x/api") == "Bearer hf_secret")
        for other in [
            "http://mirror.x/api", "https://mirror.x:444/", "https://huggingface.co/",
            "https://mirror.x.evil/", "nonsense",
        ] {
            #expect(settings.credentials.authorization(for: other) == nil)
        }
    }

    @Test func tokensHaveTheirOrder() throws {
        let directory = FileManager.default.temporaryDirectory.appending(
            path: "martlet-token-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        try Data("hf_file\n".utf8).write(to: directory.appending(path: "token"))
        let home = directory.path(percentEncoded: false)
        func bearer(_ environment: [String: String]) throws -> String? {
            try OriginSettings(environment: environment).credentials.authorization(
                for: "https://huggingface.co/x")
        }
        #expect(
            try bearer(["HF_TOKEN": "hf_a", "HUGGING_FACE_HUB_TOKEN": "hf_b", "HF_HOME": home])
                == "Bearer hf_a")
        #expect(try bearer(["HUGGING_FACE_HUB_TOKEN": "hf_b", "HF_HOME": home]) == "Bearer hf_b")
        #expect(try bearer(["HF_TOKEN": "", "HF_HOME": home]) == "Bearer hf_file")
        #expect(try bearer(["HF_TOKEN_PATH": home + "/token"]) == "Bearer hf_file")
        #expect(try bearer(["HOME": "/nonexistent"]) == nil)
    }

    @Test func credentialsAreNeverPrinted() throws {
        let settings = try OriginSettings(environment: [
            "HF_TOKEN": "hf_secret", "MARTLET_HTTP_AUTHORIZATION": "models.example.com Bearer other_secret",
        ])
        #expect(
            settings.credentials.authorization(for: "https://models.example.com/f") == "Bearer other_secret")
        #expect(settings.credentials.authorization(for: "http://models.example.com/f") == nil)
        var dumped = ""
        dump(settings, to: &dumped)
        for text in ["\(settings)", String(reflecting: settings), dumped, "\(settings.credentials)"] {
            #expect(!text.contains("secret"))
        }
        #expect("\(settings.credentials)".contains("https://huggingface.co:443"))
    }

    @Test(arguments: [
        ["HF_ENDPOINT": "huggingface.co"], ["HF_TOKEN": "hf_se\ncret"],
        ["MARTLET_HTTP_AUTHORIZATION": "secret"],
        ["MARTLET_HTTP_AUTHORIZATION": "host "],
    ]) func malformedSettingsAreNamedNotShown(_ environment: [String: String]) {
        let error = #expect(throws: OriginError.self) { try OriginSettings(environment: environment) }
        #expect(error?.code == .invalidSetting)
        #expect(error?.description.contains(environment.keys.first!) == true)
        #expect(error?.description.contains("secret") == false)
    }
}
