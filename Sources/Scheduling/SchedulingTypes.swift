import Artifacts

/// One stream of a host, unique in the life of the scheduler; a host that comes back has another.
public struct SessionID: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// The number.
    public let value: UInt64
    /// Wraps a number.
    public init(_ value: UInt64) { self.value = value }
    /// Older streams come first.
    public static func < (left: SessionID, right: SessionID) -> Bool { left.value < right.value }
    /// For people.
    public var description: String { "session \(value)" }
}

/// A lease of the origin, unique in the cluster across restarts of its scheduler.
public struct LeaseID: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// The scheduler's number.
    public let value: UInt64
    /// Wraps a number.
    public init(_ value: UInt64) { self.value = value }
    /// Earlier leases come first.
    public static func < (left: LeaseID, right: LeaseID) -> Bool { left.value < right.value }
    /// For people.
    public var description: String { "lease \(value)" }
}

/// What a host is for.
public enum HostRole: Sendable, Hashable {
    /// Downloads for itself and serves others.
    case peer
    /// Reads origins on behalf of the cluster.
    case seed
}

/// What a host says of itself when it attaches.
public struct HostInfo: Sendable, Hashable {
    /// Its name.
    public var host: HostID
    /// Which life of it.
    public var incarnation: Incarnation
    /// What it is for.
    public var role: HostRole
    /// Where its transports listen; a host without any is nobody's parent.
    public var addresses: [String]
    /// Its zone, or empty.
    public var zone: String
    /// Its rack within the zone, or empty.
    public var rack: String
    /// The machine it runs on, or empty.
    public var machine: String
    /// How many children it serves at a time.
    public var uploadSlots: UInt32
    /// It reads no origin, whatever the cluster's policy.
    public var readsNoOrigin = false

    /// Describes a host.
    public init(
        host: HostID, incarnation: Incarnation, role: HostRole, addresses: [String], zone: String = "",
        rack: String = "", machine: String = "", uploadSlots: UInt32 = 0
    ) {
        self.host = host
        self.incarnation = incarnation
        self.role = role
        self.addresses = addresses
        self.zone = zone
        self.rack = rack
        self.machine = machine
        self.uploadSlots = uploadSlots
    }

    /// How far another host is: 0 same machine, 1 same rack, 2 same zone, 3 farther.
    public func distance(to other: HostInfo) -> UInt8 {
        if !machine.isEmpty, machine == other.machine { return 0 }
        guard zone == other.zone else { return 3 }
        if !rack.isEmpty, rack == other.rack { return 1 }
        return zone.isEmpty ? 3 : 2
    }
}

/// A lease a host still reads under when it attaches.
public struct HeldLease: Sendable, Hashable {
    /// Its number.
    public var lease: LeaseID
    /// The task read.
    public var task: TaskID
    /// The pieces leased.
    public var pieces: Range<UInt32>
    /// Read as one stream.
    public var whole: Bool

    /// Describes a lease.
    public init(lease: LeaseID, task: TaskID, pieces: Range<UInt32>, whole: Bool) {
        self.lease = lease
        self.task = task
        self.pieces = pieces
        self.whole = whole
    }
}

/// A model a host has, in whole or in part.
public struct HeldModel: Sendable, Hashable {
    /// Which model.
    public var model: ModelID
    /// What it is made of.
    public var manifest: Manifest
    /// Every file checked and published.
    public var complete: Bool

    /// Describes a model held.
    public init(model: ModelID, manifest: Manifest, complete: Bool) {
        self.model = model
        self.manifest = manifest
        self.complete = complete
    }
}

/// The pieces of a task a host has.
public struct HeldTask: Sendable, Hashable {
    /// Which task.
    public var task: TaskID
    /// Its size, from which its pieces follow.
    public var sizeBytes: UInt64
    /// The pieces verified and kept.
    public var pieces: PieceSet
    /// Digests of those pieces, ascending; or empty.
    public var digests: [Digest]

    /// Describes a task held.
    public init(task: TaskID, sizeBytes: UInt64, pieces: PieceSet, digests: [Digest]) {
        self.task = task
        self.sizeBytes = sizeBytes
        self.pieces = pieces
        self.digests = digests
    }
}

/// Why something cannot be had.
public struct Failure: Error, Sendable, Hashable {
    /// From a closed set, e.g. `repository_not_found`, `unauthorized`, `unreachable`, `digest_mismatch`.
    public var code: String
    /// One sentence that says what to do.
    public var sentence: String
    /// Trying again later may help.
    public var retryable: Bool

    /// Describes a failure.
    public init(code: String, sentence: String, retryable: Bool) {
        self.code = code
        self.sentence = sentence
        self.retryable = retryable
    }

    /// The fault is the host's own (its disk is full, say) and another host may do better.
    public var isOfHost: Bool { Failure.hostCodes.contains(code) }

    /// A reader found that a file is not what its publisher says.
    public static let digestMismatchCode = "digest_mismatch"
    private static let hostCodes: Set<String> = [
        "disk_full", "storage_failed", "no_slots", "cancelled", "not_downloading", "policy",
    ]
}

/// One of a host's parents for a model.
public struct Parent: Sendable, Hashable {
    /// Which host.
    public var host: HostID
    /// Which life of it.
    public var incarnation: Incarnation
    /// Where its transports listen.
    public var addresses: [String]
    /// Whether it is a seed peer.
    public var isSeed: Bool
    /// 0 same machine, 1 same rack, 2 same zone, 3 farther.
    public var distance: UInt8

    /// Describes a parent.
    public init(
        host: HostID, incarnation: Incarnation, addresses: [String], isSeed: Bool, distance: UInt8
    ) {
        self.host = host
        self.incarnation = incarnation
        self.addresses = addresses
        self.isSeed = isSeed
        self.distance = distance
    }
}

/// How busy a host says it is.
public struct HostLoad: Sendable, Hashable {
    /// Uploads that run.
    public var uploadsRunning: UInt32 = 0
    /// Bytes a second sent to children.
    public var sentBytesPerSecond: UInt64 = 0
    /// Bytes a second received from parents.
    public var receivedBytesPerSecond: UInt64 = 0

    /// Describes a load.
    public init(
        uploadsRunning: UInt32 = 0, sentBytesPerSecond: UInt64 = 0, receivedBytesPerSecond: UInt64 = 0
    ) {
        self.uploadsRunning = uploadsRunning
        self.sentBytesPerSecond = sentBytesPerSecond
        self.receivedBytesPerSecond = receivedBytesPerSecond
    }
}
