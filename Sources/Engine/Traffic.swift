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

    /// What went over a worse transport than the best that both hosts have, and why.
    public var fallbacks: [TransportChange: TransportFallback] = [:]

    /// Nothing yet.
    public init() {}

    /// Counts one kept piece of a parent.
    mutating func count(_ bytes: UInt64, from host: HostID, isSeed: Bool, over kind: TransportKind) {
        if isSeed { seedBytes += bytes } else { peerBytes += bytes }
        byTransport[kind, default: 0] += bytes
        byHost[host, default: [:]][kind, default: 0] += bytes
    }

    /// Counts bytes that went over another transport than they should have.
    mutating func count(_ bytes: UInt64, over change: TransportChange, why: String) {
        fallbacks[change, default: TransportFallback()].add(bytes, why)
    }

    /// Adds another's counts.
    public mutating func add(_ other: Traffic) {
        originBytes += other.originBytes
        seedBytes += other.seedBytes
        peerBytes += other.peerBytes
        for (kind, bytes) in other.byTransport { byTransport[kind, default: 0] += bytes }
        for (change, fallback) in other.fallbacks {
            fallbacks[change, default: TransportFallback()].add(fallback.bytes, fallback.why)
        }
        for (host, kinds) in other.byHost {
            for (kind, bytes) in kinds { byHost[host, default: [:]][kind, default: 0] += bytes }
        }
    }
}

/// Bytes that went over another transport than they should have.
public struct TransportFallback: Sendable, Hashable {
    /// How many.
    public private(set) var bytes: UInt64 = 0
    /// The latest reason: one sentence.
    public private(set) var why = ""

    mutating func add(_ count: UInt64, _ reason: String) {
        bytes += count
        why = reason
    }
}
