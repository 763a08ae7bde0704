import Synchronization
import System
import Transport

/// What a rail's thread tells about its transport once it stands.
struct RailMade: Sendable {
    let capabilities: TransportCapabilities
    let address: TransportAddress?
    let regions: [RegionID]
}

/// What a rail's thread and its handle share.
final class RailShared: Sendable {
    let mailbox: RailMailbox
    let counters = Mutex(RailCounters())
    private let made = Mutex<Result<RailMade, TransportError>?>(nil)
    private let started: EventDescriptor

    init(_ configuration: RailConfiguration) throws(Errno) {
        mailbox = try RailMailbox(commandsMax: configuration.mailboxCommandsMax)
        started = try EventDescriptor()
    }

    func announce(_ result: Result<RailMade, TransportError>) {
        made.withLock { $0 = result }
        started.signal()
    }

    /// How the start went; nil when it takes longer than the limit. Blocks.
    func awaitStart(limitMs: Int) -> Result<RailMade, TransportError>? {
        let deadlineNs = MonotonicClock.nowNs() + UInt64(limitMs) * 1_000_000
        do throws(Errno) {
            let queue = try EpollQueue()
            try queue.add(started.raw, .reading, token: 0)
            var ready: [EpollQueue.Ready] = []
            while ready.isEmpty, MonotonicClock.nowNs() < deadlineNs {
                try queue.wait(limitMs: limitMs, into: &ready)
            }
        } catch {
            return .failure(TransportError(.system, "cannot wait for the rail's start: \(error)"))
        }
        return made.withLock { $0 }
    }
}
