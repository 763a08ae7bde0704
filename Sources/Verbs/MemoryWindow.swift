import CVerbs

/// A type-2 window: a revocable, narrower view of a region, bound to one queue pair by a posted request.
///
/// A bound window holds its queue pair: invalidate or close it before that is closed (rxe waits 50 s there otherwise).
/// Its key changes with every binding: bind with `nextKey`, and after the posting `remoteKey` is that key. Not every
/// device enforces all of it (`LeaseProbe` finds out).
public struct MemoryWindow: ~Copyable, @unchecked Sendable {
    // Safety: the library's objects may be used from any thread; `raw` is the handle's.
    @usableFromInline let raw: UnsafeMutablePointer<ibv_mw>
    let handle: Handle<ibv_mw>

    /// Makes one, unbound (ibv_alloc_mw(3)). Throws `unsupported` where the device has none.
    public init(in domain: borrowing ProtectionDomain) throws(VerbsError) {
        guard let raw = ibv_alloc_mw(domain.handle.raw, IBV_MW_TYPE_2) else {
            throw VerbsError.failed(
                "cannot make a memory window on \(domain.deviceName)", "ibv_alloc_mw", errno: martlet_verbs_errno())
        }
        self.raw = raw
        handle = Handle(
            raw, name: "a memory window of \(domain.deviceName)", parents: [domain.handle], call: "ibv_dealloc_mw"
        ) { ibv_dealloc_mw($0) }
    }

    /// The key of the last binding that was posted.
    public var remoteKey: UInt32 { raw.pointee.rkey }
    /// The key for the next binding: the last one with its low byte counted up.
    public var nextKey: UInt32 { ibv_inc_rkey(raw.pointee.rkey) }

    /// Releases it, revoking a binding that is left.
    public consuming func close() throws(VerbsError) { try handle.close() }
}
