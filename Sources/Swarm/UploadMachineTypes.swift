import Artifacts

/// A child's interest in one task over one link.
public struct UploadSessionID: Hashable, Sendable {
    /// The child, as the interpreter numbers links (unique for the process, so a reconnect is another).
    public let link: UInt64
    /// The child's own number for the session.
    public let session: UInt32
    /// Names a session.
    public init(link: UInt64, session: UInt32) {
        self.link = link
        self.session = session
    }
}

/// What can happen to the upload side of a host (one machine for all children).
public enum UploadEvent: Sendable {
    /// A child opened a session; `held` is nil when the task is not here or may not be had.
    case opened(UploadSessionID, TaskID, held: PieceSet?)
    case wanted(UploadSessionID, PieceIndex)
    /// The child has read it, gave up, or took its want back.
    case released(UploadSessionID, PieceIndex)
    case closed(UploadSessionID)
    /// A child's link is gone; all its sessions and exports end.
    case linkDown(link: UInt64)
    /// We kept another piece of a task: children with a session on it are told.
    case kept(TaskID, PieceIndex)
    /// The task was evicted or forgotten: its sessions end with `unknown`.
    case forgot(TaskID)
    /// The export the machine asked for is ready to grant, or could not be made.
    case exported(UploadSessionID, PieceIndex, ok: Bool)
    /// Instead of `exported`: it cannot be made now for want of memory, but later it may.
    case exportDeferred(UploadSessionID, PieceIndex)
    case tick
}

/// What the upload side wants done.
public enum UploadAction: Sendable, Hashable {
    case sendMap(UploadSessionID, PieceSet)
    case sendHave(UploadSessionID, [PieceIndex])
    case sendUnknown(UploadSessionID)
    /// Make the piece readable for that link, then say `exported`.
    case export(UploadSessionID, TaskID, PieceIndex)
    /// Send the grant of an export that is ready.
    case grant(UploadSessionID, PieceIndex, leaseNs: UInt64)
    case sendBusy(UploadSessionID, PieceIndex, retryAfterNs: UInt64)
    case sendAbsent(UploadSessionID, PieceIndex)
    /// The lease of an export is over: revoke it.
    case revoke(UploadSessionID, PieceIndex)
    /// The child breaks its bounds or holds leases without reading: close its link.
    case dropLink(link: UInt64, reason: String)
}
