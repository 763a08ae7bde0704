import Artifacts

/// A host inside the machine: small, and sortable by arrival.
typealias HostNumber = UInt32

/// What is known of a host that is attached or in grace.
struct HostState {
    let number: HostNumber
    var info: HostInfo
    /// Its stream; nil in grace.
    var session: SessionID?
    /// Until when it may come back; only in grace.
    var graceEndsNs: UInt64 = 0
    /// Its name as a number, for choices that must not depend on the order of arrival.
    let mix: UInt64
    /// The inventory of the stream has ended.
    var hasReported = false
    /// Tasks named in the inventory so far.
    var listed: Set<TaskID> = []
    var held: [TaskID: PieceSet] = [:]
    /// Models of which every file is published here.
    var complete: Set<ModelID> = []
    var joined: Set<ModelID> = []
    var leases: Set<LeaseID> = []
    /// Leases it said it holds, of tasks no model is known for yet.
    var unplaced: [HeldLease] = []
    var requestsWaiting = 0
    /// Who blamed it, and when last.
    var blamedBy: [HostNumber: UInt64] = [:]
    /// Its pieces do not count and it is nobody's parent until then; 0 when it is not excluded.
    var excludedUntilNs: UInt64 = 0
    var load = HostLoad()

    var isSeed: Bool { info.role == .seed }
    var isExcluded: Bool { excludedUntilNs != 0 }
}

/// What is known of a model.
struct ModelState {
    let id: ModelID
    /// Its place in the order of becoming known.
    let order: UInt64
    var manifest: Manifest
    /// Its tasks, each once, in the order of its files.
    let tasks: [TaskID]
    let pieceCount: Int
    /// Hosts that download it now.
    var joined: Set<HostNumber> = []
    /// Seeds that were ordered to join, and until when they may take for it.
    var ordered: [HostNumber: UInt64] = [:]
    /// Seeds that could not, until when they are passed over, and why.
    var faults: [HostNumber: (untilNs: UInt64, failure: Failure?)] = [:]
    /// Why it cannot be had, and until when that is repeated.
    var refusal: (failure: Failure, untilNs: UInt64)?
    /// Pieces of its tasks that no host holds.
    var unheld = 0
    /// Pieces each host read at the origin while others wanted them, and that nobody else has yet.
    var exposed: [HostNumber: Int] = [:]
    /// Pieces each host was leased so far.
    var leasedTo: [HostNumber: Int] = [:]
    /// Pieces a second that come from the origin, and what is counted towards it since when.
    var originRate = 0.0
    var originMarkNs: UInt64 = 0
    var originMarkPieces = 0
    /// Last time a lease was granted or a piece arrived anywhere.
    var progressNs: UInt64 = 0
    /// Tasks that may have pieces to lease, in file order; rebuilt when some have been freed.
    var openTasks: [TaskID] = []
    var openTasksAreStale = true
    /// The neighbourhoods sent last.
    var neighbourhoods: [HostNumber: [Parent]] = [:]
    var pushedNs: UInt64?
    var lastUsedNs: UInt64 = 0
    var isDirty = false
    var wantsPush = false
}

/// A digest of a piece, and whether it came from a trusted reader (a lease-holder or a seed).
struct KnownDigest {
    var digest: Digest
    var isTrusted: Bool
}

/// What the count of a task's holders did to its models.
struct HoldingChange {
    /// Pieces that are now held by nobody, less those that were.
    var unheld = 0
    /// Exposed pieces of hosts.
    var exposed: [HostNumber: Int] = [:]
    /// Some piece may be leased now.
    var hasOpened = false
}

/// What is known of a task: one file's content.
struct TaskState {
    let id: TaskID
    let layout: PieceLayout
    var models: [ModelID] = []
    /// How many hosts hold each piece, and the exclusive or of their numbers: with one holder, its number.
    private var copies: [UInt32]
    private var holders: [UInt32]
    /// Hosts that hold any of it.
    var holderCount = 0
    /// Pieces that no host holds.
    private(set) var unheld: Int
    /// Pieces under a lease.
    private(set) var leased: PieceSet
    /// Pieces read at the origin by their only holder while others wanted them.
    private var exposedPieces: PieceSet
    /// Pieces neither held nor leased, and a place before which there is none.
    private(set) var openCount: Int
    private var openCursor = 0
    var digests: [UInt32: KnownDigest] = [:]
    /// Pieces whose digests are to be pushed.
    var fresh: Set<UInt32> = []
    /// The origin cannot do ranges.
    var isWhole = false
    /// Failed reads in a row, and when the next may be tried.
    var attempts = 0
    var notBeforeNs: UInt64 = 0
    /// Hosts that failed last.
    var avoided: Set<HostNumber> = []
    /// Hosts that read it at the origin.
    var readers: Set<HostNumber> = []
    /// How often its content was not what its publisher says.
    var mismatches = 0

    init(id: TaskID, sizeBytes: UInt64) {
        self.id = id
        layout = PieceLayout(fileBytes: sizeBytes)
        copies = Array(repeating: 0, count: layout.count)
        holders = copies
        unheld = layout.count
        openCount = layout.count
        leased = PieceSet(capacity: layout.count)
        exposedPieces = leased
    }

    var pieceCount: Int { layout.count }

    func isHeld(_ piece: PieceIndex) -> Bool { copies[Int(piece.value)] > 0 }

    func isOpen(_ piece: PieceIndex) -> Bool { !isHeld(piece) && !leased.contains(piece) }

    /// Counts a host as a holder of pieces it was not counted for; `isExposed` when it read them at the origin for
    /// others.
    mutating func add(_ pieces: [PieceIndex], of host: HostNumber, isExposed: Bool) -> HoldingChange {
        var change = HoldingChange()
        for piece in pieces {
            let place = Int(piece.value)
            if copies[place] == 0 {
                unheld -= 1
                change.unheld -= 1
                if !leased.contains(piece) { openCount -= 1 }
                if isExposed, exposedPieces.insert(piece) { change.exposed[host, default: 0] += 1 }
            } else if exposedPieces.remove(piece) {
                change.exposed[holders[place], default: 0] -= 1
            }
            copies[place] += 1
            holders[place] ^= host
        }
        return change
    }

    /// No longer counts a host as a holder of pieces it was counted for.
    mutating func remove(_ pieces: [PieceIndex], of host: HostNumber) -> HoldingChange {
        var change = HoldingChange()
        for piece in pieces {
            let place = Int(piece.value)
            copies[place] -= 1
            holders[place] ^= host
            guard copies[place] == 0 else { continue }
            unheld += 1
            change.unheld += 1
            if exposedPieces.remove(piece) { change.exposed[host, default: 0] -= 1 }
            if !leased.contains(piece) { open(piece, &change) }
        }
        return change
    }

    mutating func lease(_ pieces: Range<UInt32>) {
        for piece in pieces where leased.insert(PieceIndex(piece)) && !isHeld(PieceIndex(piece)) {
            openCount -= 1
        }
    }

    mutating func unlease(_ pieces: Range<UInt32>) -> HoldingChange {
        var change = HoldingChange()
        for piece in pieces where leased.remove(PieceIndex(piece)) && !isHeld(PieceIndex(piece)) {
            open(PieceIndex(piece), &change)
        }
        return change
    }

    private mutating func open(_ piece: PieceIndex, _ change: inout HoldingChange) {
        openCount += 1
        openCursor = min(openCursor, Int(piece.value))
        change.hasOpened = true
    }

    /// The first run of open pieces, at most so long; nil when there is none.
    mutating func nextOpenRun(piecesMax: Int) -> Range<UInt32>? {
        guard openCount > 0 else { return nil }
        while !isOpen(PieceIndex(openCursor)) { openCursor += 1 }
        var end = openCursor + 1
        while end < pieceCount, end - openCursor < piecesMax, isOpen(PieceIndex(end)) { end += 1 }
        return UInt32(openCursor)..<UInt32(end)
    }
}

/// A lease that is out.
struct LeaseState {
    let id: LeaseID
    let model: ModelID
    let task: TaskID
    let pieces: Range<UInt32>
    let isWhole: Bool
    let holder: HostNumber
    /// Returned as done, but not all pieces are announced yet: waited for until then.
    var settlesNs: UInt64?
}

/// A question about a reference.
struct ReferenceState {
    /// What it meant last, and when that was asked (nil: known from an inventory only).
    var model: ModelID?
    var resolvedNs: UInt64?
    var waiting: [(session: SessionID, request: UInt64)] = []
    /// The order that is out.
    var order: (request: UInt64, host: HostNumber, session: SessionID, deadlineNs: UInt64)?
    /// Hosts asked for the waiting requests.
    var asked: Set<HostNumber> = []
    var lastUsedNs: UInt64 = 0
}
