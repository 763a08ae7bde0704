import ControlAPI
import RPC
import Synchronization
import System

/// A host as a scheduler sees it: says hello, comes back when it is told to, reports that it holds nothing, and stays.
struct PlayedHost: Sendable {
    let number: Int
    let channel: RPCChannel
    let results: Results

    /// Attaches at that time, however often it takes until the limit, and stays until all are done.
    func run(atNs: UInt64, untilNs: UInt64) async {
        let nowNs = MonotonicClock.nowNs()
        if atNs > nowNs { try? await Task.sleep(for: .nanoseconds(atNs - nowNs)) }
        let firstNs = MonotonicClock.nowNs()
        var failures = 0
        while MonotonicClock.nowNs() < untilNs {
            let began = MonotonicClock.nowNs()
            do {
                guard let waitMs = try await attempt(began: began, firstNs: firstNs) else { return }
                results.toldToWait(waitMs)
                try? await Task.sleep(for: .milliseconds(waitMs + Int.random(in: 0...(waitMs / 10 + 10))))
            } catch {
                results.failed("\(error)")
                failures += 1
                let backoffMs = min(3_000, 50 << min(failures, 6))
                try? await Task.sleep(for: .milliseconds(Int.random(in: backoffMs / 2...backoffMs)))
            }
        }
    }

    /// One attempt; how long to stay away, or nil once it has been let in and all is over.
    private func attempt(began: UInt64, firstNs: UInt64) async throws -> Int? {
        let call = SchedulerClient(channel).attach()
        defer { call.cancel() }
        try await call.send(
            .hello(
                Wire.Hello(
                    host: "host-\(number)", incarnation: 1, cluster: "bench", role: .peer,
                    addresses: ["tcp:192.0.2.1:7620"])))
        while let message = try await call.receive() {
            switch message.kind {
            case .tryLater(let later): return Int(later.retryAfterMs)
            case .welcome:
                let nowNs = MonotonicClock.nowNs()
                try await call.send(.inventory(Wire.Inventory(last: true)))
                results.admitted(tookNs: nowNs - began, sinceFirstNs: nowNs - firstNs, host: number)
                await results.end()
                return nil
            default: break
            }
        }
        throw RPCError(.unavailable, "the stream ended without an answer")
    }
}
