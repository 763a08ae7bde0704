import Artifacts
import Scheduling
import Swarm

/// A machine in a place of its own, so that it is changed where it lies and never copied.
///
/// Safety: the memory is this object's alone, initialised from the start and freed with it; it is used on the run's one
/// thread.
final class Seat<Machine> {
    let place: UnsafeMutablePointer<Machine>

    init(_ machine: Machine) {
        place = .allocate(capacity: 1)
        place.initialize(to: machine)
    }

    deinit {
        place.deinitialize(count: 1)
        place.deallocate()
    }
}

extension Seat where Machine == Download {
    /// When it wants to wake. Through a changing access, since a reading one copies the whole machine first.
    func nextWakeNs() -> UInt64? { place.pointee.readWakeNs() }
}

extension Seat where Machine == Upload {
    /// See the download's.
    func nextWakeNs() -> UInt64? { place.pointee.readWakeNs() }
}

extension Download {
    fileprivate mutating func readWakeNs() -> UInt64? { wakeAtNs }
}

extension Upload {
    fileprivate mutating func readWakeNs() -> UInt64? { wakeAtNs }
}

/// One download of a host, and what an interpreter would keep for it.
final class Running {
    /// A piece that has arrived.
    struct Slot {
        let file: UInt32
        let piece: UInt32
        let source: PieceSource
        /// The bytes are what the origin has.
        let isRight: Bool
        /// With a worker, and what was expected of it: that digest, another one, or nothing.
        var isWithWorker = false
        var agrees = true
    }
    struct Tie {
        let peer: PeerNumber
        let link: UInt32
    }

    let model: Int
    let seat: Seat<Download>
    var wakeNs = UInt64.max
    /// Which link leads to each parent.
    var ties: [Tie] = []
    /// Transfers from parents.
    var reads: [UInt32] = []
    /// Transfers from the origin.
    var originReads: [UInt32] = []
    /// Leases under which the origin is being read.
    var originRuns: [UInt64] = []
    var slots: [Slot] = []
    var slotsMax = 0

    init(model: Int, _ download: Download) {
        self.model = model
        seat = Seat(download)
    }

    func link(to peer: PeerNumber) -> UInt32? {
        for tie in ties where tie.peer == peer { return tie.link }
        return nil
    }
}

/// A host of the fleet: its machines, and what an interpreter would keep for them.
final class Host {
    /// How it behaves towards its children and the scheduler.
    enum Conduct: Sendable, Hashable {
        case honest
        /// Sends wrong bytes.
        case corrupting
        /// Answers nothing.
        case silent
        /// Says it has pieces that it has not.
        case lying
    }

    struct Export: Equatable {
        let link: UInt32
        let file: UInt32
        let piece: UInt32
    }
    struct News {
        let file: UInt32
        let piece: UInt32
        let isReader: Bool
    }

    let number: Int
    let id: HostID
    let isSeed: Bool
    /// The model it wants; of a seed, none.
    let wants: Int?
    var conduct = Conduct.honest
    /// Pieces that its disk has room for.
    var roomPieces = Int.max
    /// How far its clock is ahead of the simulation's.
    var aheadNs: UInt64 = 0
    /// By model.
    var running: [Running?]
    var upload: Seat<Upload>
    var isAlive = true
    var isLostForGood = false
    /// Which life; events of an earlier one are dropped.
    var life: UInt32 = 1
    var hasJoined = false
    var finishedNs: UInt64?
    var joinedNs: UInt64 = 0
    var failure: String?
    /// Verified and kept, by file; survives crashes.
    var kept: [PieceSet]
    var slotsMax = 0
    /// Links of its children.
    var childLinks: Set<UInt32> = []
    var exports: [Export] = []
    var leases: [Scheduling.LeaseID: HeldLease] = [:]
    var uploadWakeNs = UInt64.max
    var workersFreeNs: UInt64 = 0
    var session: SessionID?
    /// When the last message each way arrives: streams keep their order.
    var toSchedulerNs: UInt64 = 0
    var fromSchedulerNs: UInt64 = 0
    /// Kept and not told yet.
    var news: [News] = []
    var isTelling = false
    var isCutOff = false
    /// How often it read at the origin.
    var originPieces = 0

    init(number: Int, id: HostID, isSeed: Bool, wants: Int?, models: Int, kept: [PieceSet], upload: Upload) {
        self.number = number
        self.id = id
        self.isSeed = isSeed
        self.wants = wants
        self.kept = kept
        self.upload = Seat(upload)
        running = Array(repeating: nil, count: models)
    }

    /// Whether its download has to end one way or the other.
    var mustEnd: Bool { wants != nil && conduct != .lying }
    var peer: PeerNumber { PeerNumber(number) }

    func isDownloading(_ model: Int) -> Bool { running[model].map { !$0.seat.place.pointee.isOver } ?? false }

    var slotCount: Int { running.reduce(0) { $0 + ($1?.slots.count ?? 0) } }
    var readCount: Int { running.reduce(0) { $0 + ($1?.reads.count ?? 0) } }
}

/// A child's way to a parent, for one model.
struct Link {
    let child: Int32
    let parent: Int32
    let model: Int32
    var isAlive = true
    /// When the last message each way arrives: links keep their order.
    var toParentNs: UInt64 = 0
    var toChildNs: UInt64 = 0
}

/// One thing that goes wrong, or right again.
enum Fault {
    case crash(Int), comeBack(Int), loseSeed(Int), restartScheduler, replaceScheduler, partition([Int]), heal([Int])
    /// What an earlier life of a host said comes late.
    case staleMessages(Int)
}
