import Artifacts

/// The upload side of a host as a machine: who may read which piece, when, and for how long. One for all children.
///
/// ```
///   wanted ──▶ queued ── a slot is free ──▶ exporting ── exported ok ──▶ granted ── released ──▶ revoked
///     │           │ waited too long: busy      │ not ok: absent            │ lease over: an offence ──▶ revoked
///     │ not held: absent                       │ released, closed, forgotten, link down while exporting:
///     │ queue full: busy                       ▼                  (deferred: busy)
///                                           orphaned ── exported ok ──▶ revoked
/// ```
/// Every export that was made is revoked exactly once. Of the wants that wait, the piece served least goes first (each
/// piece leaves a source once before any leaves it twice), then the child with the fewest slots, then the oldest want.
///
/// Contract with the interpreter: every `export` is answered by exactly one `exported` or `exportDeferred`, also after
/// the link went down; another one traps. What a child says never traps: out of its bounds it costs the child its link.
///
/// Threading: a value; one owner at a time. Cost of an event: O(slots + queued wants).
public struct Upload: Sendable {
    struct Slot: Sendable {
        enum State: Sendable, Hashable {
            /// `export` was asked. May become granted, orphaned or (not ok) gone.
            case exporting
            /// The child may read until then. Becomes revoked.
            case granted(sinceNs: UInt64, untilNs: UInt64)
            /// Nobody waits for the export any more; revoked as soon as it is made.
            case orphaned
        }
        let session: UploadSessionID
        let piece: PieceIndex
        let task: TaskID
        var state = State.exporting
    }

    struct QueuedWant: Sendable {
        let session: UploadSessionID
        let piece: PieceIndex
        let task: TaskID
        let untilNs: UInt64
    }

    struct Link: Sendable {
        var sessions: [UInt32: TaskID] = [:]
        var offences = 0
        /// `dropLink` was asked: whatever it still says is ignored until `linkDown`.
        var isDropped = false
    }

    struct Task: Sendable {
        var held: PieceSet
        /// How often each piece was granted.
        var served: [UInt32]
        /// In the order they were opened.
        var sessions: [UploadSessionID] = []
        /// Kept since the last `sendHave`, and whom it is for.
        var news: [News] = []
        var newsDueNs: UInt64 = 0
        /// New pieces that only one child was told of so far.
        var firsts: [First] = []
        /// Whose turn it is to be the first child.
        var nextFirst = 0
    }

    /// A new piece, and which sessions of its task hear of it.
    struct News: Sendable {
        enum Audience: Sendable, Hashable { case all, only(UploadSessionID), others(UploadSessionID) }
        let piece: PieceIndex
        let audience: Audience
    }

    /// A new piece that one child was told of, and when the others are.
    struct First: Sendable {
        let piece: PieceIndex
        let session: UploadSessionID
        var dueNs: UInt64
    }

    let settings: UploadSettings
    var links: [UInt64: Link] = [:]
    var tasks: [TaskID: Task] = [:]
    /// In the order they were taken.
    var slots: [Slot] = []
    /// In the order they were asked.
    var queue: [QueuedWant] = []
    /// Tasks with news or first children, in the order the news came.
    var tasksWithNews: [TaskID] = []
    /// Decayed average of how long a grant is held.
    var serviceNs: UInt64 = 100_000_000
    var counted = UploadUsage()
    var actions: [UploadAction] = []

    /// An upload side without children.
    public init(settings: UploadSettings = UploadSettings()) {
        settings.check()
        self.settings = settings
    }

    /// Takes one event in and says what to do. `nowNs` never goes back.
    public mutating func handle(_ event: UploadEvent, nowNs: UInt64) -> [UploadAction] {
        switch event {
        case .opened(let session, let task, let held): opened(session, task, held, nowNs)
        case .wanted(let session, let piece): wanted(session, piece, nowNs)
        case .released(let session, let piece): released(session, piece, nowNs)
        case .closed(let session): endSession(session)
        case .linkDown(let link):
            endLink(link)
            links[link] = nil
        case .kept(let task, let piece): kept(task, piece, nowNs)
        case .forgot(let task): forgot(task)
        case .exported(let session, let piece, let ok): exported(session, piece, ok: ok, nowNs)
        case .exportDeferred(let session, let piece): exportDeferred(session, piece)
        case .tick: break
        }
        expire(nowNs)
        fillSlots()
        var result: [UploadAction] = []
        swap(&result, &actions)
        return result
    }

    /// When to send a `tick` at the latest; nil when nothing waits for time. Always later than the last event's time.
    public var wakeAtNs: UInt64? {
        var earliest = queue.first?.untilNs ?? .max
        for slot in slots {
            if case .granted(_, let untilNs) = slot.state { earliest = min(earliest, untilNs) }
        }
        for task in tasksWithNews {
            guard let task = tasks[task] else { continue }
            if !task.news.isEmpty { earliest = min(earliest, task.newsDueNs) }
            for first in task.firsts { earliest = min(earliest, first.dueNs) }
        }
        return earliest == .max ? nil : earliest
    }

    /// How it is doing.
    public var usage: UploadUsage {
        var usage = counted
        usage.slotsMax = settings.slotsMax
        usage.slotsTaken = slots.count
        usage.wantsQueued = queue.count
        usage.sessions = links.values.reduce(0) { $0 + $1.sessions.count }
        return usage
    }
}
