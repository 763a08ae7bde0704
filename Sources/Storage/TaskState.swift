import Artifacts
import System

/// Where a task stands.
///
/// ```
/// partial ──publish──▶ publishing ──digest right──▶ published
///  ▲ ▲ │                   │                            │
///  │ └─┼─wrong, or failed──┘                            │
///  │   └──forget while downloading──▶ emptying          │
///  └──────────a new, empty file──────────┘ │            │
///                               forgotten ◀┴──forget────┴── (also from partial)
/// ```
enum TaskPhase: Sendable, Hashable {
    /// Pieces are kept and served. → publishing, emptying, forgotten.
    case partial
    /// Every piece is held and the whole is being checked. → published, or back to partial.
    case publishing
    /// What was kept is being thrown away under a running download. → partial, forgotten.
    case emptying
    /// Checked, synced, immutable. → forgotten.
    case published
    /// Removed; only sources still in use can read it. Terminal.
    case forgotten
}

/// Appends records to a task's journal; used under the task's lock.
struct JournalWriter: Sendable {
    /// The open journal; nil while the file is not open for writing.
    var file: OpenFile? = nil
    /// Where the next record goes, which one it is, and what it continues.
    var endOffset: UInt64
    var records: UInt64
    var chain: UInt32

    /// Appends a record. One that failed half-way is overwritten by the next: the end moves only after success.
    mutating func append(_ record: JournalRecord, _ directories: StoreDirectories) throws(Errno) {
        guard let file else { throw Errno.notOpen }
        var next = chain
        let bytes = record.encoded(chain: &next)
        try directories.write(bytes, at: endOffset, of: file.descriptor)
        chain = next
        endOffset += UInt64(bytes.count)
        records += 1
    }
}

/// What changes about a task; guarded by the task's lock.
struct TaskState: Sendable {
    var phase: TaskPhase
    /// Pieces that may be served, and their digests.
    var held: PieceSet
    var digests: [Digest?]
    /// Pieces recorded under another boot and not synced then: digested again before they count as held.
    var doubtful: [PieceIndex: Digest] = [:]
    /// Whether the journal must be written anew, under this boot, before anything is appended.
    var isStale: Bool
    /// How many are downloading it (two models may have the same file).
    var downloads = 0
    /// The file, open for writing, from the first use by a download until its end.
    var data: OpenFile? = nil
    var journal: JournalWriter
    /// Whether pieces were recorded that no checkpoint covers.
    var isUnsynced = false
    /// Pieces being written now: their digest and by how many threads.
    var writing: [PieceIndex: (digest: Digest, threads: Int)] = [:]
    /// Exports alive, and the descriptor they share.
    var uses = 0
    var reader: OpenFile? = nil

    /// Whether nobody downloads, writes, checks or reads it.
    var isIdle: Bool {
        uses == 0 && downloads == 0 && writing.isEmpty && phase != .publishing && phase != .emptying
    }
}
