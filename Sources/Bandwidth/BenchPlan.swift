import System
import Transport

/// A whole run: which far sides, which settings, for how long.
public struct BenchPlan: Sendable {
    /// `host:port` of each far side, numeric.
    public var hosts: [String] = []
    /// The transports to measure; empty for the one that a peer would use.
    public var transports: [TransportKind] = []
    /// Request sizes in bytes.
    public var sizes = [64 << 10, 1 << 20, 4 << 20]
    /// Requests under way on a link.
    public var depths = [8]
    /// Links to each host.
    public var links = [1]
    /// Streams or queue pairs of a link.
    public var streams = [2]
    /// Everything else of a point.
    public var point = BenchPoint()
    /// Memory at each side.
    public var memoryBytes = 1 << 30
    /// Its pages.
    public var pages = SharedMemory.Pages.normal
    /// The NUMA node of our memory; nil for any.
    public var node: Int?
    /// The NUMA node of the far side's memory; nil for any.
    public var farNode: Int?
    /// The longest warm-up; it ends sooner once the rate is steady.
    public var warmUpNs: UInt64 = 1_000_000_000
    /// How long a repetition is.
    public var durationNs: UInt64 = 600_000_000
    /// A repetition ends after so many bytes instead; nil for the duration.
    public var bytes: UInt64?
    /// Repetitions.
    public var repetitions = 3
    /// Whether limits are measured beside.
    public var measuresLimits = true

    /// The usual one: an answer within ten seconds.
    public init() {}

    /// The most points of a run.
    public static let pointsMax = 512

    /// The settings in order, for the transports chosen.
    func points(_ transports: [TransportKind]) throws(BenchError) -> [BenchPoint] {
        var points: [BenchPoint] = []
        for transport in transports {
            for streams in transport == .local ? [1] : streams {
                for links in links {
                    for depth in depths {
                        for size in sizes {
                            var point = point
                            point.transport = transport
                            (point.streams, point.links, point.depth) = (streams, links, depth)
                            point.messageBytes = size
                            try point.check(memoryBytes: memoryBytes / max(1, hosts.count))
                            points.append(point)
                        }
                    }
                }
            }
        }
        guard points.count <= Self.pointsMax else {
            throw BenchError(
                .impossible, "\(points.count) settings are more than \(Self.pointsMax); sweep less at once")
        }
        return points
    }
}
