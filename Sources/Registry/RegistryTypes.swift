/// One stream of a member, unique in the life of the manager.
public struct MemberSession: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// The number.
    public let value: UInt64
    /// Wraps a number.
    public init(_ value: UInt64) { self.value = value }
    /// Older streams come first.
    public static func < (left: MemberSession, right: MemberSession) -> Bool { left.value < right.value }
    /// For people.
    public var description: String { "session \(value)" }
}

/// What a member is for; the numbers are those of the database.
public enum MemberRole: Int, Sendable, Hashable, CaseIterable {
    /// Decides who reads the origin.
    case scheduler = 1
    /// Reads origins on behalf of its cluster.
    case seed = 2
    /// Downloads for itself and serves others.
    case peer = 3
}

/// What names a member.
public struct MemberKey: Hashable, Sendable, Comparable {
    /// Its cluster.
    public var cluster: String
    /// What it is for.
    public var role: MemberRole
    /// Unique in its cluster and role.
    public var name: String

    /// Names a member.
    public init(cluster: String, role: MemberRole, name: String) {
        self.cluster = cluster
        self.role = role
        self.name = name
    }

    /// By cluster, role and name.
    public static func < (left: MemberKey, right: MemberKey) -> Bool {
        (left.cluster, left.role.rawValue, left.name) < (right.cluster, right.role.rawValue, right.name)
    }
}

/// A member of a cluster: a row of the database.
public struct Member: Sendable, Hashable {
    /// What names it.
    public var key: MemberKey
    /// Which life of it: larger for every start.
    public var incarnation: UInt64
    /// A scheduler's gRPC address; where a host's transports listen.
    public var addresses: [String]
    /// Its zone, or empty.
    public var zone: String
    /// Its rack, or empty.
    public var rack: String
    /// The machine it runs on, or empty.
    public var machine: String
    /// Its program's version.
    public var version: String
    /// Its lease has not ended, as far as is known.
    public var isLive: Bool
    /// Wall-clock milliseconds of its last sign of life.
    public var lastSeenUnixMs: UInt64

    /// Describes a member.
    public init(
        key: MemberKey, incarnation: UInt64, addresses: [String] = [], zone: String = "", rack: String = "",
        machine: String = "", version: String = "", isLive: Bool = false, lastSeenUnixMs: UInt64 = 0
    ) {
        self.key = key
        self.incarnation = incarnation
        self.addresses = addresses
        self.zone = zone
        self.rack = rack
        self.machine = machine
        self.version = version
        self.isLive = isLive
        self.lastSeenUnixMs = lastSeenUnixMs
    }
}

/// Limits that can be changed while a cluster runs; 0 leaves the built-in value.
public struct ClusterSettings: Sendable, Hashable {
    /// The most parents of a host for a model.
    public var neighbourhoodSize: UInt32
    /// The most pieces in one origin lease.
    public var leasePieces: UInt32
    /// How many children a host serves at a time.
    public var uploadSlots: UInt32
    /// How often members give a sign of life.
    public var heartbeatMs: UInt32
    /// Values of other settings by their names, of those that were set.
    public var named: [String: String]

    /// Sets limits.
    public init(
        neighbourhoodSize: UInt32 = 0, leasePieces: UInt32 = 0, uploadSlots: UInt32 = 0,
        heartbeatMs: UInt32 = 0, named: [String: String] = [:]
    ) {
        self.named = named
        self.neighbourhoodSize = neighbourhoodSize
        self.leasePieces = leasePieces
        self.uploadSlots = uploadSlots
        self.heartbeatMs = heartbeatMs
    }
}

/// A cluster: a row of the database.
public struct Cluster: Sendable, Hashable {
    /// Its name.
    public var name: String
    /// Its limits.
    public var settings: ClusterSettings
    /// Wall-clock milliseconds of its making.
    public var createdUnixMs: UInt64
    /// Grows with every change members are told of.
    public var version: UInt64

    /// Describes a cluster.
    public init(name: String, settings: ClusterSettings = .init(), createdUnixMs: UInt64, version: UInt64 = 1) {
        self.name = name
        self.settings = settings
        self.createdUnixMs = createdUnixMs
        self.version = version
    }
}

/// What a member needs to know of its cluster.
public struct DynamicConfiguration: Sendable, Hashable {
    /// Larger for every change.
    public var version: UInt64
    /// Which cluster.
    public var cluster: String
    /// Its schedulers, by name.
    public var schedulers: [Member]
    /// Its seed peers, by name.
    public var seeds: [Member]
    /// To schedulers: hosts that were live when last heard of; 0 to others.
    public var liveHosts: UInt32
    /// Its limits.
    public var settings: ClusterSettings

    /// Describes a configuration.
    public init(
        version: UInt64, cluster: String, schedulers: [Member], seeds: [Member], liveHosts: UInt32,
        settings: ClusterSettings
    ) {
        self.version = version
        self.cluster = cluster
        self.schedulers = schedulers
        self.seeds = seeds
        self.liveHosts = liveHosts
        self.settings = settings
    }
}

/// Why the registry refuses something.
public struct RegistryFailure: Error, Sendable, Hashable, CustomStringConvertible {
    /// What kind of refusal.
    public enum Code: Sendable, Hashable {
        /// There is no cluster of that name.
        case unknownCluster
        /// A later start of the same member is here.
        case superseded
        /// A name or value breaks its rule.
        case invalid
        /// A bound is reached.
        case tooMany
    }
    /// What kind.
    public var code: Code
    /// One sentence that says what to do.
    public var sentence: String
    /// For people.
    public var description: String { sentence }

    /// Describes a refusal.
    public init(_ code: Code, _ sentence: String) {
        self.code = code
        self.sentence = sentence
    }
}
