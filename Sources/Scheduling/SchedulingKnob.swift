/// A setting that can be changed while schedulers run, by its name: the one table that the manager checks changes
/// against and schedulers carry them out by.
///
/// To make a setting changeable, add a line to `all`.
public struct SchedulingKnob: Sendable {
    /// As commands and the protocol call it.
    public let name: String
    /// One sentence.
    public let meaning: String
    /// What values there are.
    private let kind: Kind

    private enum Kind: Sendable {
        case number(
            ClosedRange<UInt64>, @Sendable (SchedulingSettings) -> UInt64,
            @Sendable (inout SchedulingSettings, UInt64) -> Void)
        case policy
    }

    /// Why a change is refused.
    public struct Refusal: Error, Sendable, Hashable, CustomStringConvertible {
        /// One sentence that says what to do.
        public let description: String
    }

    /// What values are allowed, for people.
    public var allowed: String {
        switch kind {
        case .number(let range, _, _): "\(range.lowerBound) to \(range.upperBound)"
        case .policy: OriginPolicy.allCases.map(\.rawValue).joined(separator: ", ")
        }
    }

    /// The value in these settings, as text.
    public func value(in settings: SchedulingSettings) -> String {
        switch kind {
        case .number(_, let get, _): "\(get(settings))"
        case .policy: settings.originPolicy.rawValue
        }
    }

    /// The value as a number for a gauge: a policy's place among its kind.
    public func number(in settings: SchedulingSettings) -> UInt64 {
        switch kind {
        case .number(_, let get, _): get(settings)
        case .policy: UInt64(OriginPolicy.allCases.firstIndex(of: settings.originPolicy) ?? 0)
        }
    }

    /// Sets it; what is no value or out of range is refused with a sentence, and nothing changes.
    public func set(_ text: String, in settings: inout SchedulingSettings) throws(Refusal) {
        switch kind {
        case .number(let range, _, let change):
            guard let number = UInt64(text), range.contains(number) else {
                throw Refusal(description: "‘\(text.prefix(40))’ is no value for \(name): use a number from \(allowed)")
            }
            change(&settings, number)
        case .policy:
            guard let policy = OriginPolicy(rawValue: text) else {
                throw Refusal(description: "‘\(text.prefix(40))’ is no value for \(name): use one of \(allowed)")
            }
            settings.originPolicy = policy
        }
    }

    /// The knob of this name; refused with a sentence that names those there are.
    public static func named(_ name: String) throws(Refusal) -> SchedulingKnob {
        if let known = all.first(where: { $0.name == name }) { return known }
        throw Refusal(
            description:
                "there is no setting ‘\(name.prefix(64))’; there are \(all.map(\.name).joined(separator: ", "))")
    }

    private static func count(
        _ name: String, _ path: any WritableKeyPath<SchedulingSettings, Int> & Sendable, _ range: ClosedRange<UInt64>,
        _ meaning: String
    ) -> SchedulingKnob {
        SchedulingKnob(
            name: name, meaning: meaning,
            kind: .number(range, { UInt64(clamping: $0[keyPath: path]) }, { $0[keyPath: path] = Int($1) }))
    }

    private static func amount(
        _ name: String, _ path: any WritableKeyPath<SchedulingSettings, UInt64> & Sendable,
        _ range: ClosedRange<UInt64>,
        _ meaning: String
    ) -> SchedulingKnob {
        SchedulingKnob(
            name: name, meaning: meaning, kind: .number(range, { $0[keyPath: path] }, { $0[keyPath: path] = $1 }))
    }

    /// Every knob, by topic.
    public static let all: [SchedulingKnob] = [
        SchedulingKnob(name: "origin_policy", meaning: "Who reads origins.", kind: .policy),
        amount(
            "origin_bytes_per_second", \.originBytesPerSecond, 0...1 << 50,
            "Bytes a second that the whole cluster reads at origins; 0: no limit."),
        amount(
            "origin_requests_per_minute", \.originRequestsPerMinute, 0...1_000_000_000,
            "Requests a minute that the whole cluster makes to origins; 0: no limit."),
        count(
            "origin_connections", \.originConnections, 0...100_000,
            "Transfers from origins at a time in the whole cluster; 0: no limit."),
        count("lease_pieces", \.leasePieces, 1...1_024, "The most pieces in one origin lease."),
        count("leases_per_holder", \.leasesPerHolder, 1...64, "Full leases a reader may have at a time."),
        amount(
            "origin_window_ms", \.originWindowMs, 10...60_000,
            "How much reading of a model, by the rate its origin is found to have, is leased ahead."),
        count("origin_pieces_min", \.originPiecesMin, 1...4_096, "The fewest pieces of a model that are leased ahead."),
        count("seeds_per_model", \.seedsPerModel, 1...64, "Seeds that work on one model."),
        count(
            "replication_window", \.exposedPiecesMax, 1...65_536,
            "Pieces that one reader may have and nobody else while others want them."),
        count("lease_attempts", \.leaseAttemptsMax, 1...100, "Failed reads of a file in a row before it is given up."),
        amount(
            "origin_window_ms", \.originWindowMs, 10...60_000,
            "How much reading of a model, by the rate of its origin, is leased ahead."),
        count("origin_pieces_min", \.originPiecesMin, 1...1_024, "The fewest pieces of a model that are leased ahead."),
        amount("stall_ms", \.stallMs, 100...600_000, "Without progress for so long, one more lease is given."),
        amount("backoff_ms", \.backoffMs, 10...600_000, "The first wait after a failed read of the origin."),
        amount("backoff_max_ms", \.backoffMaxMs, 10...3_600_000, "The longest wait after a failed read of the origin."),
        amount("refusal_ms", \.refusalMs, 0...3_600_000, "How long a refusal is repeated before the origin is tried."),
        count("neighbourhood_size", \.neighbourhoodSize, 1...256, "The most parents a host is given for a model."),
        count(
            "near_per_mille", \.nearPerMille, 0...1_000,
            "How many of a thousand parents are in a host's own rack, where there are several."),
        count("seed_parents", \.seedParentsMax, 1...64, "The most seeds among a host's parents."),
        count("seed_children", \.seedChildren, 1...100_000, "About how many hosts have one seed among their parents."),
        amount(
            "gather_ms", \.gatherMs, 0...10_000,
            "How long joins and leaves are gathered before neighbourhoods are sent."),
        amount(
            "neighbourhood_ms", \.neighbourhoodMs, 10...60_000,
            "The shortest time between two rounds of neighbourhoods of a model."),
        amount("digests_ms", \.digestsMs, 0...10_000, "How long digests are gathered before they are pushed."),
        amount("blame_ms", \.blameMs, 1_000...3_600_000, "How long one accusation of a parent counts."),
        amount(
            "blame_repeat_ms", \.blameRepeatMs, 100...3_600_000,
            "One host's accusation counts for two when it is repeated after so long."),
        amount("exclusion_ms", \.exclusionMs, 1_000...3_600_000, "How long a host that was blamed enough is no parent."),
        amount("host_timeout_ms", \.graceMs, 100...600_000, "How long a lost host keeps its leases."),
        amount("reference_ms", \.referenceMs, 0...86_400_000, "How long the meaning of a moving reference is kept."),
        count("admissions_per_second", \.admissionsPerSecond, 1...1_000_000, "Hosts that may attach in a second."),
        count("admission_burst", \.admissionBurst, 1...1_000_000, "Hosts that may attach at once after a quiet time."),
        count(
            "reporting_hosts", \.reportingMax, 1...1_000_000, "Hosts whose inventories may be on their way at a time."),
        amount(
            "retry_after_max_ms", \.retryAfterMsMax, 100...3_600_000,
            "The longest time that a host is told to stay away when too many come."),
    ]
}
