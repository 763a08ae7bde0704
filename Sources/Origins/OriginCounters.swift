import Synchronization

/// What was read from an origin since the start.
public struct OriginCounters: Hashable, Sendable {
    /// Bytes of file content that came in, retried ones counted each time.
    public var bytesRead: UInt64 = 0
    /// Requests for file content (for files: opened fetches).
    public var requests: UInt64 = 0
    /// Requests that were repeated.
    public var retries: UInt64 = 0
    /// Fetches that failed for good.
    public var failures: UInt64 = 0

    /// All zero.
    public init() {}
}

/// Counts for one origin, from any thread.
final class OriginMeter: Sendable {
    private let counters = Mutex(OriginCounters())
    var snapshot: OriginCounters { counters.withLock { $0 } }
    func bytes(_ count: Int) { counters.withLock { $0.bytesRead += UInt64(count) } }
    func request() { counters.withLock { $0.requests += 1 } }
    func retry() { counters.withLock { $0.retries += 1 } }
    func failure() { counters.withLock { $0.failures += 1 } }
}
