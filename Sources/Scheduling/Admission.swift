/// Who may attach now, and who is told when to come back: keeps a burst of hosts from being everybody's problem.
///
/// Attaching costs most of what a host ever costs a scheduler (its inventory, its models, neighbourhoods), so it is
/// what is rationed; hosts that are attached are never slowed down by those that want to be. A pure value: one owner at
/// a time, nothing blocks.
///
/// Two limits: so many hosts a second (a token bucket), and so many whose inventory is still on its way. Who is too
/// much is given a time to come back, each a later one, at the rate at which hosts are admitted: those that were sent
/// away do not come back as the next burst. Hosts whose absence costs an origin read (seeds, and hosts that read under
/// leases) are always let in; they are few.
public struct Admission: Sendable {
    /// What is to be done with a host that wants to attach.
    public enum Decision: Sendable, Hashable {
        /// Let it in.
        case admit
        /// Tell it to come back after so many milliseconds.
        case later(retryAfterMs: UInt64)
    }

    /// What was decided so far.
    public struct Counts: Sendable, Hashable {
        /// Hosts let in.
        public var admitted: UInt64 = 0
        /// Of those, hosts let in whatever the load.
        public var preferred: UInt64 = 0
        /// Hosts sent away because too many came in a second.
        public var deferredByRate: UInt64 = 0
        /// Hosts sent away because too many inventories were on their way.
        public var deferredByReports: UInt64 = 0
        /// The longest time a host was told to wait.
        public var retryAfterMsMax: UInt64 = 0

        /// Nothing yet.
        public init() {}
    }

    /// What was decided so far.
    public private(set) var counts = Counts()
    /// Hosts that may attach now, in billionths: the bucket.
    private var tokensNano: UInt64?
    private var filledNs: UInt64 = 0
    /// When the host that is sent away next is to come back.
    private var nextReturnNs: UInt64 = 0
    private var jitter: UInt64

    /// Begins with a full bucket; `seed` decides what falls either way.
    public init(seed: UInt64) { jitter = mixed(seed) }

    /// Decides on a host.
    ///
    /// - Parameters:
    ///   - isPreferred: a seed, or a host that reads an origin under a lease.
    ///   - reporting: hosts attached whose inventories have not ended.
    ///   - settings: `admissionsPerSecond`, `admissionBurst`, `reportingMax`, `retryAfterMsMax`.
    public mutating func ask(
        isPreferred: Bool, reporting: Int, settings: SchedulingSettings, nowNs: UInt64
    ) -> Decision {
        let rate = UInt64(max(1, settings.admissionsPerSecond))
        fill(rate: rate, burst: UInt64(max(1, settings.admissionBurst)), nowNs: nowNs)
        let hasToken = tokensNano! >= 1_000_000_000
        if isPreferred || hasToken && reporting < settings.reportingMax {
            if hasToken { tokensNano! -= 1_000_000_000 }
            counts.admitted += 1
            if isPreferred { counts.preferred += 1 }
            return .admit
        }
        if hasToken { counts.deferredByReports += 1 } else { counts.deferredByRate += 1 }
        let retryAfterMs = turn(rate: rate, maxMs: max(1, settings.retryAfterMsMax), nowNs: nowNs)
        counts.retryAfterMsMax = max(counts.retryAfterMsMax, retryAfterMs)
        return .later(retryAfterMs: retryAfterMs)
    }

    private mutating func fill(rate: UInt64, burst: UInt64, nowNs: UInt64) {
        let full = burst * 1_000_000_000
        guard let tokens = tokensNano else {
            tokensNano = full
            filledNs = nowNs
            return
        }
        // Idle for long: full, and the product below cannot overflow.
        let elapsedNs = min(nowNs - min(nowNs, filledNs), 3_600_000_000_000)
        tokensNano = min(full, tokens + elapsedNs * rate)
        filledNs = nowNs
    }

    /// The next free time to come back; with all of them taken up to the longest wait, some time in its second half.
    private mutating func turn(rate: UInt64, maxMs: UInt64, nowNs: UInt64) -> UInt64 {
        nextReturnNs = max(nextReturnNs, nowNs + 1_000_000_000 / rate)
        let waitMs = (nextReturnNs - nowNs + 999_999) / 1_000_000
        guard waitMs > maxMs else {
            nextReturnNs += 1_000_000_000 / rate
            return waitMs
        }
        jitter = mixed(jitter)
        return maxMs / 2 + jitter % (maxMs / 2 + 1)
    }
}
