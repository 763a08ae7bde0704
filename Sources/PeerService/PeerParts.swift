import Artifacts
import Engine
import Memory
import Storage

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
    let scheduler: SchedulerFleet
    let resolveLimit: Duration
    let managerAttached: @Sendable () -> Bool
}
