import Artifacts

/// Looks on throughout a run, and objects to what must never happen.
struct Checker {
    private(set) var objections: [String] = []
    /// Times each piece was sent by the origin, and when last.
    private var originReads: [[UInt32]]
    private var lastReadNs: [[UInt64]]
    /// The last thing that may cost a piece, and whether such things go on all the time.
    var lastFaultNs: UInt64?
    var isAlwaysFaulty = false
    /// Joins and heals up to here are reasons to have patience.
    var busyUntilNs: UInt64 = 0
    private var progressNs: UInt64 = 0
    private static let objectionsMax = 100
    /// Without a piece kept anywhere for so long, a fleet that should go on has stopped.
    static let patienceNs: UInt64 = 300_000_000_000

    init(_ manifest: Manifest) {
        originReads = manifest.files.map { Array(repeating: 0, count: $0.layout.count) }
        lastReadNs = manifest.files.map { Array(repeating: 0, count: $0.layout.count) }
    }

    mutating func object(_ sentence: String, _ nowNs: UInt64) {
        guard objections.count < Self.objectionsMax else { return }
        objections.append("\(fixed(Double(nowNs) / 1e9, 6)) s: \(sentence)")
    }

    mutating func kept(_ host: Host, _ address: PieceAddress, isRight: Bool, _ nowNs: UInt64) {
        progressNs = nowNs
        if !isRight { object("\(host.id) kept wrong bytes of \(address)", nowNs) }
    }

    mutating func readAtOrigin(_ address: PieceAddress, by host: Host, _ nowNs: UInt64) {
        let (file, piece) = (Int(address.file.value), Int(address.piece.value))
        originReads[file][piece] += 1
        defer { lastReadNs[file][piece] = nowNs }
        guard originReads[file][piece] > 1, !isAlwaysFaulty else { return }
        if let lastFaultNs, lastFaultNs >= lastReadNs[file][piece] { return }
        object("\(host.id) read \(address) at the origin again, though nothing went wrong since", nowNs)
    }

    mutating func slots(_ host: Host, _ nowNs: UInt64) {
        let used = host.download?.progress.readsRunning ?? 0
        // Budget (256 MiB of 4 MiB pieces) and the pieces of its leases.
        if used + host.slots.count > 64 + 64 { object("\(host.id) has \(host.slots.count) slots taken", nowNs) }
    }

    func isStalled(_ nowNs: UInt64) -> Bool {
        nowNs > max(progressNs, lastFaultNs ?? 0, busyUntilNs) + Self.patienceNs
    }
}
