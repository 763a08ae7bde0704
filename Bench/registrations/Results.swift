import Synchronization
import System

/// What happened to the hosts.
final class Results: Sendable {
    private struct State {
        var tookNs: [UInt64] = []
        var sinceFirstNs: [UInt64] = []
        var hosts: Set<Int> = []
        var lastAdmittedNs: UInt64 = 0
        var toldToWait = 0
        var waitMsMax = 0
        var failures: [String: Int] = [:]
        var attached: (count: Int, dropped: UInt64)?
        var hasEnded = false
        var waiting: [CheckedContinuation<Void, Never>] = []
    }
    private let state = Mutex(State())

    var admittedCount: Int { state.withLock { $0.hosts.count } }

    func admitted(tookNs: UInt64, sinceFirstNs: UInt64, host: Int) {
        state.withLock { state in
            state.tookNs.append(tookNs)
            state.sinceFirstNs.append(sinceFirstNs)
            state.hosts.insert(host)
            state.lastAdmittedNs = MonotonicClock.nowNs()
        }
    }

    func toldToWait(_ waitMs: Int) {
        state.withLock { state in
            state.toldToWait += 1
            state.waitMsMax = max(state.waitMsMax, waitMs)
        }
    }

    /// What the scheduler says itself when all are in.
    func attached(_ count: Int, dropped: UInt64) { state.withLock { $0.attached = (count, dropped) } }

    func failed(_ reason: String) { state.withLock { $0.failures[reason, default: 0] += 1 } }

    /// Returns when all hosts are in, or the bench gives up.
    func end() async {
        await withCheckedContinuation { continuation in
            let hasEnded = state.withLock { state in
                if !state.hasEnded { state.waiting.append(continuation) }
                return state.hasEnded
            }
            if hasEnded { continuation.resume() }
        }
    }

    func endHosts() {
        let waiting = state.withLock { state in
            state.hasEnded = true
            defer { state.waiting = [] }
            return state.waiting
        }
        for continuation in waiting { continuation.resume() }
    }

    func report(_ options: Options, beganNs: UInt64, residentBefore: UInt64) {
        let state = state.withLock { state in
            (
                state.tookNs.sorted(), state.sinceFirstNs.sorted(), state.hosts.count, state.lastAdmittedNs,
                state.toldToWait, state.waitMsMax, state.failures, state.attached
            )
        }
        func milliseconds(_ sorted: [UInt64], _ share: Double) -> String {
            guard !sorted.isEmpty else { return "–" }
            let place = min(sorted.count - 1, Int(Double(sorted.count) * share))
            return "\(Double(sorted[place] / 10_000) / 100) ms"
        }
        let spent = ProcessUsage.residentBytesPeak() ?? 0
        print("hosts                \(options.hosts) over \(options.overMs) ms, \(options.connections) connections")
        print("limit                \(options.rate) a second after a burst of \(options.burst)")
        print("admitted             \(state.2), the last after \(Double((state.3 - beganNs) / 1_000_000) / 1_000) s")
        print("told to come back    \(state.4) times, at most \(state.5) ms")
        print(
            "an admission took    p50 \(milliseconds(state.0, 0.5))  p99 \(milliseconds(state.0, 0.99))  max \(milliseconds(state.0, 1))"
        )
        print(
            "since the first try  p50 \(milliseconds(state.1, 0.5))  p99 \(milliseconds(state.1, 0.99))  max \(milliseconds(state.1, 1))"
        )
        print("peak memory          \(spent >> 20) MiB, \(residentBefore >> 20) MiB of it before")
        if let attached = state.7 {
            print("scheduler            \(attached.count) attached at the end, \(attached.dropped) messages dropped")
        }
        for (reason, count) in state.6.sorted(by: { $0.value > $1.value }).prefix(5) {
            print("failed \(count) times: \(reason)")
        }
    }
}
