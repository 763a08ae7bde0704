import Artifacts

/// Looks on throughout a run, and objects to what must never happen.
struct Checker {
    private(set) var objections: [String] = []
    /// Times each piece was sent by the origin, and when last; by file and piece.
    private var originReads: [[UInt32]]
    private var lastReadNs: [[UInt64]]
    /// The last thing that may cost a piece, and whether such things go on all the time.
    var lastFaultNs: UInt64?
    var isAlwaysFaulty = false
    /// Joins and heals up to here are reasons to have patience.
    var busyUntilNs: UInt64 = 0
    private var progressNs: UInt64 = 0
    /// Pieces kept so far, and after how many of them a host's machines check their own sums.
    var keptPieces = 0
    let inspectionPieces: Int
    private static let objectionsMax = 100
    /// Without a piece kept anywhere for so long, a fleet that should go on has stopped.
    static let patienceNs: UInt64 = 300_000_000_000

    init(_ files: [ManifestFile]) {
        originReads = files.map { Array(repeating: 0, count: $0.layout.count) }
        lastReadNs = files.map { Array(repeating: 0, count: $0.layout.count) }
        // Such a check costs a pass over the pieces: a small share of the run.
        inspectionPieces = max(64, 4 * files.reduce(0) { $0 + $1.layout.count })
    }

    mutating func object(_ sentence: String, _ nowNs: UInt64) {
        guard objections.count < Self.objectionsMax else { return }
        objections.append("\(fixed(Double(nowNs) / 1e9, 6)) s: \(sentence)")
    }

    mutating func kept(_ host: Host, _ address: PieceAddress, isRight: Bool, _ nowNs: UInt64) {
        progressNs = nowNs
        if !isRight { object("\(host.id) kept wrong bytes of \(address)", nowNs) }
    }

    mutating func readAtOrigin(_ file: Int, _ piece: Int, by host: Host, _ nowNs: UInt64) {
        originReads[file][piece] += 1
        defer { lastReadNs[file][piece] = nowNs }
        guard originReads[file][piece] > 1, !isAlwaysFaulty else { return }
        if let lastFaultNs, lastFaultNs >= lastReadNs[file][piece] { return }
        object(
            "\(host.id) read piece \(piece) of file \(file) at the origin again, though nothing went wrong since", nowNs
        )
    }

    /// The most times any piece was read at the origin.
    var readsMax: UInt32 { originReads.reduce(0) { max($0, $1.max() ?? 0) } }

    /// The most slots a download may have: its budget, and as much again for the pieces of its leases.
    func slotsMax(_ scenario: Scenario) -> Int {
        let pieceBytes = Int(PieceLayout(fileBytes: scenario.sizeBytes / UInt64(scenario.files)).pieceBytes)
        let leased = max(scenario.scheduling.leasePieces * scenario.scheduling.leasesPerHolder, 64)
        return scenario.download.budgetBytes / pieceBytes + 1 + leased
    }

    func isStalled(_ nowNs: UInt64) -> Bool {
        nowNs > max(progressNs, lastFaultNs ?? 0, busyUntilNs) + Self.patienceNs
    }
}
