import Scheduling
import Swarm

/// One fleet, its network, what it is asked to do and what goes wrong: all that a run depends on.
///
/// Rates are bytes a second, times nanoseconds.
public struct Scenario: Sendable, Hashable {
    /// When the peers begin to download.
    public enum Workload: String, Sendable, Hashable, CaseIterable {
        /// Everyone at once.
        case together
        /// A tenth at once, the rest within half of the time one download needs.
        case flash
        /// Nine in ten at once, the others when those should be done.
        case late
        /// One after another, over twice the time one download needs.
        case rolling
    }

    /// Of every choice in the run.
    public var seed: UInt64 = 1
    /// Hosts that want the model.
    public var peers = 100
    /// Hosts that read the origin for them.
    public var seedPeers = 2
    /// The model's size.
    public var sizeBytes: UInt64 = 1_000_000_000
    /// Files of equal size that it is made of.
    public var files = 1
    /// Models of that size; each peer wants one of them, in turn.
    public var models = 1
    /// Each host's network interface, each way.
    public var nicBytesPerSecond: UInt64 = 12_500_000_000
    /// What the origin sends.
    public var originBytesPerSecond: UInt64 = 12_500_000_000
    /// Hosts in a rack; 0: all at one switch.
    public var rackHosts = 32
    /// How many times a rack's interfaces together exceed its uplink.
    public var oversubscription = 4
    /// Between any two hosts, and between a host and the scheduler.
    public var latencyNs: UInt64 = 50_000
    /// Until the origin's first byte.
    public var originLatencyNs: UInt64 = 2_000_000
    /// What a host's workers hash and write.
    public var verifyBytesPerSecond: UInt64 = 25_000_000_000
    /// What a worker needs besides, and a parent to make an export.
    public var storageLatencyNs: UInt64 = 20_000
    /// How long a host gathers what it tells the scheduler.
    public var newsNs: UInt64 = 2_000_000
    /// When they begin.
    public var workload = Workload.together
    /// What goes wrong.
    public var faults = FaultPlan()
    /// The run is given up after so long.
    public var limitNs: UInt64 = 3_600_000_000_000
    /// Of every download.
    public var download = DownloadSettings()
    /// Of seeds' and of peers' serving side.
    public var seedUpload = UploadSettings.seed
    /// See `seedUpload`.
    public var peerUpload = UploadSettings.peer
    /// Of the scheduler.
    public var scheduling = SchedulingSettings()
    /// A host whose story is told.
    public var traced: Int?

    /// A hundred peers, a gigabyte, nothing goes wrong.
    public init() {}
}
