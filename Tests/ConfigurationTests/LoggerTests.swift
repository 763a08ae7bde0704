import Glibc
import Synchronization
import System
import Testing

@testable import Observability

/// Lines that were logged.
private final class Lines: Sendable {
    private let lines = Mutex<[String]>([])
    var all: [String] { lines.withLock { $0 } }
    func sink(_ format: LogSink.Format) -> LogSink {
        LogSink(format: format) { line in self.lines.withLock { $0.append(line) } }
    }
}

@Suite struct LoggerTests {
    @Test func writesTextWithFields() throws {
        let lines = Lines()
        let log = Logger(component: "peer", sink: lines.sink(.text)).with(["model": "org/name"])
        log.debug("not written")
        log.info(
            "scheduler attached",
            [
                "hosts": 3, "address": "10.0.0.5:7610", "note": "two words", "ok": true, "rate": 1.5,
                "none": "",
            ])
        let line = try #require(lines.all.first)
        #expect(lines.all.count == 1)
        #expect(
            line.dropFirst(24)
                == " info peer: scheduler attached model=org/name hosts=3 address=10.0.0.5:7610 note=\"two words\" ok=true rate=1.5 none=\"\""
        )
    }

    @Test func writesJSON() throws {
        let lines = Lines()
        Logger(component: "seed", sink: lines.sink(.json)).error(
            "a \"quoted\"\nline", ["bytes": .count(UInt64.max)])
        let line = try #require(lines.all.first)
        #expect(line.hasPrefix("{\"time\":\"20"))
        #expect(
            line.hasSuffix(
                "\"level\":\"error\",\"component\":\"seed\",\"message\":\"a \\\"quoted\\\"\\nline\",\"bytes\":9223372036854775807}"
            ))
    }

    @Test func aLineStaysALine() {
        let lines = Lines()
        Logger(component: "x", sink: lines.sink(.text)).info("a\nb\u{1B}[2J", ["k": "c\nd"])
        #expect(lines.all[0].hasSuffix("a b [2J k=\"c\\nd\"") && !lines.all[0].contains("\u{1B}"))
    }

    @Test func levelsAreOrdered() {
        let lines = Lines()
        let log = Logger(component: "x", sink: lines.sink(.text), level: .warning)
        log.info("no")
        log.warning("yes")
        log.named("y").error("yes")
        #expect(lines.all.count == 2 && lines.all[1].contains(" y: "))
    }

    @Test func dropsRatherThanWaitForAStalledReader() {
        var ends: [CInt] = [0, 0]
        #expect(pipe(&ends) == 0)
        defer { for end in ends { close(end) } }
        let writer = DescriptorWriter(descriptor: ends[1])
        let line = String(repeating: "x", count: 4000)
        for _ in 0..<64 { writer.write(line) }
        var buffer = [UInt8](repeating: 0, count: 1 << 20)
        let first = read(ends[0], &buffer, buffer.count)
        #expect(first > 4000 && first < 64 * 4001)
        writer.write("after")
        let second = read(ends[0], &buffer, buffer.count)
        let text = String(decoding: buffer[..<max(0, second)], as: UTF8.self)
        #expect(text.contains("log lines dropped") && text.hasSuffix("after\n"))
    }

    @Test func saysTheTimeOfDay() {
        #expect(WallClock.text(unixMs: 0) == "1970-01-01T00:00:00.000Z")
        #expect(WallClock.text(unixMs: 951_827_696_789) == "2000-02-29T12:34:56.789Z")
        #expect(WallClock.text(unixMs: 1_795_199_400_123) == "2026-11-20T18:30:00.123Z")
    }
}

@Suite struct RedactionTests {
    @Test(arguments: [
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("GET https://user:pw@host/x", "GET https://***@host/x"),
        ("https://s3/x?a=1&X-Amz-Signature=ab12&b=2 next", "https://s3/x?a=1&X-Amz-Signature=***&b=2 next"),
        (
            "https://h/x?X-Amz-Credential=AK&X-Amz-Security-Token=zz",
            "https://h/x?X-Amz-Credential=***&X-Amz-Security-Token=***"
        ),
        ("plain a=b text, mail me@host", "plain a=b text, mail me@host"),
    ])
    func masksByPlace(_ text: String, _ shown: String) { #expect(Redaction.scrub(text) == shown) }

    @Test func masksWhatIsRemembered() {
        Redaction.remember("hf_remembered_secret")
        Redaction.remember("short")
        #expect(Redaction.scrub("x hf_remembered_secret y short") == "x *** y short")
    }

    @Test func masksFieldsByName() {
        let lines = Lines()
        Logger(component: "x", sink: lines.sink(.text)).info(
            "m", ["hf_token": "abc", "tokens_per_second": 5, "secret": 7])
        #expect(lines.all[0].hasSuffix("m hf_token=*** tokens_per_second=5 secret=***"))
    }
}
