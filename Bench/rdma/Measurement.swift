import CCount
import System
import Transport

/// What had been used at some point of a run, as the rail's thread saw it.
struct Mark: Sendable {
    let atNs: UInt64
    let processorNs: UInt64
    /// Allocations of the calling thread, which is a rail's.
    let allocations: UInt64

    /// Taken on the rail's thread.
    static func now() -> Mark {
        let usage = ProcessUsage.processorTimeNs()
        return Mark(
            atNs: MonotonicClock.nowNs(), processorNs: usage.userNs + usage.systemNs,
            allocations: martlet_thread_allocations())
    }
}

/// What one side of a run used for so many pieces.
struct Measurement: Sendable {
    let pieces: Int
    let seconds: Double
    let processorSeconds: Double
    /// Of the rail's thread.
    let allocations: UInt64

    init(from start: Mark, to end: Mark, pieces: Int) {
        self.pieces = pieces
        seconds = Double(end.atNs - start.atNs) / 1e9
        processorSeconds = Double(end.processorNs - start.processorNs) / 1e9
        allocations = end.allocations - start.allocations
    }

    /// One line of JSON: figures of the measured pieces, and the transport's counters of the whole run.
    func json(_ options: Options, _ counters: TransportCounters) -> String {
        let bytes = Double(pieces) * Double(options.messageBytes)
        let gibibytes = bytes / Double(1 << 30)
        let allPieces = Double(options.pieces + options.warmUpPieces)
        let allocated =
            martlet_allocations_are_counted() == 1 ? "\(Double(allocations) / Double(pieces))" : "null"
        let fields: [(String, String)] = [
            ("role", "\"\(options.role.rawValue)\""), ("transport", "\"\(options.transport)\""),
            ("messageBytes", "\(options.messageBytes)"), ("queuePairs", "\(options.queuePairs)"),
            ("depth", "\(options.depth)"), ("lease", "\"\(options.lease.rawValue)\""),
            ("verified", "\(options.verifies)"), ("pieces", "\(pieces)"), ("seconds", "\(seconds)"),
            ("mebibytesPerSecond", "\(bytes / Double(1 << 20) / seconds)"),
            ("processorSecondsPerGiB", "\(processorSeconds / gibibytes)"),
            ("allocationsPerPiece", allocated),
            ("syscallsPerPiece", "\(Double(counters.syscalls) / allPieces)"),
            ("doorbells", "\(counters.doorbells)"), ("workRequests", "\(counters.workRequests)"),
            ("doorbellsPerRead", "\(Double(counters.doorbells) / max(1, Double(counters.workRequests)))"),
            ("copiesPerByte", "\(Double(counters.copiedBytes) / (allPieces * Double(options.messageBytes)))"),
        ]
        return "{" + fields.map { "\"\($0.0)\": \($0.1)" }.joined(separator: ", ") + "}"
    }
}
