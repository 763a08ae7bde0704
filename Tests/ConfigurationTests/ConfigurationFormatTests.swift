import Testing

@testable import Configuration

@Suite struct ConfigurationFileTests {
    private func entries(_ text: String) throws -> [String] {
        try ConfigurationFile(path: "f", text: text).entries.map { "\($0.line) \($0.name)=\($0.text)" }
    }

    @Test func readsTheSubset() throws {
        let text =
            "\u{20}# top\r\n[peer] # here\r\n  rack=\"a \\\"b\\\" \\\\ #c\"\r\n\r\nstreams = 1_6\n[tls]\ninsecure = true # yes\nca = 'C:\\x'\n"
        #expect(
            try entries(text) == [
                "3 peer.rack=a \"b\" \\ #c", "5 peer.streams=16", "7 tls.insecure=true", "8 tls.ca=C:\\x",
            ])
        #expect(
            try entries("[peer]\nschedulers = [ \"a:1\", 'b:2', ]\nzone = []") == [
                "2 peer.schedulers=a:1,b:2", "3 peer.zone=",
            ])
        #expect(try entries("") == [])
    }

    @Test(arguments: [
        ("[peer", "f:1: expected ]"), ("[]", "f:1: expected a section's name"),
        ("[a] x", "f:1: something follows [a]"),
        ("x = 1", "f:1: x stands in no section"), ("[a]\nx", "f:2: expected = after x"),
        ("[a]\nx = y", "f:2: the value of x"),
        ("[a]\nx = \"y", "f:2: the value of x"), ("[a]\nx = 1 2", "f:2: something follows"),
        ("[a]\nx = 1\n[b]\n[a]\nx = 2", "f:5: a.x is already set in line 2"),
        ("[a]\nx = \"\\q\"", "f:2: the value"), ("?", "f:1: expected [section]"),
        ("[a]\nx = [\"a\" \"b\"]", "f:2: the value"),
    ])
    func refusesTheRest(_ text: String, _ sentence: String) {
        #expect(refusal { _ = try entries(text) }.hasPrefix(sentence))
    }

    @Test func isBounded() {
        let many = "[a]\n" + (0...ConfigurationFile.entriesMax).map { "k\($0) = 1\n" }.joined()
        #expect(refusal { _ = try entries(many) }.contains("too many entries"))
        #expect(refusal { _ = try ConfigurationFile.load("/dev/zero") }.contains("larger than 1 MiB"))
        #expect(refusal { _ = try ConfigurationFile.load("/tmp") }.contains("it is a directory"))
    }
}

@Suite struct ConfigurationUnitsTests {
    @Test(
        arguments: [
            ("256MiB", 256 << 20), ("1 GiB", 1 << 30), ("4096", 4096), ("4096B", 4096), ("0", 0),
            ("2KiB", 2048), ("3TiB", 3 << 40),
        ] as [(String, UInt64)])
    func readsBytes(_ text: String, _ bytes: UInt64) { #expect(ConfigurationUnits.bytes(text) == bytes) }

    @Test(arguments: [
        "", "MiB", "1MB", "-1", "1.5GiB", "1mib", "99999999999999999999", "20000000TiB", "1 MiB x",
    ])
    func refusesOtherBytes(_ text: String) { #expect(ConfigurationUnits.bytes(text) == nil) }

    @Test(
        arguments: [
            ("500ms", 500_000_000), ("10s", 10_000_000_000), ("2m", 120_000_000_000),
            ("1h", 3_600_000_000_000), ("0", 0),
        ] as [(String, UInt64)])
    func readsTimes(_ text: String, _ ns: UInt64) { #expect(ConfigurationUnits.durationNs(text) == ns) }

    @Test(arguments: ["", "10", "s", "1.5s", "-1s", "1 day", "9999999999999h"])
    func refusesOtherTimes(_ text: String) { #expect(ConfigurationUnits.durationNs(text) == nil) }

    @Test func writesWhatItReads() {
        for bytes: UInt64 in [0, 1, 1024, 4097, 256 << 20, 3 << 40] {
            #expect(ConfigurationUnits.bytes(ConfigurationUnits.bytesText(bytes)) == bytes)
        }
        for ms: UInt64 in [0, 1, 500, 1000, 90_000, 7_200_000] {
            #expect(
                ConfigurationUnits.durationNs(ConfigurationUnits.durationText(ms * 1_000_000)) == ms
                    * 1_000_000)
        }
        #expect(Duration.seconds(-1).clampedNs == 0 && Duration.milliseconds(1).clampedNs == 1_000_000)
    }
}

@Suite struct NetworkAddressTests {
    @Test(arguments: ["10.0.0.7:7610", "scheduler.example:1", "[::1]:7610", "[fe80::1]:0"])
    func readsAndWrites(_ text: String) { #expect(NetworkAddress(text)?.description == text) }

    @Test(arguments: [
        "", ":1", "a", "a:", "a:65536", "a:-1", "a:+1", "::1:7610", "[]:1", "[a]:1", "a b:1", "tcp://a:1",
        "a/b:1",
    ])
    func refusesTheRest(_ text: String) { #expect(NetworkAddress(text) == nil) }

    @Test func knowsWhoCanReachIt() {
        #expect(
            NetworkAddress(host: "127.3.2.1", port: 1).isLoopback
                && NetworkAddress(host: "::1", port: 1).isLoopback)
        #expect(
            !NetworkAddress(host: "127.example.org", port: 1).isLoopback
                && NetworkAddress(host: "::", port: 1).isWildcard)
    }
}

@Suite struct SpellingTests {
    @Test func findsTheNearest() {
        let known = ["get", "ls", "pin", "unpin", "peer", "scheduler"]
        #expect(Spelling.nearest(to: "gte", in: known) == "get")
        #expect(Spelling.nearest(to: "schduler", in: known) == "scheduler")
        #expect(Spelling.nearest(to: "unpn", in: known) == "unpin")
        #expect(Spelling.nearest(to: "frobnicate", in: known) == nil)
        #expect(Spelling.hint(for: "per", in: known) == "; did you mean peer?")
    }

    @Test(arguments: [("abc", "abc", 0), ("abc", "acb", 1), ("", "ab", 2), ("kitten", "sitting", 3)])
    func countsEdits(_ left: String, _ right: String, _ edits: Int) {
        #expect(Spelling.distance(Array(left.utf8), Array(right.utf8)) == edits)
    }
}
