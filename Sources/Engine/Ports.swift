import Rails
import Transport
import Workers

/// A rail as the interpreter sees it; a real rail is a thread, a simulated one a queue.
public protocol RailPort: Sendable {
    /// What its transport can do.
    var capabilities: TransportCapabilities { get }
    /// Where it listens; nil when it only dials.
    var address: TransportAddress? { get }
    /// The arena as registered with its transport.
    var regions: [RegionID] { get }
    /// Hands over a batch; false when it cannot take it now, and then nothing of it was taken.
    func submit(_ commands: [RailCommand]) -> Bool
}

extension RailHandle: RailPort {}

/// Threads for hashing and disks, as the interpreter sees them.
public protocol WorkerPort: Sendable {
    /// Hands over a job; false when the queue is full.
    func submit(_ job: @escaping @Sendable () -> Void) -> Bool
}

extension WorkerPool: WorkerPort {}
