import Artifacts
import Memory
import Storage
import Swarm
import Transport

/// One model being brought here: its machine and what its actions hold.
struct DownloadTask {
    let number: DownloadNumber
    let model: ModelID
    let manifest: Manifest
    /// nil until a worker has opened the files.
    var machine: Download?
    var files: [TaskFile] = []
    /// Arrived pieces whose slot waits for `keep` or `discard`.
    var arrived: [ArrivedPiece: Arrival] = [:]
    /// Slots in the hands of rails and workers: the task goes only when there is none.
    var slotsOut = 0
    var leases: [LeaseID: HeldLease] = [:]
    /// What the origin said of leases that failed.
    var leaseFailures: [LeaseID: OriginFailure] = [:]
    /// Leases whose origin reading still runs.
    var fetching: Set<LeaseID> = []
    /// Files whose whole-file hash a worker is advancing, and whether more has been kept since it began.
    var hashing: [FileIndex: Bool] = [:]
    var publishing: Set<FileIndex> = []
    /// Files that a worker is throwing away, and what is to be kept of them anew once that is done.
    var forgetting: [FileIndex: [@Sendable () -> Void]] = [:]
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
    let startedNs: UInt64
    /// The code of the last thing that went wrong in a way that can end it.
    var failureCode: String?
    var progressAtOutcome: DownloadProgress?

    /// Whether nothing of it is in anybody's hands any more.
    var isIdle: Bool {
        slotsOut == 0 && fetching.isEmpty && arrived.isEmpty && publishing.isEmpty
            && hashing.isEmpty && forgetting.isEmpty
    }
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
