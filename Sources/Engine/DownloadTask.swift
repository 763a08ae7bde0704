import Artifacts
import Memory
import Storage
import Swarm
import Transport

/// One model being brought here: its machine and what its actions hold.
///
/// A class, so that looking at it while its machine runs copies nothing. Only the engine's thread touches it.
final class DownloadTask {
    let number: DownloadNumber
    let model: ModelID
    /// The whole manifest: what the scheduler, the store and the origin know the model by.
    let manifest: Manifest
    /// The machine's files: of files with the same content only one is brought, since they are one task.
    let content: Manifest
    let startedNs: UInt64
    /// Whether it has begun; until then it waits for earlier downloads to publish what both want.
    var isLaunched = false
    /// A worker is opening its files.
    var isPreparing = false
    /// The last caller gave up: it only winds down, and whoever asks for the model now begins anew.
    var isEnding = false
    /// nil until a worker has opened the files.
    var machine: Download?
    /// All that the store opened, in the manifest's order.
    var opened: [TaskFile] = []
    /// Those of `content`.
    var files: [TaskFile] = []
    /// Tasks that are published already.
    var published: Set<TaskID> = []
    /// Arrived pieces whose slot waits for `keep` or `discard`.
    var arrived: [ArrivedPiece: Arrival] = [:]
    /// Slots in the hands of rails and workers: the task goes only when there is none.
    var slotsOut = 0
    /// Leases that are ours, as the scheduler is told of them.
    var leases: [LeaseID: HeldLease] = [:]
    /// What the origin said of leases that failed.
    var leaseFailures: [LeaseID: OriginFailure] = [:]
    /// Leases whose origin reading still runs, and what is read under them.
    var fetching: [LeaseID: OriginFetch] = [:]
    /// Files whose whole-file hash a worker is advancing, and whether more has been kept since it began.
    var hashing: [FileIndex: Bool] = [:]
    var publishing: Set<FileIndex> = []
    /// Where pieces came from that a worker is judging.
    var judging: [PieceAddress: Judged] = [:]
    var traffic = Traffic()
    var outcome: DownloadOutcome?
    /// Who waits for it.
    var callers: [UInt64: @Sendable (DownloadSnapshot) -> Void] = [:]
    /// The scheduler wants it here.
    var isOrdered = false
    /// What came before the machine was there.
    var early: [DownloadEvent] = []
    /// The code of the last thing that went wrong in a way that can end it.
    var failureCode: String?
    var progressAtOutcome: DownloadProgress?

    init(number: DownloadNumber, model: ModelID, manifest: Manifest, startedNs: UInt64) {
        self.number = number
        self.model = model
        self.manifest = manifest
        self.startedNs = startedNs
        var seen: Set<TaskID> = []
        let distinct = manifest.files.filter { seen.insert($0.task).inserted }
        // A part of a good manifest is a good manifest.
        content =
            (try? Manifest(reference: manifest.reference, revision: manifest.revision, files: distinct)) ?? manifest
    }

    /// Whether it brings something: begun, not over, not winding down.
    var isRunning: Bool { isLaunched && outcome == nil && !isEnding }

    /// Whether nothing of it is in anybody's hands any more.
    var isIdle: Bool {
        slotsOut == 0 && !isPreparing && fetching.isEmpty && arrived.isEmpty && publishing.isEmpty && hashing.isEmpty
    }

    /// Tasks it is bringing or will bring.
    var wanted: Set<TaskID> { Set(content.files.map { $0.task }).subtracting(published) }

    /// Where a task stands in the machine's files.
    func place(of task: TaskID) -> FileIndex? {
        content.files.firstIndex { $0.task == task }.map { FileIndex($0) }
    }

    /// One of the machine's files.
    func file(_ index: FileIndex) -> ManifestFile { content.files[Int(index.value)] }
}

/// A caller's hold on a download.
public struct DownloadTicket: Sendable, Hashable {
    /// Which download.
    public let download: DownloadNumber
    let caller: UInt64
}

/// A piece that arrived, by its place and its deliverer: in the end game two parents may deliver the same piece.
struct ArrivedPiece: Hashable {
    let address: PieceAddress
    let source: PieceSource
}

/// The slot of an arrived piece, and the transport that brought it; nil for the origin.
struct Arrival {
    let slot: Slot
    let kind: TransportKind?
}

/// A piece a worker is judging.
struct Judged {
    let source: PieceSource
    let kind: TransportKind?
}

/// How a download ended.
public enum DownloadOutcome: Sendable, Hashable {
    /// Every file is published here.
    case finished
    /// A closed code (an origin's, the store's, `digest_mismatch`, or `failed`) and one sentence.
    case failed(code: String, String)
    /// The caller gave up; what was verified stays.
    case cancelled
}

/// How far a download is.
public struct DownloadSnapshot: Sendable {
    /// The machine's counts.
    public let progress: DownloadProgress
    /// Sources and transports.
    public let traffic: Traffic
    /// How it ended; nil while it runs.
    public let outcome: DownloadOutcome?
    /// Since its start.
    public let seconds: Double
}
