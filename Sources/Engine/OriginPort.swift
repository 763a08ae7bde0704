import Artifacts
import Memory
import Swarm

/// Reads origins for the engine; called on the engine's thread, never blocks.
///
/// Bytes land in slots of the engine's arena: the port takes a slot for each piece (`Arena.take`), waits when there is
/// none, saying so with `EngineEvent.slotsShort`, until `slotsFreed`, and hands each filled slot over with `EngineEvent.originPiece`. Exactly one `originEnded`
/// follows a `fetch`.
public protocol OriginPort: Sendable {
    /// Reads the pieces of one file in order.
    func fetch(_ fetch: OriginFetch)
    /// Stops a fetch; its `originEnded` still comes.
    func stop(_ lease: LeaseID)
    /// Slots were given back: fetches that wait for one may go on.
    func slotsFreed()
}

/// One file's consecutive pieces to be read at the origin.
public struct OriginFetch: Sendable {
    /// Under which lease.
    public let lease: LeaseID
    /// Of which model.
    public let model: ModelID
    /// The model's manifest.
    public let manifest: Manifest
    /// Which file.
    public let file: FileIndex
    /// Which pieces.
    public let pieces: Range<UInt32>
    /// Read the file as one stream from its beginning (the origin has no ranges).
    public let whole: Bool
}
