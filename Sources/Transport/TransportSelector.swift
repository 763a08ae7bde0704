/// The limits a selector decides by. Durations are nanoseconds.
public struct SelectorSettings: Sendable, Hashable {
    /// How long a path rests after its first failure; it doubles with each further one …
    public var restFirstNs: UInt64 = 1_000_000_000
    /// … up to this.
    public var restMaxNs: UInt64 = 60_000_000_000
    /// One failure is forgiven for so long a time in which the path did its work.
    public var forgiveNs: UInt64 = 10_000_000_000
    /// A path so many times slower than another of the same host comes after it. Well above what separates soft-RoCE
    /// from TCP on one machine: a transport is not given up for a slow moment.
    public var slowerMax = 8.0
    /// Bytes that must have come before a path counts as measured.
    public var measuredBytesMin: UInt64 = 64 << 20
    /// How long a measurement counts.
    public var measuredForNs: UInt64 = 300_000_000_000
    /// Whether speed may decide at all; not where the configuration demands one transport.
    public var demotesSlow = true

    /// The defaults above.
    public init() {}
}

/// Which way to take to one host: preference, memory of failures, and speed.
///
/// A value without a clock: what happened and the time go in, a path comes out. Every path is in one of three states:
/// ```
///   usable ── failed ──▶ resting (1 s, doubling to 60 s) ── its time has come ──▶ usable again, to be probed
///     │ several times slower than another that was measured
///     ▼
///   demoted: after all others, until the measurement is old
/// ```
/// A failure is not forgotten by one success: each `forgiveNs` of work takes one off, so that a path which comes and
/// goes rests longer each time.
///
/// Cost: O(paths of the host), of which there are a few.
public struct TransportSelector: Sendable {
    private struct Memory: Sendable {
        /// Failures not forgiven yet.
        var strikes = 0
        var restsUntilNs: UInt64 = 0
        /// When one was last added or forgiven.
        var strikesSinceNs: UInt64 = 0
        var why = ""
        /// Decayed average, with what it rests on.
        var bytesPerSecond: Double?
        var measuredBytes: UInt64 = 0
        var measuredAtNs: UInt64 = 0
    }

    private let settings: SelectorSettings
    /// Best first, with what is remembered of each.
    private var paths: [(path: TransportPath, memory: Memory)] = []

    /// A selector that knows no path.
    public init(_ settings: SelectorSettings = SelectorSettings()) { self.settings = settings }

    /// Takes in the ways there are now, best first; what is remembered of those that stay, stays.
    public mutating func offer(_ candidates: [TransportPath]) {
        guard candidates != paths.map(\.path) else { return }
        paths = candidates.map { path in (path, memory(of: path) ?? Memory()) }
    }

    /// Forgets what is remembered: the far side is another process now.
    public mutating func forgetAll() {
        for index in paths.indices { paths[index].memory = Memory() }
    }

    /// The best path that does not rest; nil when all do, or there is none.
    public func choice(nowNs: UInt64) -> TransportPath? {
        ranked(nowNs).first { paths[$0].memory.restsUntilNs <= nowNs }.map { paths[$0].path }
    }

    /// The path whose rest ends first: for when there is nothing else, and somebody waits.
    public var lastResort: TransportPath? {
        paths.min { $0.memory.restsUntilNs < $1.memory.restsUntilNs }?.path
    }

    /// A path worth trying while reads go over `current`: better, and not resting.
    public func better(than current: TransportPath, nowNs: UInt64) -> TransportPath? {
        above(current, nowNs).first { paths[$0].memory.restsUntilNs <= nowNs }.map { paths[$0].path }
    }

    /// When `better` may have an answer; nil for never, as far as is known now.
    public func betterAtNs(than current: TransportPath, nowNs: UInt64) -> UInt64? {
        var earliest = above(current, nowNs).map { paths[$0].memory.restsUntilNs }.min()
        // A path that was demoted is as good as it ever was once its measurement is old.
        for path in paths where path.path != current && isSlow(path.memory, nowNs) {
            let atNs = max(path.memory.measuredAtNs + settings.measuredForNs, path.memory.restsUntilNs)
            earliest = min(earliest ?? .max, atNs)
        }
        return earliest
    }

    /// Whether a path rests after a failure.
    public func isResting(_ path: TransportPath, nowNs: UInt64) -> Bool {
        (memory(of: path)?.restsUntilNs ?? 0) > nowNs
    }

    /// Why a path is not used: its last failure, or that it is slow; nil when nothing is held against it.
    public func grudge(against path: TransportPath, nowNs: UInt64) -> String? {
        guard let memory = memory(of: path) else { return nil }
        if isSlow(memory, nowNs) { return "several times slower than another way" }
        return memory.strikes > 0 ? memory.why : nil
    }

    /// The best transport that is not used though there is a way for it, while another is, and why.
    public func passedOver(for used: TransportKind, nowNs: UInt64) -> (kind: TransportKind, why: String)? {
        for entry in paths {
            if entry.path.kind == used { return nil }
            if let why = grudge(against: entry.path, nowNs: nowNs) { return (entry.path.kind, why) }
        }
        return nil
    }

    /// A path did not come up, went down, or stood still.
    public mutating func failed(_ path: TransportPath, why: String, nowNs: UInt64) {
        let settings = settings
        change(path) { memory in
            let doublings = UInt64(min(memory.strikes, 32))
            let restNs = min(settings.restFirstNs << doublings, settings.restMaxNs)
            memory.strikes += 1
            memory.restsUntilNs = nowNs + restNs
            memory.strikesSinceNs = nowNs
            memory.why = why
        }
    }

    /// Says better why a path failed last.
    public mutating func explain(_ path: TransportPath, why: String) { change(path) { $0.why = why } }

    /// Bytes came over a path, in so long a time.
    ///
    /// - Parameter busyNs: how long the path was at work for them; 0 when that is not known.
    public mutating func carried(_ path: TransportPath, bytes: UInt64, busyNs: UInt64, nowNs: UInt64) {
        let settings = settings
        change(path) { memory in
            if memory.strikes > 0, nowNs >= memory.strikesSinceNs + settings.forgiveNs {
                memory.strikes -= 1
                memory.strikesSinceNs = nowNs
            }
            guard busyNs > 0, bytes > 0 else { return }
            if nowNs > memory.measuredAtNs + settings.measuredForNs { memory.measuredBytes = 0 }
            let rate = Double(bytes) * 1e9 / Double(busyNs)
            let old = memory.measuredBytes == 0 ? nil : memory.bytesPerSecond
            memory.bytesPerSecond = old.map { $0 * 0.875 + rate * 0.125 } ?? rate
            memory.measuredBytes += bytes
            memory.measuredAtNs = nowNs
        }
    }

    /// What a path was measured at, when that still counts.
    public func bytesPerSecond(of path: TransportPath, nowNs: UInt64) -> Double? {
        memory(of: path).flatMap { measured($0, nowNs) }
    }

    // MARK: rank

    /// Places in `paths`, best first: those demoted for their speed come last.
    private func ranked(_ nowNs: UInt64) -> [Int] {
        let slow = paths.indices.filter { isSlow(paths[$0].memory, nowNs) }
        return paths.indices.filter { !slow.contains($0) } + slow
    }

    /// Places of the paths that rank before one.
    private func above(_ current: TransportPath, _ nowNs: UInt64) -> [Int] {
        let ranked = ranked(nowNs)
        if let place = ranked.firstIndex(where: { paths[$0].path == current }) { return Array(ranked[..<place]) }
        // The far side does not announce it any more: as long as it works, only a better kind comes before it.
        let order = TransportPath.order(isSameHost: true)
        return ranked.filter { index in
            order.firstIndex(of: paths[index].path.kind)! < order.firstIndex(of: current.kind)!
        }
    }

    private func isSlow(_ memory: Memory, _ nowNs: UInt64) -> Bool {
        guard settings.demotesSlow, let rate = measured(memory, nowNs) else { return false }
        return paths.contains { other in
            guard other.memory.restsUntilNs <= nowNs, let best = measured(other.memory, nowNs) else { return false }
            return best >= rate * settings.slowerMax
        }
    }

    private func measured(_ memory: Memory, _ nowNs: UInt64) -> Double? {
        guard memory.measuredBytes >= settings.measuredBytesMin,
            nowNs <= memory.measuredAtNs + settings.measuredForNs
        else { return nil }
        return memory.bytesPerSecond
    }

    private func memory(of path: TransportPath) -> Memory? { paths.first { $0.path == path }?.memory }

    private mutating func change(_ path: TransportPath, _ body: (inout Memory) -> Void) {
        guard let index = paths.firstIndex(where: { $0.path == path }) else { return }
        body(&paths[index].memory)
    }
}
