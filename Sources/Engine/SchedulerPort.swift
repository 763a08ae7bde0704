import Artifacts
import Swarm

/// What the engine tells the scheduler. Sent in order; while no scheduler is attached the port may drop it: on
/// re-attachment the engine's `attachment()` says everything again.
public enum SchedulerUplink: Sendable {
    /// We download this model.
    case join(ModelID, Manifest)
    /// We no longer do; `failure` is nil when it finished.
    case leave(ModelID, failure: String?)
    /// A piece is verified and kept; the digest comes with it when we read it at the origin.
    case kept(TaskID, PieceIndex, Digest?)
    /// A lease is over.
    case leaseReturn(LeaseID, OriginFailure?)
    /// A parent sent wrong bytes.
    case blame(HostID, TaskID, PieceIndex)
    /// We no longer hold this task.
    case forgot(TaskID)
}

/// Why the origin could not be read, as the scheduler needs to know it.
public struct OriginFailure: Error, Sendable, Hashable, CustomStringConvertible {
    /// Closed set shared with `Failure.code` of the protocol files.
    public let code: String
    /// One sentence that says what to do.
    public let description: String
    /// Whether another try, or another reader, may succeed.
    public let retryable: Bool
    /// The origin answers only whole files.
    public let needsWhole: Bool
    /// Describes a failure.
    public init(code: String, description: String, retryable: Bool, needsWhole: Bool = false) {
        self.code = code
        self.description = description
        self.retryable = retryable
        self.needsWhole = needsWhole
    }
}

/// What the scheduler tells the engine.
public enum SchedulerDownlink: Sendable {
    /// A scheduler is attached (again): say what you are doing.
    case attached
    /// No scheduler is attached; leases held go on, nothing new comes.
    case detached
    /// A seed's order: download this model on behalf of the cluster.
    case fetch(ModelID, Manifest)
    /// Our parents for a model from now on.
    case neighbourhood(ModelID, [Neighbour])
    /// Digests of a task's pieces.
    case digests(TaskID, [PieceIndex: Digest])
    /// Digests of the task came from a reader that was wrong.
    case digestsWithdrawn(TaskID)
    /// We alone may read these pieces at the origin.
    case lease(LeaseID, ModelID, TaskID, Range<UInt32>, whole: Bool)
    /// The lease is no longer ours.
    case leaseEnded(LeaseID)
    /// The model cannot be had.
    case refused(ModelID, OriginFailure)
}

/// A host the scheduler offers as a parent.
public struct Neighbour: Sendable, Hashable {
    /// Its name.
    public let host: HostID
    /// Which life of it.
    public let incarnation: Incarnation
    /// Where its transports listen, as text (`tcp:192.0.2.7:7701`).
    public let addresses: [String]
    /// Whether it is a seed peer.
    public let isSeed: Bool
    /// 0 same machine, 1 same rack, 2 same zone, 3 farther.
    public let distance: UInt8
    /// Describes a host.
    public init(host: HostID, incarnation: Incarnation, addresses: [String], isSeed: Bool, distance: UInt8) {
        self.host = host
        self.incarnation = incarnation
        self.addresses = addresses
        self.isSeed = isSeed
        self.distance = distance
    }
}

/// A lease the host still reads under, told to a restarted scheduler.
public struct HeldLease: Sendable, Hashable {
    /// The scheduler's number.
    public let lease: LeaseID
    /// Of which task.
    public let task: TaskID
    /// Which pieces.
    public let pieces: Range<UInt32>
    /// Read as one stream.
    public let whole: Bool
}

/// Carries uplinks to the scheduler; called on the engine's thread, never blocks.
public protocol SchedulerPort: Sendable {
    /// Queues one message.
    func send(_ message: SchedulerUplink)
}
