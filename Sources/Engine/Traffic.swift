import Artifacts
import Transport

/// Where a download's kept bytes came from, and over what.
public struct Traffic: Sendable, Hashable {
    /// Read at the origin by this host.
    public var originBytes: UInt64 = 0
    /// From seed peers.
    public var seedBytes: UInt64 = 0
    /// From other peers.
    public var peerBytes: UInt64 = 0
    /// By transport, the origin not counted.
    public var byTransport: [TransportKind: UInt64] = [:]
    /// By parent and transport.
    public var byHost: [HostID: [TransportKind: UInt64]] = [:]

    /// Nothing yet.
    public init() {}

    /// Counts one kept piece of a parent.
    mutating func count(_ bytes: UInt64, from host: HostID, isSeed: Bool, over kind: TransportKind) {
        if isSeed { seedBytes += bytes } else { peerBytes += bytes }
        byTransport[kind, default: 0] += bytes
        byHost[host, default: [:]][kind, default: 0] += bytes
    }

    /// Adds another's counts.
    public mutating func add(_ other: Traffic) {
        originBytes += other.originBytes
        seedBytes += other.seedBytes
        peerBytes += other.peerBytes
        for (kind, bytes) in other.byTransport { byTransport[kind, default: 0] += bytes }
        for (host, kinds) in other.byHost {
            for (kind, bytes) in kinds { byHost[host, default: [:]][kind, default: 0] += bytes }
        }
    }
}
