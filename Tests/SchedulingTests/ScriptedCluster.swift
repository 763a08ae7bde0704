import Artifacts
import Testing

@testable import Scheduling

let mebibyte: UInt64 = 1 << 20

/// A made-up digest.
func digest(_ number: Int, _ algorithm: Digest.Algorithm = .blake3) -> Digest {
    Digest(algorithm, bytes: (0..<32).map { UInt8(truncatingIfNeeded: number >> (8 * ($0 & 7))) })!
}

func taskID(_ number: Int) -> TaskID { TaskID(digest(number, .sha256)) }

/// The digest every right reader finds for a piece.
func pieceDigest(_ task: TaskID, _ piece: UInt32) -> Digest {
    digest(Int(task.digest.bytes[0]) << 32 | Int(piece) + 1)
}

/// A model of files with so many pieces of 1 MiB each; tasks are numbered from `firstTask`.
func model(
    _ number: Int = 1, pieces: [Int] = [8], firstTask: Int = 1, reference: String = "hf://org/name@main"
) -> ResolvedModel {
    let files = pieces.enumerated().map { index, count in
        ManifestFile(
            path: "file-\(index)", sizeBytes: UInt64(count) * mebibyte,
            publishedDigest: digest(firstTask + index, .sha256), task: taskID(firstTask + index))
    }
    let manifest = try! Manifest(reference: reference, revision: "c0ffee", files: files)
    return ResolvedModel(model: ModelID(digest(1000 + number, .sha256)), manifest: manifest)
}

func hostID(_ name: String) -> HostID { HostID(name)! }

let away = Failure(code: "unreachable", sentence: "the origin does not answer; try again", retryable: true)
let missing = Failure(code: "repository_not_found", sentence: "there is no such repository", retryable: false)

/// A scheduler with hosts played by a script; keeps what was sent to each until it is taken.
struct ScriptedCluster {
    var scheduler: Scheduler
    var nowMs: UInt64 = 0
    var sessions: [String: SessionID] = [:]
    var sent: [SessionID: [SchedulerMessage]] = [:]
    var closed: [SessionID] = []
    private var nextSession: UInt64 = 1

    /// A scheduler past its learning time, unless told otherwise.
    init(learning: Bool = false, _ change: (inout SchedulingSettings) -> Void = { _ in }) {
        var settings = SchedulingSettings()
        // Small, and the same whatever rate the origin is found to have: tests count leases.
        settings.leasePieces = 4
        settings.leasesPerHolder = 2
        settings.exposedPiecesMax = 16
        settings.originPiecesMin = 1_024
        change(&settings)
        scheduler = Scheduler(settings: settings, seed: 7, firstLease: 100, nowNs: 0)
        if !learning { do_(.expectedHosts(0)) }
    }

    mutating func do_(_ event: SchedulerEvent) {
        for action in scheduler.handle(event, nowNs: nowMs * 1_000_000) {
            switch action {
            case .send(let session, let message): sent[session, default: []].append(message)
            case .close(let session, _): closed.append(session)
            }
        }
    }

    /// Lets time pass, with a tick whenever one is asked for.
    mutating func pass(ms: UInt64) {
        let endMs = nowMs + ms
        var turns = 0
        while let wakeNs = scheduler.wakeAtNs, wakeNs <= endMs * 1_000_000 {
            nowMs = max(nowMs, (wakeNs + 999_999) / 1_000_000)
            do_(.tick)
            turns += 1
            precondition(turns < 100_000, "the scheduler asks to be woken again and again")
        }
        nowMs = endMs
        do_(.tick)
    }

    @discardableResult
    mutating func attach(
        _ name: String, _ role: HostRole = .peer, incarnation: Incarnation = 1, rack: String = "",
        machine: String = "", leases: [HeldLease] = [], models: [HeldModel] = [], tasks: [HeldTask] = [],
        reports: Bool = true
    ) -> SessionID {
        let session = SessionID(nextSession)
        nextSession += 1
        sessions[name] = session
        let info = HostInfo(
            host: hostID(name), incarnation: incarnation, role: role, addresses: ["tcp:\(name):1"], zone: "z",
            rack: rack, machine: machine)
        do_(.attached(session, info, leases: leases))
        if reports { do_(.inventory(session, models: models, tasks: tasks, last: true)) }
        return session
    }

    mutating func detach(_ name: String) { do_(.detached(sessions[name]!)) }
    mutating func join(_ name: String, _ model: ResolvedModel) {
        do_(.join(sessions[name]!, model.model, model.manifest))
    }

    mutating func kept(_ name: String, _ task: TaskID, _ pieces: some Sequence<UInt32>, digests: Bool) {
        let pieces = Array(pieces)
        do_(
            .kept(
                sessions[name]!, task, pieces: pieces.map { PieceIndex($0) },
                digests: digests ? pieces.map { pieceDigest(task, $0) } : []))
    }

    mutating func giveBack(
        _ name: String, _ lease: LeaseID, _ failure: Failure? = nil, needsWhole: Bool = false
    ) {
        do_(.leaseReturned(sessions[name]!, lease, failure: failure, needsWhole: needsWhole))
    }

    /// Takes what a host was sent.
    mutating func take(_ name: String) -> [SchedulerMessage] {
        sent.removeValue(forKey: sessions[name]!) ?? []
    }

    mutating func takeLeases(_ name: String) -> [GrantedLease] {
        take(name).compactMap {
            if case .lease(let id, _, let task, let pieces, let whole) = $0 {
                GrantedLease(id: id, task: task, pieces: pieces, isWhole: whole)
            } else {
                nil
            }
        }
    }

    mutating func takeReplies(_ name: String) -> [Reply] {
        take(name).compactMap {
            if case .resolveReply(let request, let result, let stale) = $0 {
                Reply(request: request, result: result, stale: stale)
            } else {
                nil
            }
        }
    }

    mutating func takeOrders(_ name: String) -> [UInt64] {
        take(name).compactMap { if case .resolveOrder(let request, _) = $0 { request } else { nil } }
    }

    /// Reads and keeps all of a lease, and gives it back.
    mutating func read(_ name: String, _ lease: GrantedLease) {
        kept(name, lease.task, lease.pieces, digests: true)
        giveBack(name, lease.id)
    }
}

struct GrantedLease: Hashable {
    var id: LeaseID
    var task: TaskID
    var pieces: Range<UInt32>
    var isWhole: Bool
}

struct Reply: Hashable {
    var request: UInt64
    var result: Result<ResolvedModel, Failure>
    var stale: Bool
}

/// All pieces of a model's tasks, as an inventory names them.
func inventory(_ model: ResolvedModel, _ pieces: Range<UInt32>? = nil, offset: Int = 0) -> [HeldTask] {
    model.manifest.files.map { file in
        var set = PieceSet(capacity: file.layout.count)
        for piece in pieces ?? 0..<UInt32(file.layout.count) { set.insert(PieceIndex(piece)) }
        let digests = set.members.map {
            offset == 0 ? pieceDigest(file.task, $0.value) : digest(offset + Int($0.value))
        }
        return HeldTask(task: file.task, sizeBytes: file.sizeBytes, pieces: set, digests: digests)
    }
}

func complete(_ model: ResolvedModel) -> HeldModel {
    HeldModel(model: model.model, manifest: model.manifest, complete: true)
}
