import Observability
import System
import Testing
import Transport

@testable import Bandwidth

/// Both sides in this process, with little memory: that it works, not how fast.
@Suite(.serialized) struct MeasurementTests {
    private func plan(_ kind: TransportKind) -> BenchPlan {
        var plan = BenchPlan()
        plan.transports = [kind]
        plan.sizes = [64 << 10, 1 << 20]
        plan.depths = [4]
        plan.memoryBytes = 16 << 20
        plan.warmUpNs = 50_000_000
        plan.durationNs = 100_000_000
        plan.repetitions = 2
        plan.measuresLimits = false
        return plan
    }

    private func measure(
        _ plan: BenchPlan, servers: Int = 1, _ change: (inout BenchServer.Options) -> Void = { _ in }
    ) throws -> BenchReport {
        var options = BenchServer.Options()
        options.listen = "127.0.0.1:0"
        options.memoryBytesMax = 64 << 20
        options.isForOneSession = true
        options.idleNs = 30_000_000_000
        change(&options)
        var plan = plan
        var threads: [PinnedThread<Void>] = []
        var running: [BenchServer] = []
        for _ in 0..<servers {
            let server = try BenchServer(options)
            plan.hosts.append(server.address)
            running.append(server)
            threads.append(try PinnedThread(name: "server") { server.run { _ in } })
        }
        defer {
            for server in running { server.stop() }
            for thread in threads { thread.join() }
        }
        return try BenchClient(plan, shouldStop: { false }, live: { _ in }).run()
    }

    private func check(_ report: BenchReport, points: Int) {
        #expect(report.results.count == points && !report.wasInterrupted)
        for result in report.results {
            #expect(result.rates.count == 2 && result.rates.allSatisfy { $0 > 0 }, "\(result)")
            #expect(result.latency.count > 0 && result.bytes > 0)
            #expect(!result.findings.isEmpty)
        }
    }

    @Test(arguments: [TransportKind.tcp, .local])
    func bytesMoveAndAreRight(kind: TransportKind) throws {
        var plan = plan(kind)
        plan.point.verifies = true
        plan.point.validates = true
        check(try measure(plan), points: 2)
    }

    @Test(arguments: [BenchPoint.Direction.reverse, .both])
    func theOtherWay(direction: BenchPoint.Direction) throws {
        var plan = plan(.tcp)
        plan.point.direction = direction
        plan.point.validates = true
        check(try measure(plan), points: 2)
    }

    @Test func manyToOneOverSeveralLinks() throws {
        var plan = plan(.tcp)
        plan.links = [2]
        plan.sizes = [64 << 10]
        plan.point.validates = true
        check(try measure(plan, servers: 2), points: 1)
    }

    @Test func limitsStandBeside() throws {
        var plan = plan(.tcp)
        plan.sizes = [1 << 20]
        plan.measuresLimits = true
        let result = try measure(plan).results[0]
        #expect(result.limits.rawSocket ?? 0 > 0 && result.limits.memoryCopy ?? 0 > 0)
        #expect(result.limits.interface == "lo" && result.ratio != nil)
    }

    @Test func reportsAreWhatTheySay() throws {
        let report = try measure(plan(.tcp))
        let text = report.json.text()
        #expect(text.hasPrefix(#"{"schema":"martlet-bench","version":1,"#))
        #expect(report.csv.count == 3)
        let columns = report.csv[0].split(separator: ",").count
        #expect(report.csv.allSatisfy { $0.split(separator: ",", omittingEmptySubsequences: false).count == columns })
        let drawing = BenchPlot.svg(report)
        #expect(drawing.hasPrefix("<svg ") && drawing.contains("<polyline") && drawing.hasSuffix("</svg>\n"))
    }

    @Test func moreMemoryThanTheServerGivesIsRefused() throws {
        var plan = plan(.tcp)
        plan.memoryBytes = 64 << 20
        #expect {
            try measure(plan) { $0.memoryBytesMax = 32 << 20 }
        } throws: { error in
            (error as? BenchError)?.code == .impossible && "\(error)".contains("--memory-max")
        }
    }

    @Test func aServerEndsWhenNobodyComes() throws {
        var options = BenchServer.Options()
        options.listen = "127.0.0.1:0"
        options.idleNs = 1_000_000
        try BenchServer(options).run { _ in }
    }

    @Test func strangersAreTurnedAway() throws {
        var options = BenchServer.Options()
        options.listen = "127.0.0.1:0"
        options.idleNs = 20_000_000_000
        let server = try BenchServer(options)
        let thread = try PinnedThread(name: "server") { server.run { _ in } }
        defer {
            server.stop()
            thread.join()
        }
        // A length beyond the bound, then no hello, then a second guest beside the first.
        let rude = try ControlConnection.connect(to: server.address, limitMs: 5000)
        let bytes: [UInt8] = [0x7F, 0xFF, 0xFF, 0xFF]
        _ = bytes.withUnsafeBytes { Sockets.send(rude.raw, $0) }
        #expect(throws: BenchError.self) { while try rude.receive(limitMs: 5000) != nil {} }

        let hasty = try ControlConnection.connect(to: server.address, limitMs: 5000)
        #expect(throws: BenchError.self) { try hasty.ask(ControlFrame("mark"), answer: "marked") }

        let first = try FarSide(server.address, word: BenchClient.randomWord())
        #expect(throws: BenchError.self) { try FarSide(server.address, word: BenchClient.randomWord()) }
        try first.connection.send(ControlFrame("bye"))
    }
}
