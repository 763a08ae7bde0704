import Synchronization
import System
import Transport

/// A rail as other threads see it: give it commands in batches, get events in batches.
///
/// The rail is one pinned thread that owns one transport, its links and their reads. The sink is called on that thread
/// and must return soon: hand the events over and go. A handle must be shut down before it is let go (else its thread's
/// owner traps).
public final class RailHandle: Sendable {
    /// Takes a batch of events, on the rail's thread, where it must not block.
    ///
    /// The slice is of the rail's own storage: a sink that copies the events elsewhere costs the rail nothing; one that
    /// keeps the slice is safe, and makes the rail allocate new storage.
    public typealias Sink = @Sendable (ArraySlice<RailEvent>) -> Void

    /// The thread's name.
    public let name: String
    /// What the transport can do.
    public let capabilities: TransportCapabilities
    /// Where it listens, with the port it got; nil when it only dials.
    public let address: TransportAddress?
    /// The memory given at start, as the transport knows it, in the same order.
    public let regions: [RegionID]

    private let shared: RailShared
    private let thread: PinnedThread<Void>

    /// Pinning a terabyte for a NIC takes most of it.
    private static var startLimitMs: Int { 120_000 }

    private init(name: String, _ made: RailMade, _ shared: RailShared, _ thread: PinnedThread<Void>) {
        self.name = name
        capabilities = made.capabilities
        address = made.address
        regions = made.regions
        self.shared = shared
        self.thread = thread
    }

    /// Starts a thread, makes the transport there and registers the memory, which stays mapped until `shutdown` has
    /// returned.
    ///
    /// Blocks until that is done: never from the cooperative pool.
    /// - Throws: what the factory or the registration threw, or `.system` when there is no thread to be had.
    public static func start<Transporter: PieceTransport>(
        _ configuration: RailConfiguration, memory: [RegionMemory],
        transport make: @escaping @Sendable () throws(TransportError) -> Transporter,
        sink: @escaping Sink
    ) throws(TransportError) -> RailHandle {
        let shared: RailShared
        let thread: PinnedThread<Void>
        do throws(Errno) {
            let ends = try RailShared(configuration)
            shared = ends
            thread = try PinnedThread(
                name: configuration.name, cpus: configuration.cpus.isEmpty ? nil : CPUSet(configuration.cpus)
            ) {
                Rail<Transporter>.run(configuration, memory: memory, make: make, shared: ends, sink: sink)
            }
        } catch {
            throw TransportError(.system, "cannot start rail \(configuration.name): \(error)")
        }
        switch shared.awaitStart(limitMs: startLimitMs) {
        case .success(let made):
            return RailHandle(name: configuration.name, made, shared, thread)
        case .failure(let error):
            thread.join()
            throw error
        case nil:
            fatalError(
                "rail \(configuration.name) did not start within \(startLimitMs) ms: registering memory hangs"
            )
        }
    }

    /// Hands over a batch, which runs in order. Any thread; never blocks.
    ///
    /// - Returns: false when the mailbox has no room for all of it, or the rail is shut down: then none of it was
    ///   taken.
    public func submit(_ commands: [RailCommand]) -> Bool { shared.mailbox.submit(commands) }

    /// What was done until a recent turn. Any thread.
    public var counters: RailCounters { shared.counters.withLock { $0 } }

    /// Ends the rail: commands submitted before are carried out, links close, the last events are delivered (`shutDown`
    /// is the very last), the thread ends. Blocks until then: never from the cooperative pool, nor from the sink. Later
    /// calls return at once.
    public func shutdown() {
        guard shared.mailbox.close() else { return }
        thread.join()
    }
}
