import Synchronization
import System

/// Shows a download on stderr: two live lines on a terminal, a line every few seconds elsewhere. Safe from every
/// thread.
public final class ProgressView: Sendable {
    /// How the download ended.
    public enum Outcome: Sendable {
        /// Everything is verified and in its place.
        case finished
        /// It was stopped; the same command goes on from there.
        case stopped
        /// It failed; the error is told elsewhere.
        case failed
    }

    private static let liveIntervalNs: UInt64 = 100_000_000
    private static let plainIntervalNs: UInt64 = 5_000_000_000

    private struct State {
        var renderer: ProgressRenderer
        var shownNs: UInt64?
        var linesDrawn = 0
        var isOver = false
    }

    private let console: Console
    private let isQuiet: Bool
    private let clock: @Sendable () -> UInt64
    private let state: Mutex<State>

    /// Begins to show. `isQuiet` shows nothing at all.
    public convenience init(_ console: Console, title: String, isQuiet: Bool = false) {
        self.init(console, title: title, isQuiet: isQuiet, clock: { MonotonicClock.nowNs() })
    }

    init(_ console: Console, title: String, isQuiet: Bool, clock: @escaping @Sendable () -> UInt64) {
        self.console = console
        self.isQuiet = isQuiet
        self.clock = clock
        state = Mutex(State(renderer: ProgressRenderer(title: title, startNs: clock())))
    }

    /// Takes note of how far it is; draws when the last drawing is old enough. Cheap: call it as often as there is
    /// news.
    public func update(_ snapshot: ProgressSnapshot) {
        let nowNs = clock()
        state.withLock { state in
            guard !state.isOver else { return }
            let isNewPhase = state.renderer.snapshot.phase != snapshot.phase
            state.renderer.note(snapshot, atNs: nowNs)
            let intervalNs =
                console.isInteractive ? ProgressView.liveIntervalNs : ProgressView.plainIntervalNs
            if let shownNs = state.shownNs, nowNs < shownNs + intervalNs, !isNewPhase { return }
            state.shownNs = nowNs
            draw(&state, nowNs)
        }
    }

    /// Shows the end, once.
    public func finish(_ outcome: Outcome) {
        let nowNs = clock()
        state.withLock { state in
            guard !state.isOver else { return }
            state.isOver = true
            guard !isQuiet else { return }
            let erase = ProgressView.erasing(state.linesDrawn)
            if !erase.isEmpty { console.draw(erase) }
            switch outcome {
            case .finished: console.note(state.renderer.summary(atNs: nowNs))
            case .stopped:
                let snapshot = state.renderer.snapshot
                let percent = Units.percent(snapshot.keptBytes, of: snapshot.totalBytes)
                console.note(
                    "\(state.renderer.title): stopped at \(percent); the same command goes on from there")
            case .failed: break
            }
        }
    }

    private func draw(_ state: inout State, _ nowNs: UInt64) {
        guard !isQuiet else { return }
        guard console.isInteractive else {
            console.note(state.renderer.plainLine(atNs: nowNs))
            return
        }
        let lines = state.renderer.liveLines(atNs: nowNs)
        // Auto-wrap is off while drawing: a narrow terminal cuts the lines, and the way back up stays right.
        let body = lines.map { "\u{1B}[2K\($0)\n" }.joined()
        console.draw(ProgressView.upwards(state.linesDrawn) + "\u{1B}[?7l" + body + "\u{1B}[?7h")
        state.linesDrawn = lines.count
    }

    private static func upwards(_ lines: Int) -> String { lines > 0 ? "\r\u{1B}[\(lines)A" : "" }

    private static func erasing(_ lines: Int) -> String { lines > 0 ? upwards(lines) + "\u{1B}[J" : "" }
}
