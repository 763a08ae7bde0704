import Configuration
import Observability
import Synchronization
import Testing

@testable import CLI

/// Runs a command line in this process and keeps what it wrote.
private func martlet(_ words: String..., environment: [String: String] = [:]) async -> (
    code: Int32, out: String, error: String
) {
    let written = Written()
    let console = Console(
        isInteractive: false, output: { written.add($0, to: \.out) }, error: { written.add($0, to: \.error) })
    let surroundings = Surroundings(
        isRoot: false, home: "/nonexistent", hostName: "node-7", environment: environment)
    let code = await MartletCommandLine.run(words, console: console, surroundings: surroundings)
    return (code, written.texts.out, written.texts.error)
}

private final class Written: Sendable {
    struct Texts: Sendable {
        var out = ""
        var error = ""
    }
    private let state = Mutex(Texts())
    var texts: Texts { state.withLock { $0 } }
    func add(_ text: String, to stream: WritableKeyPath<Texts, String>) {
        state.withLock { $0[keyPath: stream] += text }
    }
}

@Suite struct MartletCommandLineTests {
    @Test func resultsAndErrorsGoTheirWays() async {
        let version = await martlet("--version")
        #expect(version.code == 0 && version.out == "martlet \(BuildInfo.version)\n" && version.error.isEmpty)
        let nothing = await martlet()
        #expect(nothing.code == 2 && nothing.out.isEmpty && nothing.error.contains("Usage: martlet COMMAND"))
        let help = await martlet("get", "--help")
        #expect(help.code == 0 && help.out.hasPrefix("martlet get: ") && help.error.isEmpty)
        let wrong = await martlet("gte", "x")
        #expect(
            wrong.code == 2 && wrong.out.isEmpty
                && wrong.error == "martlet: unknown command gte; did you mean get?\n")
        let place = await martlet("get", "x", "--place", "y")
        #expect(
            place.code == 2
                && place.error == "martlet: --place y: it is one of auto, hardlink, reflink, copy\n")
    }

    @Test func aBadConfigurationEndsEveryCommand() async {
        for command in ["ls", "info", "config"] {
            let got = await martlet(command, environment: ["MARTLET_PEER_NAM": "x"])
            #expect(got.code == 2 && got.error.split(separator: "\n").count == 1)
        }
        let file = await martlet("ls", "--config", "/nonexistent.toml")
        #expect(
            file.code == 2
                && file.error.hasPrefix(
                    "martlet: cannot read the configuration file /nonexistent.toml: there is no such file")
        )
    }

    @Test func configPrintShowsValuesAndOrigins() async {
        let got = await martlet(
            "config", "print", "--set", "peer.rack=r12",
            environment: ["HF_TOKEN": "hf_very_secret", "MARTLET_PEER_ZONE": "z1"])
        #expect(got.code == 0 && !(got.out + got.error).contains("hf_very_secret"))
        let rows = got.out.split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
        #expect(rows.count == Schema.all.count + 1)
        #expect(rows.contains(["peer.rack", "r12", "--set"]))
        #expect(rows.contains(["peer.zone", "z1", "MARTLET_PEER_ZONE"]))
        #expect(rows.contains(["origin.hf_token", "***", "HF_TOKEN"]))
        #expect(rows.contains(["peer.name", "node-7", "built-in"]))
        let json = await martlet("config", "print", "--json", environment: ["HF_TOKEN": "hf_very_secret"])
        #expect(
            json.out.hasPrefix(
                "{\n  \"cluster.name\": {\n    \"value\": \"default\",\n    \"from\": \"built-in\""))
        #expect(!json.out.contains("hf_very_secret"))
        let wrong = await martlet("config", "prnt")
        #expect(wrong.code == 2)
    }

    @Test func infoSaysWhyNot() async {
        let got = await martlet("info")
        #expect(got.code == 0)
        for heading in ["Transports", "Network interfaces", "RDMA devices", "NUMA nodes", "GPUs", "Limits"] {
            #expect(got.out.contains("\n\(heading)\n"))
        }
        #expect(got.out.contains("  tcp: over") && got.out.contains("  rdma (not available): "))
        let json = await martlet("info", "--json")
        #expect(json.code == 0 && json.out.contains("\"transports\": ["))
    }

    @Test func exitCodesAreDistinctAndNamed() {
        #expect(ExitCode.allCases.map(\.rawValue) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 130, 143])
        #expect(Set(ExitCode.allCases.map(\.meaning)).count == ExitCode.allCases.count)
    }
}

@Suite struct StopSignalTests {
    @Test func tellsEveryoneOnce() async {
        let stop = StopSignal()
        let heard = Mutex(0)
        stop.onRequest { _ in heard.withLock { $0 += 1 } }
        async let first = stop.wait()
        async let second = stop.wait()
        stop.request(.interrupt)
        stop.request(.terminate)
        #expect(await first == .interrupt && stop.isRequested)
        #expect(await second == .interrupt)
        #expect(await stop.wait() == .interrupt)
        stop.onRequest { _ in heard.withLock { $0 += 1 } }
        #expect(heard.withLock { $0 } == 2)
        #expect(
            StopSignal.Reason.interrupt.exitCode == .interrupted
                && StopSignal.Reason.terminate.exitCode == .terminated)
    }

    @Test func aCancelledWaitEnds() async {
        let stop = StopSignal()
        let waiting = Task { await stop.wait() }
        waiting.cancel()
        #expect(await waiting.value == nil && !stop.isRequested)
    }
}

@Suite struct SimulateCommandTests {
    @Test func aRunPrintsFiguresAndItsCostApart() async {
        let got = await martlet("simulate", "--nodes", "4", "--size", "20MB")
        #expect(got.code == 0 && got.out.contains("finished: 4 peers") && got.out.contains("origin_ratio: 1.0000 x"))
        #expect(!got.out.contains("processor time") && got.error.contains("processor time"))
        let again = await martlet("simulate", "--nodes", "4", "--size", "20MB")
        #expect(got.out == again.out)
    }

    @Test func runsAndScaleAnswerAsJSON() async {
        let runs = await martlet("simulate", "--faults", "random", "--nodes", "8", "--runs", "3", "--json")
        #expect(runs.code == 0 && runs.out.hasPrefix("{\"runs\":3,") && runs.out.hasSuffix("\"failed_seeds\":[]}\n"))
        let scale = await martlet("simulate", "--size", "20MB", "--scale", "2,4", "--json")
        #expect(scale.code == 0 && scale.out.hasPrefix("[{\"peers\":2,") && scale.out.contains(",{\"peers\":4,"))
    }

    /// A run that is given up too early never ends its downloads: the checker objects, and the command ends with 5.
    @Test func anObjectionIsAnExitCode() async {
        let stuck = await martlet("simulate", "--nodes", "1", "--size", "20MB", "--limit", "50")
        #expect(stuck.code == 5 && stuck.out.contains("never ended"))
    }

    @Test func aPictureThatCannotBeWrittenSaysWhy() async {
        let got = await martlet("simulate", "--nodes", "2", "--size", "20MB", "--svg", "/nonexistent/x.svg")
        #expect(got.code == 2 && got.error.contains("cannot write /nonexistent/x.svg"))
    }
}
