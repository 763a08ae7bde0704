import Artifacts

/// Moves bytes of pieces from another host's memory or files into ours, one-sidedly: the receiver reads.
///
/// One transport belongs to one rail: every call is made on that rail's thread, none blocks, none suspends.
/// The shape is that of RDMA (registration, opaque remote keys, bounded posting, polling, draining); sockets are one
/// way to fill it. An implementation passes the contract suite in `Tests/TransportTests`.
///
/// Life of a read: `register` local memory once → a link comes up → the parent `export`s an exact range to that link
/// and sends the key in a message → the child `post`s reads with the key → `poll` hands each completion over exactly
/// once → the child tells the parent, which `revoke`s. A posted read's memory belongs to the transport until its
/// completion: a time-out is no completion. `close(link)` completes every posted read of the link (with `.linkClosed`)
/// before it reports the link down, and after that no byte of it can land any more.
public protocol PieceTransport: AnyObject, SendableMetatype {
    /// What this transport is and can do here; constant after creation.
    var capabilities: TransportCapabilities { get }

    /// What was done so far; a copy may go to other threads.
    var counters: TransportCounters { get }

    /// Where other hosts reach this transport; nil while it does not listen.
    var address: TransportAddress? { get }

    /// A descriptor that becomes readable when `poll` would find something; nil where the transport must be polled.
    var wakeDescriptor: CInt? { get }

    /// When `poll` wants to be called even without a wake-up, on the monotonic clock: the next time-out, 0 for "at
    /// once" (something is waiting already, e.g. what was just posted or sent), nil for never.
    var wakeAtNs: UInt64? { get }

    /// Makes local memory a target of reads and a possible source of exports. The memory outlives the transport.
    ///
    /// - Throws: `.system` when it cannot, with the remedy; for memory of a device where the transport copies.
    func register(_ memory: RegionMemory) throws(TransportError) -> RegionID

    /// Lets one link read exactly this range until `revoke`.
    ///
    /// - Throws: `.limit` when the link has `capabilities.exportsPerLinkMax` exports already, `.linkClosed` when the
    ///   link is not
    ///   up, `.sourceFailed` when the source does not have the range or cannot be opened.
    func export(_ source: ExportSource, to link: LinkID) throws(TransportError) -> Export

    /// Ends an export: no read that arrives from now on is served. Reads being served are finished or cut
    /// before the source may be changed; `exportRetired` says when. Unknown exports are ignored.
    func revoke(_ export: ExportID)

    /// Starts a link to another host; `linkUp` or `linkDown` follows by the deadline, provided that `poll` is called.
    ///
    /// - Throws: `.badAddress` for an address of another kind or form, `.limit` when there are `capabilities.linksMax`
    ///   links.
    func connect(to address: TransportAddress, deadlineNs: UInt64) throws(TransportError) -> LinkID

    /// Sends a small ordered message, at most `capabilities.messageBytesMax` (a longer one traps).
    ///
    /// - Returns: false when the link cannot take it now (try again after a `poll`); a link that is not up drops it and
    ///   returns true, since its `linkDown` is on the way or has been delivered.
    func send(_ message: UnsafeRawBufferPointer, on link: LinkID) -> Bool

    /// Posts reads in order. They may complete in any order. A read of no bytes, of more than
    /// `capabilities.readBytesMax`, or outside its registered memory is a bug and traps.
    ///
    /// - Returns: how many were taken: fewer than asked when a bound is reached (`capabilities.readsPerLinkMax`). A
    ///   read on a link that is
    ///   not up is taken and completes with `.linkClosed`.
    func post(_ reads: UnsafeBufferPointer<ReadRequest>) -> Int

    /// Ends a link: its reads complete, its exports end, then `linkDown(.linkClosed)`. Unknown or old generations are
    /// ignored.
    func close(_ link: LinkID)

    /// Hands over what happened, at most about `limit` happenings, without waiting.
    ///
    /// - Returns: how many happenings were handed over.
    @discardableResult
    func poll(nowNs: UInt64, limit: Int, into events: inout some TransportEvents) -> Int

    /// Closes every link and stops listening. Afterwards no memory is touched any more; remaining completions are
    /// delivered by this call, and only `capabilities`, `address` and `counters` may be asked.
    func shutdown(into events: inout some TransportEvents)
}

/// What `poll` reports. Called on the rail's thread, inside `poll`; must not call back into the transport.
public protocol TransportEvents {
    /// A link is up: handshake done, cluster and transport version equal, identity of the far side as announced.
    mutating func linkUp(_ link: LinkID, peer: LinkIdentity, inbound: Bool)
    /// A link is down, or never came up. All its reads have completed before; its exports have ended.
    mutating func linkDown(_ link: LinkID, reason: TransportError)
    /// A message arrived whole and in order. The bytes are lent for the call.
    mutating func message(_ bytes: UnsafeRawBufferPointer, on link: LinkID)
    /// A posted read ended, once.
    mutating func readCompleted(_ completion: ReadCompletion)
    /// A revoked (or closed link's) export is no longer being read by anyone: the source may change or go.
    mutating func exportRetired(_ export: ExportID)
}

/// One read of a remote range into local registered memory.
public struct ReadRequest: Sendable {
    /// The link to read over.
    public var link: LinkID
    /// The parent's key for the exported range.
    public var key: RemoteKey
    /// Where to begin, relative to the exported range's start.
    public var remoteOffset: UInt64
    /// Which registered memory receives.
    public var region: RegionID
    /// Where in that memory.
    public var localOffset: UInt64
    /// How many bytes: 1 to `capabilities.readBytesMax`.
    public var lengthBytes: UInt32
    /// The caller's mark, given back in the completion.
    public var tag: UInt64

    /// Describes a read.
    public init(
        link: LinkID, key: RemoteKey, remoteOffset: UInt64, region: RegionID, localOffset: UInt64,
        lengthBytes: UInt32, tag: UInt64
    ) {
        self.link = link
        self.key = key
        self.remoteOffset = remoteOffset
        self.region = region
        self.localOffset = localOffset
        self.lengthBytes = lengthBytes
        self.tag = tag
    }
}

extension ReadRequest {
    /// Where the read lands, after checking that it is a read that may be posted: what every transport asks first.
    ///
    /// Traps on a length of 0 or beyond the transport's, and on a place outside the registered memory: both are bugs of the caller.
    public func place(in memory: RegionMemory, readBytesMax: UInt32) -> UnsafeMutableRawPointer {
        precondition(
            lengthBytes > 0 && lengthBytes <= readBytesMax,
            "a read has 1 to \(readBytesMax) bytes, not \(lengthBytes)")
        precondition(
            localOffset <= UInt64(memory.lengthBytes)
                && UInt64(lengthBytes) <= UInt64(memory.lengthBytes) - localOffset,
            "a read's place is outside its registered memory")
        return memory.base + Int(localOffset)
    }
}

/// How a read ended. On success all bytes are in place; on failure the memory's content is undefined, and the transport
/// will not touch it again.
public struct ReadCompletion: Sendable {
    /// The link it was posted on.
    public let link: LinkID
    /// The mark of the request.
    public let tag: UInt64
    /// nil when all bytes arrived.
    public let failure: TransportError.Code?

    /// Describes an ended read.
    public init(link: LinkID, tag: UInt64, failure: TransportError.Code?) {
        self.link = link
        self.tag = tag
        self.failure = failure
    }
}
