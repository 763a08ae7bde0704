import Synchronization
import Testing

@testable import CLI

private let secondNs: UInt64 = 1_000_000_000

private func snapshot(kept: UInt64, phase: String = "downloading") -> ProgressSnapshot {
    var snapshot = ProgressSnapshot()
    snapshot.phase = phase
    snapshot.totalBytes = 4_000_000_000
    snapshot.keptBytes = kept
    snapshot.resumedBytes = 500_000_000
    snapshot.originBytes = 1_000_000
    snapshot.seedBytes = 20_000_000
    snapshot.peerBytes = kept
    snapshot.byTransport = [.init("tcp", kept)]
    snapshot.parents = 4
    snapshot.filesTotal = 12
    snapshot.filesPublished = 3
    return snapshot
}

@Suite struct ProgressRendererTests {
    @Test func showsTwoLines() {
        var renderer = ProgressRenderer(title: "org/name", startNs: 0)
        #expect(renderer.liveLines(atNs: 0) == ["org/name  resolving", ""])
        renderer.note(snapshot(kept: 500_000_000), atNs: 0)
        renderer.note(snapshot(kept: 2_000_000_000), atNs: 3 * secondNs)
        #expect(
            renderer.liveLines(atNs: 3 * secondNs) == [
                "org/name  [============>           ]  50.0 %  2.00 GB of 4.00 GB  500 MB/s  ETA 4.0 s",
                "  downloading: origin 1.00 MB, seed 20.0 MB, peers 2.00 GB by tcp, 4 parents, 3/12 files",
            ])
    }

    @Test func showsOneLineElsewhere() {
        var renderer = ProgressRenderer(title: "org/name", startNs: 0)
        #expect(renderer.plainLine(atNs: 0) == "org/name: resolving")
        var mixed = snapshot(kept: 1_000_000_000)
        mixed.byTransport = [.init("tcp", 3_000_000), .init("local", 7), .init("rdma", 0)]
        mixed.parents = 1
        mixed.parentsExcluded = 2
        mixed.wastedBytes = 5000
        renderer.note(mixed, atNs: 0)
        #expect(
            renderer.plainLine(atNs: 0)
                == "org/name: downloading, 25.0 %  1.00 GB of 4.00 GB; origin 1.00 MB, seed 20.0 MB, "
                + "peers 1.00 GB, by tcp 3.00 MB + local 7 B, 1 parent, 2 excluded, wasted 5.00 kB, 3/12 files"
        )
    }

    @Test func rateIsThatOfTheWindow() throws {
        var renderer = ProgressRenderer(title: "x", startNs: 0)
        for second in 0...20 {
            // Fast at first, then 1 MB/s.
            let kept =
                second <= 10 ? UInt64(second) * 100_000_000 : 1_000_000_000 + UInt64(second - 10) * 1_000_000
            renderer.note(snapshot(kept: 500_000_000 + kept), atNs: UInt64(second) * secondNs)
        }
        let rate = try #require(renderer.bytesPerSecond(atNs: 20 * secondNs))
        #expect(rate > 900_000 && rate < 1_100_000)
    }

    @Test func stalledAndFinishedShowNoFalseEnd() {
        var renderer = ProgressRenderer(title: "x", startNs: 0)
        renderer.note(snapshot(kept: 3_999_999_999), atNs: 0)
        renderer.note(snapshot(kept: 3_999_999_999), atNs: secondNs)
        #expect(renderer.plainLine(atNs: secondNs).contains("99.9 %  4.00 GB of 4.00 GB  0 B/s;"))
        renderer.note(snapshot(kept: 4_000_000_000, phase: "checking"), atNs: 2 * secondNs)
        #expect(
            renderer.liveLines(atNs: 2 * secondNs)[0].hasSuffix(
                "[========================]  100 %  4.00 GB of 4.00 GB"))
    }

    @Test func sumsUp() {
        var renderer = ProgressRenderer(title: "x", startNs: secondNs)
        renderer.note(snapshot(kept: 4_000_000_000), atNs: 8 * secondNs)
        #expect(
            renderer.summary(atNs: 8 * secondNs).hasPrefix(
                "x: 4.00 GB in 7.0 s (500 MB/s), 500 MB were here before; origin 1.00 MB, seed 20.0 MB, peers 4.00 GB by tcp"
            ))
    }
}

@Suite struct ProgressViewTests {
    /// A console that remembers, and a clock that is set.
    private final class Stage: Sendable {
        let drawn = Mutex<[String]>([])
        let nowNs = Mutex<UInt64>(0)

        func console(isInteractive: Bool) -> Console {
            Console(isInteractive: isInteractive, output: { _ in Issue.record("progress on stdout") }) {
                text in
                self.drawn.withLock { $0.append(text) }
            }
        }
        func view(isInteractive: Bool, isQuiet: Bool = false) -> ProgressView {
            ProgressView(console(isInteractive: isInteractive), title: "x", isQuiet: isQuiet) {
                self.nowNs.withLock { $0 }
            }
        }
        func pass(_ ns: UInt64) { nowNs.withLock { $0 += ns } }
        var texts: [String] { drawn.withLock { $0 } }
    }

    @Test func drawsSparinglyAndInPlace() {
        let stage = Stage()
        let view = stage.view(isInteractive: true)
        view.update(snapshot(kept: 1_000_000_000))
        view.update(snapshot(kept: 1_100_000_000))
        #expect(
            stage.texts.count == 1 && stage.texts[0].hasPrefix("\u{1B}[?7l\u{1B}[2Kx  [")
                && stage.texts[0].hasSuffix("\n\u{1B}[?7h"))
        stage.pass(secondNs)
        view.update(snapshot(kept: 1_200_000_000))
        #expect(stage.texts.count == 2 && stage.texts[1].hasPrefix("\r\u{1B}[2A"))
        view.finish(.finished)
        view.finish(.failed)
        view.update(snapshot(kept: 1_300_000_000))
        #expect(
            stage.texts.count == 4 && stage.texts[2] == "\r\u{1B}[2A\u{1B}[J"
                && stage.texts[3].hasPrefix("x: 4.00 GB in 1.0 s"))
    }

    @Test func writesPlainLinesEveryFewSecondsAndForEveryPhase() {
        let stage = Stage()
        let view = stage.view(isInteractive: false)
        view.update(snapshot(kept: 1_000_000_000))
        stage.pass(secondNs)
        view.update(snapshot(kept: 1_000_000_000))
        #expect(stage.texts.count == 1)
        view.update(snapshot(kept: 1_000_000_000, phase: "checking"))
        stage.pass(5 * secondNs)
        view.update(snapshot(kept: 1_000_000_000, phase: "checking"))
        view.finish(.stopped)
        #expect(stage.texts.count == 4 && stage.texts.allSatisfy { !$0.contains("\u{1B}") })
        #expect(stage.texts[3] == "x: stopped at 25.0 %; the same command goes on from there\n")
    }

    @Test func quietSaysNothing() {
        let stage = Stage()
        let view = stage.view(isInteractive: true, isQuiet: true)
        view.update(snapshot(kept: 1))
        view.finish(.finished)
        #expect(stage.texts.isEmpty)
    }
}

@Suite struct UnitsTests {
    @Test(
        arguments: [
            (0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (9_994_000, "9.99 MB"), (10_000_000, "10.0 MB"),
            (123_456_789, "123 MB"), (4_290_000_000, "4.29 GB"),
        ] as [(UInt64, String)])
    func bytes(_ amount: UInt64, _ text: String) { #expect(Units.bytes(amount) == text) }

    @Test(
        arguments: [
            (0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"),
            (7800, "2 h 10 min"), (-1, "-"), (.infinity, "-"),
        ] as [(Double, String)])
    func durations(_ seconds: Double, _ text: String) { #expect(Units.duration(seconds: seconds) == text) }

    @Test func tablesLineUp() {
        var table = TextTable([.left("NAME"), .right("BYTES"), .left("X")])
        table.add(["a", "1", ""])
        table.add(["longer", "12345678", "y"])
        #expect(table.lines() == ["NAME       BYTES  X", "a              1", "longer  12345678  y"])
    }
}
