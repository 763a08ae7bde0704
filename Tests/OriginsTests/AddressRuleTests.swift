import Artifacts
import HTTP
import Origins
import Testing

@Suite struct InternetAddressTests {
    @Test(arguments: [
        "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "10.1.2.3",
        "172.16.0.1", "172.31.255.255", "192.168.0.1", "169.254.169.254", "0xa9fea9fe", "2852039166", "100.100.100.200",
        "168.63.129.16", "0.0.0.0", "0", "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.19.0.1", "192.0.0.192",
        "::1", "::", "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:a9fe:a9fe", "64:ff9b::7f00:1",
        "64:ff9b::169.254.169.254",
        "2002:7f00:1::", "2002:a9fe:a9fe::1", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1",
        "2001::1", "::127.0.0.1", "64:ff9b:1::1", "fec0::1", "4000::1",
    ])
    func isNotOfThePublicInternet(_ text: String) throws {
        #expect(try #require(InternetAddress(text)).restriction != nil)
    }

    @Test(arguments: [
        "1.1.1.1", "8.8.8.8", "172.15.0.1", "172.32.0.1", "192.167.0.1", "11.0.0.1", "100.63.0.1", "100.128.0.1",
        "169.253.0.1", "223.255.255.255", "2606:4700::1111", "2a00:1450:4001::8", "::ffff:8.8.8.8", "64:ff9b::808:808",
        "2002:808:808::1",
    ])
    func isOfThePublicInternet(_ text: String) throws {
        #expect(try #require(InternetAddress(text)).restriction == nil)
    }

    @Test(arguments: ["", "example.com", "1.2.3.4.5", "[::1]", "1.2.3.256", "::1%lo", "127.0.0.1\0.example.com"])
    func namesAreNoAddresses(_ text: String) {
        #expect(InternetAddress(text) == nil)
    }

    @Test func rangesHoldWhatBeginsAlike() throws {
        let range = try #require(AddressRange("10.1.128.0/17"))
        #expect(range.contains(try #require(InternetAddress("10.1.128.1"))))
        #expect(range.contains(try #require(InternetAddress("10.1.255.255"))))
        #expect(!range.contains(try #require(InternetAddress("10.1.127.255"))))
        #expect(!range.contains(try #require(InternetAddress("fd00::1"))))
        #expect(try #require(AddressRange("0.0.0.0/0")).contains(try #require(InternetAddress("9.9.9.9"))))
        for malformed in ["10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "10.0.0.0/8/8", "x/8", "::/129", "10.0.0.0/0008"] {
            #expect(AddressRange(malformed) == nil)
        }
    }
}

/// A server on this machine stands for whatever only this machine can reach.
@Suite(.timeLimit(.minutes(2))) struct AddressRuleTests {
    private func failure(_ settings: HTTPClientSettings, _ url: String) async throws -> HTTPError? {
        let client = try HTTPClient(settings: settings)
        do {
            _ = try await client.body(HTTPRequest(.get, url), bytesMax: 1000, retry: .none)
            return nil
        } catch { return error }
    }

    private func allowing(_ listed: String) throws -> HTTPClientSettings {
        var settings = HTTPClientSettings()
        try #require(settings.addresses.allow(listed: listed) == nil)
        return settings
    }

    @Test(arguments: [
        "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "localhost", "LOCALHOST.", "[::1]",
        "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0.0.0.0", "0", "user:password@127.0.0.1",
    ])
    func noSpellingOfThisMachineIsAsked(_ host: String) async throws {
        let hub = try LocalHub(["a/x": [1]])
        let error = try await failure(HTTPClientSettings(), "http://\(host):\(hub.port)/files/a/x")
        #expect(error?.code == .refusedAddress)
        #expect(error?.isTransient == false)
        #expect(try hub.served().requests == 0)
    }

    @Test func metadataServicesAreNamedAsSuch() async throws {
        let error = try await failure(HTTPClientSettings(), "http://169.254.169.254/latest/meta-data/")
        #expect(error?.code == .refusedAddress)
        #expect(error?.detail == "169.254.169.254 is link-local, where clouds keep their metadata service")
    }

    /// What a name is resolved to is judged at the socket: no matter what it was a moment before.
    @Test(arguments: ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "192.0.2.1,127.0.0.1"])
    func aNameThatLeadsHereIsNotAsked(_ address: String) async throws {
        let hub = try LocalHub(["a/x": [1]])
        var settings = HTTPClientSettings()
        settings.resolved = ["models.example:\(hub.port):\(address)"]
        let error = try await failure(settings, "http://models.example:\(hub.port)/files/a/x")
        #expect(error?.code == .refusedAddress)
        #expect(try hub.served().requests == 0)
    }

    @Test(arguments: ["127.0.0.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "localhost", "metadata.example"])
    func aRedirectLeadsNowhereThatAReferenceMayNot(_ host: String) async throws {
        let inner = try LocalHub(["a/x": [1]])
        let outer = try LocalHub(["a/x": [2]])
        try outer.fault(#"{"redirect": "http://\#(host):\#(inner.port)"}"#)
        var settings = HTTPClientSettings()
        settings.addresses.allow(serverOf: outer.endpoint)
        settings.resolved = ["metadata.example:\(inner.port):127.0.0.1"]
        let error = try await failure(settings, "\(outer.endpoint)/files/a/x")
        #expect(error?.code == .refusedAddress)
        #expect(try inner.served().requests == 0)
    }

    @Test func whatIsAllowedIsAsked() async throws {
        let hub = try LocalHub(["a/x": [1]])
        let url = "http://127.0.0.1:\(hub.port)/files/a/x"
        for listed in ["all", "127.0.0.0/8", "10.0.0.0/8, 127.0.0.1"] {
            #expect(try await failure(allowing(listed), url) == nil)
        }
        for listed in ["", "10.0.0.0/8", "127.0.0.2", "localhost", "::1"] {
            #expect(try await failure(allowing(listed), url)?.code == .refusedAddress)
        }
        var named = try allowing("models.example")
        named.resolved = ["models.example:\(hub.port):127.0.0.1", "other.example:\(hub.port):127.0.0.1"]
        #expect(try await failure(named, "http://models.example:\(hub.port)/files/a/x") == nil)
        let other = "http://other.example:\(hub.port)/files/a/x"
        #expect(try await failure(named, other)?.code == .refusedAddress)
    }

    @Test func theHubThatTheOperatorNamedMayStandAnywhereButNotItsNeighbours() async throws {
        let hub = try LocalHub(["a/x": [1]])
        let neighbour = try LocalHub(["a/x": [1]])
        let settings = try OriginSettings(environment: ["HF_ENDPOINT": hub.endpoint, "HOME": "/nonexistent"])
        #expect(try await failure(settings.client, "\(hub.endpoint)/files/a/x") == nil)
        #expect(try await failure(settings.client, "\(neighbour.endpoint)/files/a/x")?.code == .refusedAddress)
    }

    @Test func referencesAreRefusedWithAReason() async throws {
        let hub = try LocalHub(["a/x": [1]])
        let origins = try Origins(settings: OriginSettings(environment: ["HOME": "/nonexistent"]))
        for text in ["http://127.0.0.1:\(hub.port)/files/a/x", "hf://127.0.0.1:\(hub.port)/org/name"] {
            let error = await #expect(throws: OriginError.self) { try await origins.resolve(ModelReference(text)) }
            #expect(error?.code == .refusedAddress, "\(text)")
            #expect(error?.description.contains("origin.allow_private") == true)
        }
        #expect(try hub.served().requests == 0)
    }

    @Test(arguments: ["10.0.0.0/33", "http://x", "a b/c", "host:80"])
    func aListThatCannotBeMeantIsRefused(_ listed: String) throws {
        var settings = try OriginSettings(environment: ["HOME": "/nonexistent"])
        let error = #expect(throws: OriginError.self) { try settings.allowAddresses(listed: listed) }
        #expect(error?.code == .invalidSetting)
    }

    @Test func credentialsStayWithTheServerTheyWereGivenFor() async throws {
        let other = try LocalHub(["a/x": [1]])
        let first = try LocalHub(["a/x": [2]])
        try first.fault(#"{"redirect": "\#(other.endpoint)"}"#)
        try other.fault(#"{"refuse_authorization": true}"#)
        let client = try HTTPClient(settings: .local)
        let request = HTTPRequest(
            .get, "\(first.endpoint)/files/a/x", headers: [HTTPHeader("Authorization", "Bearer secret")])
        let response = try await client.body(request, bytesMax: 100, retry: .none)
        #expect(response.body == [1])
    }
}

/// Proxies are the operator's: they may be anywhere, what they are asked for may not.
@Suite(.timeLimit(.minutes(2))) struct ProxyRuleTests {
    @Test func aProxyIsNotAskedForWhatMayNotBeAsked() async throws {
        let proxy = try LocalHub(["a/x": [1]])
        var settings = HTTPClientSettings()
        settings.proxy = proxy.endpoint
        settings.connectSecondsMax = 5
        let client = try HTTPClient(settings: settings)
        func code(_ url: String) async -> HTTPError.Code? {
            do {
                _ = try await client.body(HTTPRequest(.get, url), bytesMax: 1000, retry: .none)
                return nil
            } catch { return error.code }
        }
        for host in ["127.0.0.1", "10.0.0.1", "2852039166", "localhost", "[fd00:ec2::254]"] {
            #expect(await code("http://\(host)/files/a/x") == .refusedAddress)
            #expect(await code("https://\(host)/files/a/x") == .refusedAddress)
        }
        #expect(try proxy.served().requests == 0)
        // A public name goes through it, although it stands on loopback.
        #expect(await code("http://models.example/files/a/x") == nil)
    }
}
