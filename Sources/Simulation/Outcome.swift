import Scheduling

/// How a run went.
///
/// Everything but `schedulerProcessorNs` is a function of the scenario.
public struct Outcome: Sendable {
    enum Sender { case seed, peer }

    /// What was run.
    public internal(set) var scenario = Scenario()
    /// What the checkers object to: time and sentence. Empty in a good run.
    public internal(set) var violations: [String] = []
    /// Peers that have the model.
    public internal(set) var finished = 0
    /// From the first join until the last peer had the model.
    public internal(set) var makespanNs: UInt64 = 0
    /// Bytes that the origin sent.
    public internal(set) var originBytes: UInt64 = 0
    /// Bytes that went out of racks.
    public internal(set) var uplinkBytes: UInt64 = 0
    /// Bytes read and thrown away.
    public internal(set) var wasteBytes: UInt64 = 0
    /// Wants that were turned away.
    public internal(set) var busy: UInt64 = 0
    /// Events of virtual time.
    public internal(set) var events: UInt64 = 0
    /// Messages from hosts to the scheduler, its wake-ups included, and the other way.
    public internal(set) var messagesToScheduler: UInt64 = 0
    /// See `messagesToScheduler`.
    public internal(set) var messagesFromScheduler: UInt64 = 0
    /// Digests in them.
    public internal(set) var digestsTold: UInt64 = 0
    /// What the scheduler's machine took, when a clock was given.
    public internal(set) var schedulerProcessorNs: UInt64 = 0
    /// The most slots a host used for pieces that had arrived, and the most events that waited.
    public internal(set) var slotsMax = 0
    /// See `slotsMax`.
    public internal(set) var queueMax = 0
    /// The scheduler's own counters.
    public internal(set) var scheduler = SchedulerSnapshot()
    /// The story of the host asked for.
    public internal(set) var trace: [String] = []
    var originDoneNs: UInt64 = 0
    var sent: [Sender: UInt64] = [:]
    var timeline = Timeline()
    var startNs: UInt64 = 0
    var lastJoinNs: UInt64 = 0
    var endNs: UInt64 = 0

    /// What nothing could beat: of everyone at once, or of the last that joined.
    public var boundNs: UInt64 {
        let bound = LowerBound(scenario).ns
        let alone = nanoseconds(scenario.sizeBytes, at: scenario.nicBytesPerSecond)
        return max(bound, lastJoinNs - min(startNs, lastJoinNs) + alone)
    }
    /// Makespan over bound.
    public var ratio: Double { Double(makespanNs) / Double(max(boundNs, 1)) }
    /// Origin bytes over the model's.
    public var originRatio: Double { Double(originBytes) / Double(max(scenario.sizeBytes, 1)) }

    /// Name, value and unit of each figure, in the order of every report.
    private var figures: [(name: String, value: String, unit: String)] {
        let bound = LowerBound(scenario)
        let peers = Double(max(scenario.peers, 1))
        return [
            ("makespan_s", fixed(Double(makespanNs) / 1e9, 6), "s"),
            ("bound_s", fixed(Double(boundNs) / 1e9, 6), "s"),
            ("bound_fluid_s", fixed(Double(bound.fluidNs) / 1e9, 6), "s"),
            ("bound_rounds_s", fixed(Double(bound.roundsNs) / 1e9, 6), "s"),
            ("ratio", fixed(ratio, 4), "x"),
            ("origin_ratio", fixed(originRatio, 4), "x"),
            ("origin_done_s", fixed(Double(originDoneNs - min(startNs, originDoneNs)) / 1e9, 6), "s"),
            ("finished", "\(finished)", "peers"),
            ("seed_bytes", "\(sent[.seed] ?? 0)", "B"),
            ("peer_bytes", "\(sent[.peer] ?? 0)", "B"),
            ("uplink_bytes", "\(uplinkBytes)", "B"),
            ("waste_bytes", "\(wasteBytes)", "B"),
            ("wants_turned_away", "\(busy)", ""),
            ("scheduler_messages_in_per_peer", fixed(Double(messagesToScheduler) / peers, 1), ""),
            ("scheduler_messages_out_per_peer", fixed(Double(messagesFromScheduler) / peers, 1), ""),
            ("digests_told_per_peer", fixed(Double(digestsTold) / peers, 1), ""),
            ("leases", "\(scheduler.leasesGranted)", ""),
            ("slots_most", "\(slotsMax)", ""),
            ("events_waiting_most", "\(queueMax)", ""),
            ("events", "\(events)", ""),
            ("violations", "\(violations.count)", ""),
        ]
    }

    /// For people: a line a figure, then what the checkers object to.
    public var summary: [String] {
        let size = fixed(Double(scenario.sizeBytes) / 1e9, 1)
        let head =
            "\(scenario.peers) peers, \(scenario.seedPeers) seeds, \(size) GB, seed \(scenario.seed), "
            + scenario.workload.rawValue
        let lines = figures.map { "\($0.name): \($0.value)\($0.unit.isEmpty ? "" : " \($0.unit)")" }
        return [head] + lines + violations.map { "violation: \($0)" }
    }

    /// For programs: one object, always in the same order.
    public var json: String {
        var parts = ["\"peers\":\(scenario.peers)", "\"seed\":\(scenario.seed)"]
        parts += ["\"size_bytes\":\(scenario.sizeBytes)", "\"workload\":\"\(scenario.workload.rawValue)\""]
        parts += figures.map { "\"\($0.name)\":\($0.value)" }
        let sentences = violations.map { sentence in
            let safe = sentence.map { $0 == "\"" || $0 == "\\" ? "'" : $0 }
            return "\"\(String(safe))\""
        }
        parts.append("\"objections\":[\(sentences.joined(separator: ","))]")
        return "{\(parts.joined(separator: ","))}"
    }

    /// Completion over time, and the origin's use, as a drawing.
    public var svg: String { timeline.svg(self) }
}

/// A number with so many places, the same everywhere.
func fixed(_ value: Double, _ places: Int) -> String {
    var scale: Double = 1
    for _ in 0..<places { scale *= 10 }
    let scaled = (value * scale).rounded()
    guard scaled.magnitude < 9e18 else { return "\(value)" }
    let digits = String(Int64(scaled.magnitude))
    let padded = String(repeating: "0", count: max(0, places + 1 - digits.count)) + digits
    let sign = scaled < 0 ? "-" : ""
    return places == 0 ? sign + padded : "\(sign)\(padded.dropLast(places)).\(padded.suffix(places))"
}
