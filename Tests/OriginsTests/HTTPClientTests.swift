import Foundation
import HTTP
import Testing

@Suite(.timeLimit(.minutes(2))) struct HTTPClientTests {
    private let quick = HTTPRetryPolicy(
        retriesMax: 2, baseNs: 1_000_000, delayNsMax: 5_000_000, retryAfterSecondsMax: 1)

    private func failure(_ client: HTTPClient, _ url: String, bytesMax: Int = 1000) async -> HTTPError? {
        do {
            _ = try await client.body(HTTPRequest(.get, url), bytesMax: bytesMax, retry: .none)
            return nil
        } catch { return error }
    }

    @Test func bodiesHeadsAndStatusesComeBack() async throws {
        let server = try HTTPServer(
            address: "127.0.0.1", port: 0,
            routes: [
                "/metrics": { .init(body: "up 1\n") }, "/readyz": { .init(status: 503, body: "starting\n") },
            ])
        defer { server.stop() }
        let client = try HTTPClient(settings: .local)
        let url = "http://127.0.0.1:\(server.port)"
        let metrics = try await client.body(HTTPRequest(.get, url + "/metrics"), bytesMax: 100)
        #expect(metrics.body == Array("up 1\n".utf8))
        #expect(metrics.head.status == 200)
        #expect(metrics.head["content-type"] == "text/plain; charset=utf-8")
        try metrics.requireSuccess()
        let ready = try await client.body(HTTPRequest(.get, url + "/readyz"), bytesMax: 100, retry: quick)
        #expect(ready.head.status == 503)
        #expect(throws: HTTPError(.status(503), url: url + "/readyz")) { try ready.requireSuccess() }
        let missing = try await client.body(HTTPRequest(.get, url + "/x"), bytesMax: 100)
        #expect(missing.head.status == 404)
        #expect(String(decoding: missing.body, as: UTF8.self) == "not here; try /metrics /readyz\n")
        let head = try await client.head(HTTPRequest(.head, url + "/metrics"))
        #expect(head.contentLength == 5)
        #expect(try await client.head(HTTPRequest(.get, url + "/metrics")).status == 200)
        #expect(await failure(client, url + "/metrics", bytesMax: 4)?.code == .tooLarge)
    }

    @Test func failuresHaveTheirCodes() async throws {
        let server = try HTTPServer(address: "127.0.0.1", port: 0, routes: [:])
        let port = server.port
        server.stop()
        let client = try HTTPClient(settings: .local)
        #expect(await failure(client, "http://127.0.0.1:\(port)/x")?.code == .connect)
        #expect(await failure(client, "http://name.invalid/x")?.code == .dns)
        #expect(await failure(client, "ftp://127.0.0.1/x")?.code == .invalidURL)
        #expect(await failure(client, "file:///etc/passwd")?.code == .invalidURL)
        #expect(await failure(client, "http://127.0.0.1:99999/x")?.code == .invalidURL)
    }

    @Test func aRedirectRoundAndRoundEnds() async throws {
        let hub = try LocalHub(["a/x": [1]])
        try hub.fault(#"{"redirect": ""}"#)
        #expect(await failure(try HTTPClient(settings: .local), "\(hub.endpoint)/files/a/x")?.code == .tooManyRedirects)
        try hub.fault(#"{"redirect": "ftp://127.0.0.1"}"#)
        #expect(await failure(try HTTPClient(settings: .local), "\(hub.endpoint)/files/a/x")?.code == .refusedRedirect)
        var request = HTTPRequest(.get, "\(hub.endpoint)/files/a/x")
        request.followsRedirects = false
        #expect(try await HTTPClient(settings: .local).head(request).status == 302)
    }

    @Test func certificatesAreVerified() async throws {
        let directory = FileManager.default.temporaryDirectory.appending(
            path: "martlet-tls-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let pem = directory.appending(path: "both.pem").path(percentEncoded: false)
        let openssl = try ChildProcess([
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-days", "2", "-subj",
            "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", pem + ".key", "-out",
            pem + ".crt",
        ])
        try #require(openssl.wait() == 0, "the openssl command makes the test's certificate")
        try (Data(contentsOf: URL(filePath: pem + ".key")) + Data(contentsOf: URL(filePath: pem + ".crt")))
            .write(
                to: URL(filePath: pem))

        let hub = try LocalHub(["a/x": [1, 2]], certificate: pem)
        let url = "https://127.0.0.1:\(hub.port)/files/a/x"
        #expect(await failure(try HTTPClient(settings: .local), url)?.code == .tls)
        var settings = HTTPClientSettings.local
        settings.caFile = pem + ".crt"
        let client = try HTTPClient(settings: settings)
        #expect(try await client.body(HTTPRequest(.get, url), bytesMax: 10).body == [1, 2])
        #expect(await failure(client, "https://localhost:\(hub.port)/files/a/x")?.code == .tls)
    }

    @Test func aCancelledTaskGetsItsErrorAndAShutClientTakesNothing() async throws {
        let hub = try LocalHub(["a/x": patternedBytes(100_000)])
        try hub.fault(#"{"bytes_per_s": 1000}"#)
        let client = try HTTPClient(settings: .local)
        let url = "\(hub.endpoint)/files/a/x"
        let task = Task { await failure(client, url, bytesMax: 1 << 20) }
        while try hub.served().requests == 0 { try await Task.sleep(nanoseconds: 5_000_000) }
        task.cancel()
        #expect(await task.value?.code == .cancelled)
        client.shutdown()
        #expect(await failure(client, url)?.code == .cancelled)
    }

    @Test func silenceHasALimit() async throws {
        let hub = try LocalHub(["a/x": patternedBytes(100_000)])
        try hub.fault(#"{"bytes_per_s": 1}"#)
        var request = HTTPRequest(.get, "\(hub.endpoint)/files/a/x")
        request.totalSecondsMax = 1
        let client = try HTTPClient(settings: .local)
        let error = await #expect(throws: HTTPError.self) {
            try await client.body(request, bytesMax: 1 << 20, retry: .none)
        }
        #expect(error?.code == .timeout)
    }
}

extension HTTPClientSettings {
    /// For servers on this machine.
    static var local: HTTPClientSettings {
        var settings = HTTPClientSettings()
        settings.addresses = .any
        return settings
    }
}

@Suite struct HTTPServerTests {
    @Test func aPortInUseIsSaidClearly() throws {
        let first = try HTTPServer(address: "127.0.0.1", port: 0, routes: [:])
        let error = #expect(throws: HTTPServer.StartError.self) {
            try HTTPServer(address: "127.0.0.1", port: first.port, routes: [:])
        }
        #expect(
            error?.description
                == "cannot listen on 127.0.0.1:\(first.port): the port is in use; stop the other process or choose another port (0 takes any free one) [errno 98]"
        )
        first.stop()
        let again = try HTTPServer(address: "127.0.0.1", port: first.port, routes: [:])
        #expect(again.port == first.port)
        again.stop()
        again.stop()
    }

    @Test func onlyNumericAddressesAreTaken() {
        let error = #expect(throws: HTTPServer.StartError.self) {
            try HTTPServer(address: "nonsense", port: 0, routes: [:])
        }
        #expect(error?.description.contains("write one such as 127.0.0.1 or ::") == true)
    }
}

@Suite struct HTTPMessageTests {
    private func head(_ headers: [HTTPHeader]) -> HTTPResponseHead {
        HTTPResponseHead(status: 206, headers: headers, url: "")
    }

    @Test func contentRangesAreReadStrictly() {
        let range = head([HTTPHeader("content-range", "bytes 5-9/100")]).contentRange
        #expect(range?.first == 5 && range?.last == 9 && range?.total == 100)
        for wrong in [
            "bytes 9-5/100", "bytes 5-100/100", "bytes 5-9/*", "bytes */100", "5-9/100", "bytes -5-9/100",
            "bytes 5-9/100/1", "",
        ] {
            #expect(head([HTTPHeader("content-range", wrong)]).contentRange == nil)
        }
    }

    @Test func theNextLinkIsFound() {
        #expect(
            head([HTTPHeader("link", "<https://h/a?cursor=x>; rel=\"next\"")]).nextLink
                == "https://h/a?cursor=x")
        #expect(
            head([HTTPHeader("link", "<https://h/p>; rel=\"prev\", <https://h/n>; rel=next")]).nextLink
                == "https://h/n")
        #expect(head([HTTPHeader("link", "<https://h/x>; rel=\"xet-auth\"")]).nextLink == nil)
        #expect(head([]).nextLink == nil)
    }

    @Test func retryAfterIsANumberOrADate() {
        #expect(head([HTTPHeader("retry-after", "17")]).retryAfterSeconds == 17)
        #expect(head([HTTPHeader("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")]).retryAfterSeconds == 0)
        #expect(
            (head([HTTPHeader("retry-after", "Wed, 21 Oct 2099 07:28:00 GMT")]).retryAfterSeconds ?? 0)
                > 1_000_000)
        #expect(head([HTTPHeader("retry-after", "soon")]).retryAfterSeconds == nil)
    }

    @Test func URLsAreShownWithoutSecrets() {
        #expect(HTTPURL.shown("https://user:pw@host:1/a/b?sig=x#f") == "https://host:1/a/b")
        #expect(HTTPURL.shown("https://host?sig=x") == "https://host")
        #expect(HTTPURL.shown("nonsense?sig") == "nonsense")
        #expect(!HTTPError(.dns, url: "https://u:p@h/?t=1").description.contains("t=1"))
    }

    @Test func originsAreSchemeHostAndPort() {
        #expect(HTTPURL.origin(of: "https://Host/a") == "https://host:443")
        #expect(HTTPURL.origin(of: "HTTP://u@host:81?x") == "http://host:81")
        #expect(HTTPURL.origin(of: "http://[::1]/") == "http://[::1]:80")
        #expect(HTTPURL.origin(of: "http://[::1]:8/") == "http://[::1]:8")
        #expect(HTTPURL.origin(of: "https://host@evil.x/") == "https://evil.x:443")
        #expect(HTTPURL.origin(of: "ftp://host/") == nil)
        #expect(HTTPURL.origin(of: "https:///a") == nil)
    }
}

@Suite struct HTTPRetryPolicyTests {
    private let policy = HTTPRetryPolicy(
        retriesMax: 4, baseNs: 100, delayNsMax: 1000, retryAfterSecondsMax: 60)

    @Test func waitsDoubleUpToTheirLimit() {
        #expect(
            (0...4).map { policy.delayNs(retry: $0, retryAfterSeconds: nil, random: 1) } == [
                100, 200, 400, 800, nil,
            ])
        #expect(
            HTTPRetryPolicy(retriesMax: 100, baseNs: 100, delayNsMax: 1000).delayNs(
                retry: 99, retryAfterSeconds: nil, random: 1) == 1000)
    }

    @Test func jitterTakesUpToHalf() {
        #expect(policy.delayNs(retry: 1, retryAfterSeconds: nil, random: 0) == 100)
        #expect(policy.delayNs(retry: 1, retryAfterSeconds: nil, random: 0.5) == 150)
    }

    @Test func theServersWordIsALowerBoundAndHasALimit() {
        #expect(policy.delayNs(retry: 0, retryAfterSeconds: 60, random: 0) == 60_000_000_050)
        #expect(policy.delayNs(retry: 0, retryAfterSeconds: 61, random: 0) == nil)
    }
}
