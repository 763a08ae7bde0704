import Artifacts

/// One download of a model as a machine: events and the time go in, actions come out.
///
/// It asks many parents at once for the rarest pieces first, reads what they grant, has every piece verified against a
/// digest that came by way of the scheduler, keeps it, tells the others, and has each file checked as a whole before it
/// is published. It reads the origin only under a lease, and without neighbours or leases it just waits. It has no
/// clock, socket, buffer or thread; the same events, times and seed give the same actions.
///
/// ```
///   start ──▶ running ── all files published ──▶ finished, draining ──▶ over
///                │  failure, refusal: withdraw, stop the origin, drain ──▶ failed, over
///                └─ cancel: the same, without a word ────────────────────▶ over
/// ```
/// The parts have their own pictures: `Parent`, `Flight`, `FileState`, `OriginLease`.
///
/// Contract with the interpreter:
/// - Actions are done in order. `keep` and `discard` free an arrived piece's slot; every `read` is answered by exactly
///   one
///   `readEnded` or `readCut`, every `fetchOrigin` by exactly one `originEnded` after its last `originPiece`, every `keep` by
///   exactly one of
///   `kept`, `mismatched`, `keepFailed`, every `publish` by exactly one of its three answers. An event that breaks this
///   traps.
/// - What a remote peer says, and what may cross our own words on their way, never traps: answers to wants taken back,
///   maps of
///   files closed, links up or down twice, leases unknown.
///
/// Threading: a value; one owner at a time. Cost: an event is O(parents + pieces in flight), a want O(pieces / 64 +
/// 4096).
public struct Download: Sendable {
    enum Ending: Sendable, Hashable {
        case finished
        case failed(String)
        case cancelled
    }

    let manifest: Manifest
    let settings: DownloadSettings
    let role: DownloadRole
    let numbering: PieceNumbering
    var random: SeededGenerator

    var files: [FileState]
    /// Files by size, small first: the order in which they are opened.
    let fileOrder: [FileIndex]
    /// By piece number: kept pieces, and their digests as far as known.
    var held: PieceBits
    var digests: [Digest?]
    /// Pieces that could be wanted now: missing, digest known, not on their way.
    var wantable: PieceBits
    /// How many linked neighbours have each piece.
    var availability: [UInt16]
    var missingPieces: Int
    /// The smallest piece: with less budget than that nothing is asked for.
    let leastPieceBytes: Int
    /// The largest.
    let mostPieceBytes: Int
    /// Bytes a second that come in, by the last interval; nil before the first.
    var receiveRate: Double?
    var receiveMarkNs: UInt64 = 0
    var receiveMarkBytes = 0

    /// Sorted by number, so that iteration is the same in every run.
    var parents: [Parent] = []
    var excluded: Set<PeerNumber> = []
    /// Further links to hosts that are excluded.
    var banned: Set<PeerNumber> = []

    /// By piece number; iterate sorted wherever the order shows.
    var flights: [Int: Flight] = [:]
    /// Pieces of a running origin read that have not come yet.
    var originPending: PieceBits
    /// Some parent has denied a piece that its map named.
    var hasDenials = false
    var leases: [OriginLease] = []
    /// Bytes of wants, reads and pieces with workers, each once per copy.
    var inFlightBytes = 0
    /// The part of it that the origin's pieces hold; the interpreter paces those by its free slots.
    var originSlotBytes = 0

    var isStarted = false
    var ending: Ending?
    var counted = DownloadProgress()
    var budgetChanged = false
    /// No want or read is over its limit before then.
    var copyDeadlineNs = UInt64.max
    /// No parent, pause or session is over its limit before then; may be too early, never too late.
    var parentDueNs = UInt64.max
    /// Until then a parent on our own machine is waited for.
    var neighbourUntilNs: UInt64 = 0
    /// The time of the last event.
    var lastNs: UInt64 = 0
    var actions: [DownloadAction] = []

    /// Whether the download is over: no slot, lease or check of it is left. Its parents are left by then.
    public internal(set) var isOver = false

    /// Bytes of slots it may have in flight: a piece counts from its want until it is kept or discarded.
    ///
    /// Pieces read at the origin count too, but are paced by the interpreter. Less than a piece means a pause. After
    /// raising it send a `tick` (`wakeAtNs` asks for one at once).
    public var budgetBytes: Int {
        didSet { if budgetBytes > oldValue { budgetChanged = true } }
    }

    /// Describes a download; nothing happens before `start`.
    ///
    /// - Parameters:
    ///   - held: pieces verified earlier, one set for each file of the manifest.
    ///   - published: files already checked as a whole and published; all their pieces count as held.
    ///   - knownDigests: piece digests learnt earlier from the scheduler, one map for each file.
    ///   - seed: of its random choices.
    public init(
        manifest: Manifest, held: [PieceSet], published: Set<FileIndex>, knownDigests: [[PieceIndex: Digest]],
        settings: DownloadSettings = DownloadSettings(), role: DownloadRole, seed: UInt64
    ) {
        precondition(
            held.count == manifest.files.count && knownDigests.count == manifest.files.count,
            "held pieces and known digests come one for each file")
        settings.check()
        self.manifest = manifest
        self.settings = settings
        self.role = role
        budgetBytes = settings.budgetBytes
        random = SeededGenerator(seed: seed)
        numbering = PieceNumbering(manifest)
        files = manifest.files.map { FileState(missing: $0.layout.count) }
        fileOrder = manifest.files.indices
            .sorted { (manifest.files[$0].sizeBytes, $0) < (manifest.files[$1].sizeBytes, $1) }
            .map { FileIndex($0) }
        self.held = PieceBits(capacity: numbering.count)
        wantable = PieceBits(capacity: numbering.count)
        originPending = PieceBits(capacity: numbering.count)
        digests = Array(repeating: nil, count: numbering.count)
        availability = Array(repeating: 0, count: numbering.count)
        missingPieces = numbering.count
        leastPieceBytes =
            manifest.files.filter { $0.sizeBytes > 0 }
            .map { Int($0.layout.range(of: PieceIndex($0.layout.count - 1)).length) }.min() ?? 0
        mostPieceBytes = manifest.files.map { min(Int($0.layout.pieceBytes), Int($0.sizeBytes)) }.max() ?? 0
        counted.totalBytes = manifest.totalBytes
        counted.filesTotal = files.count
        for index in files.indices {
            takeOver(FileIndex(index), held: held[index], isPublished: published.contains(FileIndex(index)))
            for (piece, digest) in knownDigests[index] {
                digests[numbering.number(PieceAddress(file: FileIndex(index), piece: piece))] = digest
                files[index].hasDigests = true
            }
        }
        for number in digests.indices { refresh(number) }
    }

    private mutating func takeOver(_ file: FileIndex, held set: PieceSet, isPublished: Bool) {
        let range = numbering.range(of: file)
        precondition(
            set.capacity == range.count, "\(file) has \(range.count) pieces, its held set \(set.capacity)")
        for number in range where isPublished || set.contains(PieceIndex(number - range.lowerBound)) {
            held.insert(number)
            files[Int(file.value)].missing -= 1
            files[Int(file.value)].resumed += 1
            missingPieces -= 1
            counted.resumedBytes += UInt64(numbering.sizeBytes(number))
        }
        if isPublished {
            files[Int(file.value)].phase = .published
            counted.filesPublished += 1
        }
        counted.keptBytes = counted.resumedBytes
    }

    /// Begins: announces what is held already and publishes files that lack only that. Once.
    public mutating func start(nowNs: UInt64) -> [DownloadAction] {
        precondition(!isStarted, "a download starts once")
        isStarted = true
        for number in digests.indices where held.contains(number) {
            actions.append(.announce(numbering.address(number), digest: nil))
        }
        for index in files.indices { publishWhenComplete(FileIndex(index)) }
        finishWhenPublished(nowNs)
        return settle(nowNs)
    }

    /// Takes one event in and says what to do. `nowNs` never goes back.
    public mutating func handle(_ event: DownloadEvent, nowNs: UInt64) -> [DownloadAction] {
        precondition(isStarted, "\(event) came before the download was started")
        take(event, nowNs)
        return settle(nowNs)
    }

    private mutating func take(_ event: DownloadEvent, _ nowNs: UInt64) {
        switch event {
        case .neighbourhood(let offers): takeNeighbourhood(offers, nowNs)
        case .linkUp(let peer): linkUp(peer)
        case .linkDown(let peer): linkDown(peer, nowNs)
        case .banned(let peer): ban(peer)
        case .map(let peer, let file, let set): takeMap(peer, file, set.members, capacity: set.capacity)
        case .have(let peer, let file, let pieces): takeMap(peer, file, pieces, capacity: nil)
        case .unknown(let peer, let file): sessionUnknown(peer, file, nowNs)
        case .granted(let peer, let address, let grant, let leaseUntilNs):
            granted(peer, address, grant, leaseUntilNs: leaseUntilNs, nowNs)
        case .busy(let peer, let address, let retryAfterNs):
            busy(peer, address, retryAfterNs: retryAfterNs, nowNs)
        case .absent(let peer, let address): absent(peer, address)
        case .readEnded(let peer, let address, let ok): readEnded(peer, address, ok: ok, nowNs)
        case .readCut(let peer, let address): readCut(peer, address)
        case .digests(let file, let found): takeDigests(file, found)
        case .digestsWithdrawn(let file): withdrawDigests(file, nowNs)
        case .originLease(let lease, let file, let pieces, let whole):
            takeLease(lease, file, pieces, isWhole: whole)
        case .leaseEnded(let lease): leaseEnded(lease)
        case .originPiece(let lease, let address): originPiece(lease, address)
        case .originEnded(let lease, let failure, let retryable):
            originEnded(lease, failure: failure, isRetryable: retryable, nowNs)
        case .kept(let address, let digest): kept(address, digest)
        case .mismatched(let address): mismatched(address, nowNs)
        case .keepFailed(let address, let reason): keepFailed(address, reason, nowNs)
        case .filePublished(let file): filePublished(file, nowNs)
        case .fileMismatched(let file): fileMismatched(file, nowNs)
        case .publishFailed(let file, let reason): publishFailed(file, reason, nowNs)
        case .refused(let reason): end(.failed(reason), nowNs)
        case .cancel: end(.cancelled, nowNs)
        case .tick: break
        }
    }

    /// What follows from the new state, whatever the event was.
    private mutating func settle(_ nowNs: UInt64) -> [DownloadAction] {
        budgetChanged = false
        if !isOver {
            expire(nowNs)
            advanceLeases(nowNs)
            if ending == nil {
                connectParents(nowNs)
                reopenAfterDenials(nowNs)
                openSessions(nowNs)
                askForPieces(nowNs)
                askTwice(nowNs)
            }
            leaveDeparted()
            finishWhenDrained(nowNs)
        }
        var result: [DownloadAction] = []
        swap(&result, &actions)
        return result
    }

    /// How far it is.
    public var progress: DownloadProgress {
        var progress = counted
        for parent in parents {
            if parent.isUp { progress.parentsUp += 1 }
            progress.readsRunning += parent.reads
        }
        progress.parentsExcluded = excluded.count
        return progress
    }

    /// The model's path of a file, for sentences.
    func path(_ file: FileIndex) -> String { manifest.files[Int(file.value)].path }
}
