import Artifacts

/// What can happen to a scheduler. All but `tick` and the configuration come from a host's stream.
///
/// Events of a session that is unknown or was replaced are late, and are dropped.
public enum SchedulerEvent: Sendable {
    /// A host's stream began with this hello; its inventory follows.
    case attached(SessionID, HostInfo, leases: [HeldLease])
    /// A part of what the host holds; `last` ends it, and what was not named is not held.
    case inventory(SessionID, models: [HeldModel], tasks: [HeldTask], last: Bool)
    /// The stream ended, for whatever reason.
    case detached(SessionID)
    /// The host asks what a reference means; answered by `resolveReply` with the same number.
    case resolve(SessionID, request: UInt64, reference: String, refresh: Bool)
    /// The host's answer to a `resolveOrder`.
    case resolved(SessionID, request: UInt64, Result<ResolvedModel, Failure>)
    /// The host downloads this model now.
    case join(SessionID, ModelID, Manifest)
    /// The host no longer downloads this model; `failure` says why when it is not finished.
    case leave(SessionID, ModelID, finished: Bool, failure: Failure?)
    /// The host verified and kept these pieces; `digests` are theirs, in step, when it read them at the origin.
    case kept(SessionID, TaskID, pieces: [PieceIndex], digests: [Digest])
    /// The lease is over: all pieces read, or why not.
    case leaseReturned(SessionID, LeaseID, failure: Failure?, needsWhole: Bool)
    /// A parent sent the host wrong bytes, or does not give what it says it has.
    case blame(SessionID, parent: HostID, TaskID, PieceIndex)
    /// How busy the host is.
    case load(SessionID, HostLoad)
    /// The host no longer holds this task. From a host that had all of it and still downloads its model this says
    /// that the file did not match its published digest.
    case forgot(SessionID, TaskID)
    /// The manager says how many hosts were live when last heard of.
    case expectedHosts(Int)
    /// The cluster's settings are now these; the limits of memory and the times of a start stay as they are.
    case settings(SchedulingSettings)
    /// So many schedulers share the cluster's models.
    case schedulers(Int)
    /// The host says that a model it downloads belongs to another scheduler now: to this one (its join follows), or no
    /// longer to it.
    case moved(SessionID, ModelID, ModelMove)
    /// Time passed; sent at the latest when `wakeAtNs` asks.
    case tick
}

/// What a reference means.
public struct ResolvedModel: Sendable, Hashable {
    /// Which model.
    public var model: ModelID
    /// What it is made of.
    public var manifest: Manifest

    /// Pairs a model with its manifest.
    public init(model: ModelID, manifest: Manifest) {
        self.model = model
        self.manifest = manifest
    }
}
