import Artifacts
import Engine
import Memory
import Storage
import Synchronization

/// What a running host consists of, as its services use it.
struct PeerParts: Sendable {
    let host: HostID
    let incarnation: Incarnation
    let cluster: String
    let isSeed: Bool
    let addresses: [String]
    let version: String
    let engine: Engine
    let store: Store
    let arena: Arena
    let blocking: BlockingPool
    let scheduler: SchedulerLink
    let resolveLimit: Duration
    let managerAttached: @Sendable () -> Bool
}

/// The latest look at a download, kept across the tasks that take it.
final class LastSnapshot: Sendable {
    private let snapshot = Mutex<DownloadSnapshot?>(nil)
    var value: DownloadSnapshot? { snapshot.withLock { $0 } }
    func put(_ new: DownloadSnapshot) { snapshot.withLock { $0 = new } }
}
