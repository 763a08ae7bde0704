import HTTP
import Testing

@testable import Observability

/// Reads the text format strictly: every sample belongs to a family announced above it.
private func parsed(_ text: String) throws -> [String: Double] {
    var samples: [String: Double] = [:]
    var types: [String: String] = [:]
    #expect(text.hasSuffix("\n"))
    for line in text.split(separator: "\n") {
        if line.hasPrefix("# HELP ") { continue }
        if line.hasPrefix("# TYPE ") {
            let words = line.split(separator: " ")
            #expect(words.count == 4 && types[String(words[2])] == nil)
            types[String(words[2])] = String(words[3])
            continue
        }
        let space = try #require(line.lastIndex(of: " "))
        let series = String(line[..<space])
        let name = series.prefix { $0 != "{" }
        let family =
            ["_bucket", "_sum", "_count"].first {
                name.hasSuffix($0) && types[String(name.dropLast($0.count))] == "histogram"
            }
            .map { String(name.dropLast($0.count)) } ?? String(name)
        #expect(types[family] != nil, "\(series) was not announced")
        let number = line[line.index(after: space)...]
        samples[series] = try #require(number == "+Inf" ? .infinity : Double(number))
    }
    return samples
}

@Suite struct MetricsTests {
    @Test func expositionParses() throws {
        let metrics = MetricsRegistry()
        let bytes = metrics.counter(
            "martlet_received_bytes_total", "Bytes\nreceived \\ by source.", labels: ["source"])
        bytes["seed"].add(4096)
        bytes["seed"].add(4)
        bytes["a \"b\"\\\n"].add()
        let links = metrics.gauge("martlet_links", "Links.")[]
        links.set(3)
        links.add(-1.5)
        let seconds = metrics.histogram("martlet_piece_seconds", "Time.", buckets: [0.1, 1])[]
        for value in [0.05, 0.1, 0.5, 7] { seconds.observe(value) }
        metrics.collect("martlet_slots_bytes", "Slots.", kind: .gauge) {
            [MetricSample(labels: [("state", "taken")], value: UInt64(1) << 53 + 1)]
        }
        let text = metrics.exposition()
        let samples = try parsed(text)
        #expect(samples["martlet_received_bytes_total{source=\"seed\"}"] == 4100)
        #expect(samples["martlet_received_bytes_total{source=\"a \\\"b\\\"\\\\\\n\"}"] == 1)
        #expect(samples["martlet_links"] == 1.5)
        #expect(samples["martlet_piece_seconds_bucket{le=\"0.1\"}"] == 2)
        #expect(samples["martlet_piece_seconds_bucket{le=\"1.0\"}"] == 3)
        #expect(samples["martlet_piece_seconds_bucket{le=\"+Inf\"}"] == 4)
        #expect(samples["martlet_piece_seconds_count"] == 4)
        #expect(samples["martlet_build_info{version=\"\(BuildInfo.version)\"}"] == 1)
        #expect(text.contains("martlet_slots_bytes{state=\"taken\"} 9007199254740993\n"))
        #expect(text.contains("# HELP martlet_received_bytes_total Bytes\\nreceived \\\\ by source.\n"))
    }

    @Test func processFiguresAreThere() throws {
        let samples = try parsed(MetricsRegistry().exposition())
        #expect(try #require(samples["process_resident_memory_bytes"]) > 1e6)
        #expect(try #require(samples["process_resident_memory_max_bytes"]) >= 1e6)
        #expect(try #require(samples["process_cpu_seconds_total"]) > 0)
        #expect(try #require(samples["process_open_fds"]) >= 3)
        // After 2020, before now and a day (the test machine's clock is what both come from).
        #expect(try #require(samples["process_start_time_seconds"]) > 1_577_836_800)
    }

    @Test func labelsAreBounded() throws {
        let metrics = MetricsRegistry()
        let family = metrics.counter("martlet_x_total", "X.", labels: ["host"])
        for number in 0..<500 { family["h\(number)"].add() }
        let samples = try parsed(metrics.exposition()).filter { $0.key.hasPrefix("martlet_x_total") }
        #expect(samples.count == MetricFamily<Counter>.seriesMax + 1)
        #expect(samples["martlet_x_total{host=\"other\"}"] == 300)
    }

    @Test func countsFromManyTasks() async {
        let metrics = MetricsRegistry()
        let gauge = metrics.gauge("martlet_g", "G.")[]
        let family = metrics.counter("martlet_c_total", "C.", labels: ["k"])
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<8 {
                group.addTask {
                    for _ in 0..<1000 {
                        gauge.add(1)
                        family["a"].add()
                    }
                }
            }
        }
        #expect(gauge.value == 8000 && family["a"].value == 8000)
    }
}

@Suite struct ReadinessTests {
    @Test func everyCheckMustPass() {
        let readiness = Readiness()
        #expect(readiness.isReady)
        let store = readiness.check("store")
        let scheduler = readiness.check("scheduler")
        #expect(!readiness.isReady && readiness.report.contains("[-] store: starting"))
        store.pass()
        scheduler.fail("not attached")
        #expect(readiness.report == "[+] store ok\n[-] scheduler: not attached\n")
        scheduler.pass()
        #expect(readiness.isReady)
    }

    @Test func servesProbesAndMetrics() async throws {
        let readiness = Readiness()
        let check = readiness.check("scheduler")
        let server = try ObservabilityServer(
            address: "127.0.0.1", port: 0, metrics: MetricsRegistry(), readiness: readiness)
        defer { server.stop() }
        var settings = HTTPClientSettings()
        settings.addresses = .any
        let client = try HTTPClient(settings: settings)
        defer { client.shutdown() }
        func get(_ path: String) async throws -> (status: Int, body: String) {
            let request = HTTPRequest(.get, "http://127.0.0.1:\(server.port)\(path)")
            let response = try await client.body(request, bytesMax: 1 << 20, retry: .none)
            return (response.head.status, String(decoding: response.body, as: UTF8.self))
        }
        #expect(try await get("/livez").status == 200)
        let before = try await get("/readyz")
        #expect(before.status == 503 && before.body == "[-] scheduler: starting\nnot ready\n")
        check.pass()
        #expect(try await get("/readyz").status == 200)
        let samples = try parsed(try await get("/metrics").body)
        #expect(samples["martlet_build_info{version=\"\(BuildInfo.version)\"}"] == 1)
    }
}

@Suite struct JSONValueTests {
    @Test func writesOnOneLineAndIndented() {
        let value: JSONValue = [
            "a": [1, true, "x\"\u{1}"], "b": [:], "c": .null, "d": .unsigned(.max), "e": .number(.nan),
            "f": 0.5,
        ]
        #expect(
            value.text()
                == "{\"a\":[1,true,\"x\\\"\\u0001\"],\"b\":{},\"c\":null,\"d\":18446744073709551615,\"e\":null,\"f\":0.5}"
        )
        #expect((["k": [1]] as JSONValue).text(pretty: true) == "{\n  \"k\": [\n    1\n  ]\n}")
    }
}
