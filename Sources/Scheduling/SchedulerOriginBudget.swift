import Artifacts

/// What one host may ask of origins; 0: no limit.
public struct OriginShare: Sendable, Hashable {
    /// Bytes a second of bodies.
    public var bytesPerSecond: UInt64
    /// Thousandths of a request a second.
    public var requestsPerKilosecond: UInt64
    /// Transfers at a time.
    public var connections: UInt32

    /// Describes a share.
    public init(bytesPerSecond: UInt64 = 0, requestsPerKilosecond: UInt64 = 0, connections: UInt32 = 0) {
        self.bytesPerSecond = bytesPerSecond
        self.requestsPerKilosecond = requestsPerKilosecond
        self.connections = connections
    }
}

/// Who reads origins in a cluster.
public enum OriginPolicy: String, Sendable, CaseIterable {
    /// Seeds; hosts that download only where the cluster has no seed.
    case auto
    /// Seeds alone: without one nothing is read.
    case seeds
    /// Seeds and hosts that download.
    case any
    /// Nobody: only what the cluster holds can be had.
    case never
}

/// How the cluster's budget is divided at the moment.
struct OriginDivision {
    /// The shares told last.
    var told: [HostNumber: OriginShare] = [:]
    /// Until when a host without a lease still counts, so that a reader between two leases keeps its share.
    var untilNs: [HostNumber: UInt64] = [:]
    var isStale = true
    /// What the division was made for.
    var leaseCount = 0
    var nextLease: UInt64 = 0
}

/// The cluster's origin budget: divided evenly among the hosts that hold leases, and anew when those change.
///
/// A host in grace keeps its share: it may still be reading. Several schedulers each divide their part, the budget by
/// their number, since hosts add up what they are told. While a division is on its way to the hosts the budget can be
/// exceeded for as long as a message takes.
extension Scheduler {
    /// How long a reader without a lease keeps its share.
    private static let keepMs: UInt64 = 1_000

    private var isOriginLimited: Bool {
        settings.originBytesPerSecond > 0 || settings.originRequestsPerMinute > 0 || settings.originConnections > 0
    }

    /// Connections that this scheduler may give out.
    private var ownConnections: Int { max(1, settings.originConnections / max(1, schedulerCount ?? 1)) }

    /// Whether a reader may have a lease, as far as connections go: each reader has at least one.
    func mayConnect(_ number: HostNumber) -> Bool {
        guard settings.originConnections > 0, hosts[number]!.leases.isEmpty else { return true }
        var readers = Set(originDivision.untilNs.keys)
        for lease in leases.values { readers.insert(lease.holder) }
        return readers.contains(number) || readers.count < ownConnections
    }

    /// Divides anew where that is due, and puts what is said before the leases it is for.
    mutating func divideOrigin() {
        guard isOriginLimited || !originDivision.told.isEmpty else { return }
        guard
            originDivision.isStale || originDivision.leaseCount != leases.count
                || originDivision.nextLease != nextLease
        else { return }
        originDivision.isStale = false
        originDivision.leaseCount = leases.count
        originDivision.nextLease = nextLease
        let holders = Set(leases.values.map(\.holder))
        for holder in originDivision.told.keys where !holders.contains(holder) {
            guard originDivision.untilNs[holder] == nil else { continue }
            originDivision.untilNs[holder] = afterMs(Scheduler.keepMs)
            timers.schedule(.budget, atNs: afterMs(Scheduler.keepMs))
        }
        for holder in holders { originDivision.untilNs[holder] = nil }
        for (holder, untilNs) in originDivision.untilNs where nowNs >= untilNs || hosts[holder] == nil {
            originDivision.untilNs[holder] = nil
        }
        let readers = holders.union(originDivision.untilNs.keys).sorted()
        var told: [HostNumber: OriginShare] = [:]
        var said: [SchedulerAction] = []
        for (place, reader) in readers.enumerated() {
            let share = originShare(of: place, among: readers.count)
            told[reader] = share
            if originDivision.told[reader] != share, let session = hosts[reader]?.session {
                said.append(.send(session, .originShare(share)))
                counters.originShares += 1
            }
        }
        originDivision.told = told
        actions.insert(contentsOf: said, at: 0)
    }

    /// Whoever kept a share without a lease may have had it long enough.
    mutating func endOriginShares() {
        originDivision.isStale = true
        if let nextNs = originDivision.untilNs.values.filter({ $0 > nowNs }).min() {
            timers.schedule(.budget, atNs: nextNs)
        }
    }

    /// A host's stream is new: it knows no share.
    mutating func forgetOriginShare(of number: HostNumber) {
        guard originDivision.told.removeValue(forKey: number) != nil else { return }
        originDivision.isStale = true
    }

    private func originShare(of place: Int, among count: Int) -> OriginShare {
        let divisor = UInt64(max(1, schedulerCount ?? 1)) * UInt64(max(1, count))
        // Never 0, which would be no limit.
        func part(_ total: UInt64) -> UInt64 { total == 0 ? 0 : max(1, total / divisor) }
        var share = OriginShare(
            bytesPerSecond: part(settings.originBytesPerSecond),
            requestsPerKilosecond: part(settings.originRequestsPerMinute * 1_000 / 60))
        if settings.originConnections > 0 {
            let (each, rest) = ownConnections.quotientAndRemainder(dividingBy: max(1, count))
            share.connections = UInt32(clamping: max(1, each + (place < rest ? 1 : 0)))
        }
        return share
    }
}
