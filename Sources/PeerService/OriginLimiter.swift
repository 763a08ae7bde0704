import ControlAPI
import Synchronization
import System

/// Keeps this host within what schedulers let it ask of origins: bytes and requests by token buckets, transfers by
/// counting.
///
/// Each scheduler tells its own share, and shares add up; one that says nothing limits nothing. Shares stay when a
/// scheduler is lost: what runs goes on as it was allowed. Any thread; nothing blocks.
final class OriginLimiter: Sendable {
    /// What may be asked; 0: no limit.
    struct Share: Sendable, Hashable {
        var bytesPerSecond: UInt64 = 0
        var requestsPerKilosecond: UInt64 = 0
        var connections: UInt32 = 0
    }

    /// So many tokens a second, in millionths; a bucket holds a quarter of a second, and at least `leastBurst`.
    private struct Bucket {
        var perSecond: UInt64 = 0
        var microTokens: UInt64 = 0
        var filledNs: UInt64 = 0
        let leastBurst: UInt64

        mutating func set(_ perSecond: UInt64, nowNs: UInt64) {
            fill(nowNs: nowNs)
            self.perSecond = perSecond
            filledNs = nowNs
            microTokens = min(microTokens, burst * 1_000_000)
        }

        private var burst: UInt64 { max(leastBurst, perSecond / 4) }

        mutating func fill(nowNs: UInt64) {
            guard perSecond > 0 else { return }
            // A second fills every bucket that holds less than a second's tokens; more would overflow. The others,
            // whose rates are small, are filled for up to an hour at once.
            let elapsedUs = min(
                (nowNs - min(nowNs, filledNs)) / 1_000, perSecond > leastBurst * 4 ? 1_000_000 : 3_600_000_000)
            guard elapsedUs > 0 else { return }
            microTokens = min(burst * 1_000_000, microTokens + elapsedUs * perSecond)
            filledNs = nowNs
        }

        /// Up to so many; all when there is no limit.
        mutating func take(upTo wanted: UInt64, nowNs: UInt64) -> UInt64 {
            guard perSecond > 0 else { return wanted }
            fill(nowNs: nowNs)
            let taken = min(wanted, microTokens / 1_000_000)
            microTokens -= taken * 1_000_000
            return taken
        }
    }

    private struct State {
        var shares: [String: Share] = [:]
        var bytes = Bucket(leastBurst: 16 << 10)
        /// In thousandths of a request.
        var requests = Bucket(leastBurst: 1_000)
        var connectionsMax: UInt32 = 0
        var connections: UInt32 = 0
        /// Whoever was given fewer bytes than wanted, and is told when there are more.
        var waiting: [ObjectIdentifier: @Sendable () -> Void] = [:]
        var isTimed = false
    }

    private let state = Mutex(State())

    /// What a scheduler lets us ask from now on.
    func set(_ share: Share, of scheduler: String) {
        let nowNs = MonotonicClock.nowNs()
        state.withLock { state in
            state.shares[scheduler] = share
            let shares = state.shares.values
            func sum(_ part: (Share) -> UInt64) -> UInt64 { shares.reduce(0) { $0 + min(part($1), 1 << 50) } }
            state.bytes.set(sum { $0.bytesPerSecond }, nowNs: nowNs)
            state.requests.set(sum { $0.requestsPerKilosecond }, nowNs: nowNs)
            state.connectionsMax = UInt32(clamping: sum { UInt64($0.connections) })
        }
    }

    /// The sum of the shares.
    var limit: Share {
        state.withLock { state in
            Share(
                bytesPerSecond: state.bytes.perSecond, requestsPerKilosecond: state.requests.perSecond,
                connections: state.connectionsMax)
        }
    }

    /// Takes up to so many bytes; with fewer than wanted, `more` is called once when it is worth asking again.
    func bytes(upTo wanted: Int, of reader: ObjectIdentifier, more: @escaping @Sendable () -> Void) -> Int {
        let (taken, isFirst) = state.withLock { state -> (Int, Bool) in
            let taken = Int(state.bytes.take(upTo: UInt64(max(0, wanted)), nowNs: MonotonicClock.nowNs()))
            guard taken < wanted else { return (taken, false) }
            state.waiting[reader] = more
            defer { state.isTimed = true }
            return (taken, !state.isTimed)
        }
        if isFirst { tellLater() }
        return taken
    }

    /// Ten milliseconds' bytes make a call worth its cost.
    private func tellLater() {
        Task {
            try? await Task.sleep(for: .milliseconds(10))
            let waiting = state.withLock { state in
                state.isTimed = false
                defer { state.waiting = [:] }
                return state.waiting
            }
            for more in waiting.values { more() }
        }
    }

    /// Waits for a turn to ask an origin; false when `isGivenUp` came first. `leave` follows a true.
    func enter(isTransfer: Bool, isGivenUp: @Sendable () -> Bool) async -> Bool {
        while !isGivenUp(), !Task.isCancelled {
            let mayGo = state.withLock { state in
                if isTransfer, state.connectionsMax > 0, state.connections >= state.connectionsMax { return false }
                let nowNs = MonotonicClock.nowNs()
                state.requests.fill(nowNs: nowNs)
                guard state.requests.perSecond == 0 || state.requests.microTokens >= 1_000_000_000 else { return false }
                _ = state.requests.take(upTo: 1_000, nowNs: nowNs)
                if isTransfer { state.connections += 1 }
                return true
            }
            if mayGo { return true }
            try? await Task.sleep(for: .milliseconds(20))
        }
        return false
    }

    /// A transfer is over.
    func leave() { state.withLock { $0.connections -= min(1, $0.connections) } }
}

extension OriginLimiter.Share {
    /// Reads the wire form.
    init(wire: Wire.OriginShare) {
        self.init(
            bytesPerSecond: wire.bytesPerSecond, requestsPerKilosecond: wire.requestsPerKilosecond,
            connections: wire.connections)
    }
}
