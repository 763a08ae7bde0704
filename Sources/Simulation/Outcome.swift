import Artifacts
import Scheduling

/// How a run went.
///
/// Everything but `schedulerProcessorNs` is a function of the scenario.
public struct Outcome: Sendable {
    /// What was run.
    public internal(set) var scenario = Scenario()
    /// What the checkers object to: time and sentence. Empty in a good run.
    public internal(set) var violations: [String] = []
    /// The run was stopped before its end: figures are what they were then.
    public internal(set) var isCutShort = false
    /// Peers that have the model.
    public internal(set) var finished = 0
    /// Peers that could not have it, by a fault of their own (a full disk).
    public internal(set) var failed = 0
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
    /// Their bytes on the wire, as computed from their fields.
    public internal(set) var bytesToScheduler: UInt64 = 0
    /// See `bytesToScheduler`.
    public internal(set) var bytesFromScheduler: UInt64 = 0
    /// Accusations.
    public internal(set) var blames: UInt64 = 0
    /// The most times that any piece was read at the origin, and how many hosts read there.
    public internal(set) var readsMax: UInt32 = 0
    /// See `readsMax`.
    public internal(set) var sourcesOfOrigin = 0
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
    var seedBytes: UInt64 = 0
    var peerBytes: UInt64 = 0
    var timeline = Timeline()
    var startNs: UInt64 = 0
    var lastJoinNs: UInt64 = 0
    /// When the run ended, from its beginning.
    public internal(set) var endNs: UInt64 = 0

    /// What nothing could beat: of everyone at once, or of the last that joined.
    public var boundNs: UInt64 {
        let bound = LowerBound(scenario).ns
        let alone = nanoseconds(scenario.sizeBytes, at: scenario.nicBytesPerSecond)
        return max(bound, lastJoinNs - min(startNs, lastJoinNs) + alone)
    }
    /// Makespan over bound.
    public var ratio: Double { Double(makespanNs) / Double(max(boundNs, 1)) }
    /// Origin bytes over the model's.
    public var originRatio: Double {
        Double(originBytes) / Double(max(scenario.sizeBytes * UInt64(scenario.models), 1))
    }
    /// Pieces that the peers want, all together.
    public var transfers: Int {
        scenario.peers * scenario.files * PieceLayout(fileBytes: scenario.sizeBytes / UInt64(scenario.files)).count
    }
    /// Bytes a peer says to its scheduler and hears from it.
    public var schedulerBytesPerPeer: Double {
        Double(bytesToScheduler + bytesFromScheduler) / Double(max(scenario.peers, 1))
    }

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
            ("failed", "\(failed)", "peers"),
            ("origin_readers", "\(sourcesOfOrigin)", "hosts"),
            ("origin_reads_of_a_piece_most", "\(readsMax)", ""),
            ("seed_bytes", "\(seedBytes)", "B"),
            ("peer_bytes", "\(peerBytes)", "B"),
            ("uplink_bytes", "\(uplinkBytes)", "B"),
            ("waste_bytes", "\(wasteBytes)", "B"),
            ("wants_turned_away", "\(busy)", ""),
            ("scheduler_messages_in_per_peer", fixed(Double(messagesToScheduler) / peers, 1), ""),
            ("scheduler_messages_out_per_peer", fixed(Double(messagesFromScheduler) / peers, 1), ""),
            ("scheduler_bytes_in_per_peer", fixed(Double(bytesToScheduler) / peers, 0), "B"),
            ("scheduler_bytes_out_per_peer", fixed(Double(bytesFromScheduler) / peers, 0), "B"),
            ("blames", "\(blames)", ""),
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
        let note = isCutShort ? ["stopped before its end, at \(fixed(Double(endNs) / 1e9, 3)) s of virtual time"] : []
        let lines = figures.map { "\($0.name): \($0.value)\($0.unit.isEmpty ? "" : " \($0.unit)")" }
        return [head] + note + lines + violations.map { "violation: \($0)" }
    }

    /// For programs: one object, always in the same order.
    public var json: String {
        var parts = ["\"peers\":\(scenario.peers)", "\"seed\":\(scenario.seed)"]
        parts += ["\"size_bytes\":\(scenario.sizeBytes)", "\"workload\":\"\(scenario.workload.rawValue)\""]
        parts.append("\"cut_short\":\(isCutShort)")
        parts += figures.map { "\"\($0.name)\":\($0.value)" }
        let sentences = violations.map { sentence in
            let safe = sentence.map { $0 == "\"" || $0 == "\\" ? "'" : $0 }
            return "\"\(String(safe))\""
        }
        parts.append("\"objections\":[\(sentences.joined(separator: ","))]")
        return "{\(parts.joined(separator: ","))}"
    }
}

/// A number with so many places, the same everywhere.
public func fixed(_ value: Double, _ places: Int) -> String {
    var scale: Double = 1
    for _ in 0..<places { scale *= 10 }
    let scaled = (value * scale).rounded()
    guard scaled.magnitude < 9e18 else { return "\(value)" }
    let digits = String(Int64(scaled.magnitude))
    let padded = String(repeating: "0", count: max(0, places + 1 - digits.count)) + digits
    let sign = scaled < 0 ? "-" : ""
    return places == 0 ? sign + padded : "\(sign)\(padded.dropLast(places)).\(padded.suffix(places))"
}
