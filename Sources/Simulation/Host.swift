import Artifacts
import Scheduling
import Swarm

/// A host of the fleet: its machines, and what an interpreter would keep for them.
final class Host {
    /// How it behaves towards its children.
    enum Conduct { case honest, corrupting, silent }

    struct SlotKey: Hashable {
        let address: PieceAddress
        let source: PieceSource
    }
    struct ReadKey: Hashable {
        let parent: PeerNumber
        let address: PieceAddress
    }
    struct ExportKey: Hashable {
        let session: UploadSessionID
        let piece: PieceIndex
    }

    let number: Int
    let id: HostID
    let isSeed: Bool
    var conduct = Conduct.honest
    var download: Download?
    var upload: Upload
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
    /// Arrived, and whether the bytes are right.
    var slots: [SlotKey: Bool] = [:]
    var slotsMax = 0
    var links: [PeerNumber: UInt64] = [:]
    /// Links of its children.
    var childLinks: Set<UInt64> = []
    var reads: [ReadKey: Int] = [:]
    var exports: Set<ExportKey> = []
    var leases: [Scheduling.LeaseID: HeldLease] = [:]
    /// Pieces of each lease that are on their way from the origin.
    var originReads: [Swarm.LeaseID: Set<Int>] = [:]
    var downloadWakeNs = UInt64.max
    var uploadWakeNs = UInt64.max
    var workersFreeNs: UInt64 = 0
    var session: SessionID?
    /// When the last message each way arrives: streams keep their order.
    var toSchedulerNs: UInt64 = 0
    var fromSchedulerNs: UInt64 = 0
    /// Kept and not told yet, by file; with digests, those read at the origin.
    var news: [Bool: [UInt32: [PieceIndex]]] = [:]
    var isTelling = false
    var isCutOff = false

    init(number: Int, id: HostID, isSeed: Bool, kept: [PieceSet], upload: Upload) {
        self.number = number
        self.id = id
        self.isSeed = isSeed
        self.kept = kept
        self.upload = upload
    }

    var peer: PeerNumber { PeerNumber(number) }
    var isDownloading: Bool { download.map { !$0.isOver } ?? false }
    func holds(_ address: PieceAddress) -> Bool { kept[Int(address.file.value)].contains(address.piece) }
}

/// What a piece on its way is for.
enum Purpose {
    case read(PieceAddress, link: UInt64)
    case origin(Swarm.LeaseID, PieceAddress, isLast: Bool)
}

/// What may be about to happen.
enum Happening {
    case toDownload(host: Int, life: UInt32, DownloadEvent)
    /// From a parent to its child: void once the link is gone.
    case toChild(link: UInt64, DownloadEvent)
    case toUpload(host: Int, life: UInt32, UploadEvent)
    /// From a child to its parent: void once the link is gone.
    case toParent(link: UInt64, UploadEvent)
    /// A child tells a parent of its interest: the parent looks up what it holds.
    case open(link: UInt64, FileIndex)
    case wakeDownload(host: Int, life: UInt32)
    case wakeUpload(host: Int, life: UInt32)
    case wakeScheduler(life: UInt32)
    case toScheduler(life: UInt32, SchedulerEvent)
    case fromScheduler(host: Int, SessionID, SchedulerMessage)
    case tellScheduler(host: Int, life: UInt32)
    case attach(host: Int, life: UInt32)
    case join(host: Int)
    case advance(transfer: Int)
    case whole(transfer: Int)
    case verified(host: Int, life: UInt32, PieceAddress, expected: Digest?, PieceSource)
    case fault(Fault)
}

/// One thing that goes wrong, or right again.
enum Fault {
    case crash(Int), comeBack(Int), loseSeed(Int), restartScheduler, partition([Int]), heal([Int])
}
