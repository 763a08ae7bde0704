/// What can happen to the registry.
public enum RegistryEvent: Sendable {
    /// A member's stream began with this (its liveness and time are the registry's to say).
    case registered(MemberSession, Member)
    /// A sign of life.
    case heartbeat(MemberSession)
    /// The stream ended; the member is live until its lease ends.
    case ended(MemberSession)
    /// The member ends in order: it is not live from now on.
    case left(MemberSession)
    /// Make a cluster, or change its settings; the named ones stay as they are.
    case putCluster(name: String, ClusterSettings)
    /// Change named settings of a cluster; nil takes one back. Whether names and values make sense was checked before.
    case changeSettings(cluster: String, [String: String?])
    /// Time passed; sent at the latest when `wakeAtNs` asks.
    case tick
}

/// What the registry wants done, in order.
public enum RegistryAction: Sendable, Hashable {
    /// Insert or replace a row.
    case saveCluster(Cluster)
    /// Insert or replace a row.
    case saveMember(Member)
    /// Delete a row.
    case removeMember(MemberKey)
    /// Tell the member what it needs to know.
    case configure(MemberSession, DynamicConfiguration)
    /// Answer a sign of life: the lease ends so long after it.
    case renew(MemberSession, leaseMs: UInt32)
    /// End the stream.
    case close(MemberSession, RegistryFailure)
    /// The cluster asked for was not put.
    case refuse(RegistryFailure)
}

/// Every limit and time of the registry, in one place.
public struct RegistrySettings: Sendable, Hashable {
    /// How often members give a sign of life, where the cluster does not say.
    public var heartbeatMs: UInt32 = 3_000
    /// A member's lease ends after so many heartbeats without one.
    public var leaseHeartbeats: UInt32 = 3
    /// How often the time of a live member's last sign of life is saved.
    public var saveSeenMs: UInt64 = 60_000
    /// How long a member that is not live is remembered.
    public var forgetMs: UInt64 = 7 * 24 * 3_600_000
    /// Clusters.
    public var clustersMax = 1_000
    /// Named settings of a cluster.
    public var namedMax = 256
    /// Members of all clusters.
    public var membersMax = 200_000
    /// Addresses of a member.
    public var addressesMax = 32
    /// The longest name, address, zone, rack, machine or version.
    public var textBytesMax = 256

    /// The built-in values.
    public init() {}
}
