/// Every limit and waiting time of the scheduler's machine, in one place.
///
/// Times are milliseconds. The defaults suit a cluster of up to some thousand hosts; what
/// `SchedulingKnob.all` lists can be changed per cluster while schedulers run.
public struct SchedulingSettings: Sendable, Hashable {
    // Hosts.

    /// How long a host whose stream is lost keeps its leases and holdings.
    public var graceMs: UInt64 = 3_000
    /// How long a host may take to send its inventory before its stream is closed.
    public var inventoryMs: UInt64 = 60_000
    /// How long after its start the scheduler only listens, unless `expectedHosts` have reported earlier.
    public var learningMs: UInt64 = 2_000
    /// How often `learningMs` may be spent on waiting for expected hosts and for inventories that have begun.
    public var learningFactorMax: UInt64 = 3

    // References.

    /// How long an answer for a reference that can move (a branch, a plain URL) is given out again.
    public var referenceMs: UInt64 = 60_000
    /// How long a host may take to resolve before the next one is asked.
    public var resolveMs: UInt64 = 30_000
    /// How many hosts are asked for one reference before its askers are told that nobody answers.
    public var resolveAttemptsMax = 3

    // Origin reads.

    /// How many seeds work on one model.
    public var seedsPerModel = 2
    /// How long a seed may take to join a model it was ordered to fetch, and how long one that failed is passed over.
    public var seedOrderMs: UInt64 = 10_000
    /// The most pieces in one origin lease.
    public var leasePieces = 16
    /// How many full leases a holder may have at a time; small files' leases share the same number of pieces.
    public var leasesPerHolder = 4
    /// How much reading of one model, by the rate its origin is found to have, is leased ahead. With 250, 100 hosts at
    /// 100 Gb/s took 1.13 to 1.20 of the bound for 30 GB, with 500 1.10 to 1.11 (three seeds each).
    ///
    /// A fifth of it where peers read: each piece more on its way is one more reader with a share of the origin's rate,
    /// and all come later. 16 hosts, 512 MiB, 25 MB/s, no seed: 1.07 with the whole, 1.05 and 1.04 with a fifth.
    public var originWindowMs: UInt64 = 500
    /// But never fewer pieces than this.
    public var originPiecesMin = 4
    /// The most pieces a holder may have read, or be reading, that nobody else holds while others want them.
    ///
    /// The share of one model is also at most a 24th of its pieces, so that a lost holder costs less than 5 % of
    /// extra origin bytes; but never less than 8. A lease has at most half of that.
    public var exposedPiecesMax = 256
    /// Without any progress of a model for this long, one lease more is given in spite of `exposedPiecesMax`.
    public var stallMs: UInt64 = 3_000
    /// How long pieces of a lease returned as done may take to be announced before they are leased again.
    public var settleMs: UInt64 = 10_000
    /// Failed reads of one task in a row before its model is refused.
    public var leaseAttemptsMax = 6
    /// The first wait after a failed read; doubled each time, with ± 25 % jitter.
    public var backoffMs: UInt64 = 500
    /// The longest wait after a failed read.
    public var backoffMaxMs: UInt64 = 15_000
    /// How long a refusal is repeated to hosts that join before the origin is tried again.
    public var refusalMs: UInt64 = 5_000

    // Neighbourhoods.

    /// The most parents a host is given for a model.
    public var neighbourhoodSize = 12
    /// How many of a thousand parents are in the host's own rack, where the cluster has several. 300 hosts, 10 GB, racks
    /// of 32 with 4:1 uplinks: without it and without hosts preferring near parents 111 of 300 copies crossed racks and
    /// it took 1.80 of the bound, with both 36 and 1.24.
    public var nearPerMille = 500
    /// The most seeds among a host's parents.
    public var seedParentsMax = 2
    /// About how many hosts have one seed among their parents: the others get its pieces from those. 300 hosts, 10 GB:
    /// 1.31 of the bound with 32, 1.24 with 64, 1.22 with 128; each is a link the seed has to serve.
    public var seedChildren = 64
    /// How long joins and leaves are gathered before neighbourhoods are sent.
    public var gatherMs: UInt64 = 20
    /// The shortest time between two rounds of neighbourhoods of one model.
    public var neighbourhoodMs: UInt64 = 500
    /// With more downloaders than this, one that joins waits for the next round instead of being served at once.
    public var neighbourhoodAtOnceMax = 64
    /// How long digests are gathered before they are pushed.
    public var digestsMs: UInt64 = 10
    /// The most digests in one message: 4096 × 32 B = 128 KiB.
    public var digestsPerMessage = 4_096
    /// How long one accusation counts.
    public var blameMs: UInt64 = 60_000
    /// One host's accusation counts for two when it is repeated after this long …
    public var blameRepeatMs: UInt64 = 5_000
    /// … unless it accuses more hosts than these: then it may be the one that is cut off.
    public var blamedByOneMax = 3
    /// How long a host that was blamed enough is nobody's parent, and its pieces do not count.
    public var exclusionMs: UInt64 = 60_000

    // The origin's budget: of the whole cluster, and divided among the hosts that hold leases (0: no limit).

    /// Who reads origins.
    public var originPolicy = OriginPolicy.auto
    /// Bytes a second.
    public var originBytesPerSecond: UInt64 = 0
    /// Requests a minute.
    public var originRequestsPerMinute: UInt64 = 0
    /// Transfers at a time.
    public var originConnections = 0

    // Admission: how many hosts may attach, and when the others come back.

    /// Hosts that may attach in a second, once `admissionBurst` is used up.
    public var admissionsPerSecond = 2_000
    /// Hosts that may attach at once.
    public var admissionBurst = 1_000
    /// Hosts whose inventories may be on their way at a time: each may be as long as a gRPC window, some 64 KiB.
    public var reportingMax = 1_024
    /// The longest time that a host is told to stay away.
    public var retryAfterMsMax: UInt64 = 30_000

    // Bounds of what hosts can make the scheduler remember.

    /// Hosts attached or in grace.
    public var hostsMax = 20_000
    /// Models known; beyond it the longest idle one is forgotten.
    public var modelsMax = 10_000
    /// Tasks known: 2 million tasks of some 100 pieces take about 2 GiB.
    public var tasksMax = 2_000_000
    /// References known; beyond it the longest idle one is forgotten.
    public var referencesMax = 10_000
    /// Resolve requests of one host waiting at a time.
    public var requestsPerHostMax = 64
    /// Models one host downloads at a time.
    public var joinedPerHostMax = 256

    /// The built-in values.
    public init() {}
}
