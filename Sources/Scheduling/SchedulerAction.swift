import Artifacts

/// What the scheduler wants done, in order.
public enum SchedulerAction: Sendable, Hashable {
    /// Put a message into the host's queue. A host whose queue is full is closed and reported `detached`.
    case send(SessionID, SchedulerMessage)
    /// End the stream; `detached` may follow and is ignored.
    case close(SessionID, reason: String)
}

/// What a scheduler says to a host.
public enum SchedulerMessage: Sendable, Hashable {
    /// The hello was accepted; no lease is granted for so long.
    case welcome(learningMs: UInt64)
    /// Find out at the origin what this reference means; answered by `resolved`.
    case resolveOrder(request: UInt64, reference: String)
    /// The answer to the host's `resolve`; `stale` when the origin could not be asked.
    case resolveReply(request: UInt64, Result<ResolvedModel, Failure>, stale: Bool)
    /// To a seed: join this model.
    case fetchOrder(ModelID, Manifest)
    /// The host's parents for this model from now on, sorted by name.
    case neighbourhood(ModelID, [Parent])
    /// Digests of pieces, in step.
    case digests(TaskID, pieces: [PieceIndex], digests: [Digest])
    /// Digests of this task came from a reader that was wrong; those that still hold follow.
    case digestsWithdrawn(TaskID)
    /// The host alone may read these pieces at the origin.
    case lease(LeaseID, ModelID, TaskID, pieces: Range<UInt32>, whole: Bool)
    /// The lease is not the host's any more.
    case leaseEnded(LeaseID)
    /// What the host may ask of origins from now on.
    case originShare(OriginShare)
    /// The model cannot be had.
    case refused(ModelID, Failure)
}
