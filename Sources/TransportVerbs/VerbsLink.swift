import System
import Transport
import Verbs

/// A link: a control stream, and queue pairs that READ over it.
///
/// ```
///  outbound:  connecting → greeted → offered → raising → proving → up → draining → gone
///  inbound:              welcomed → raising → answered → proving → up → draining → gone
/// ```
/// Draining begins with every queue pair in ERR and ends when the device has given back all that was posted: until
/// then memory of posted reads is the device's. A link in any state may go to draining.
final class VerbsLink {
    enum State {
        /// Outbound: the control stream's connect has not ended.
        case connecting
        /// Outbound: we have said who we are.
        case greeted
        /// Inbound: we have said who we are; the far side's ends are awaited.
        case welcomed
        /// Outbound: the far side's ends are awaited.
        case offered
        /// The attendant brings our queue pairs up.
        case raising
        /// Inbound: our ends are up; the far side's word that it can READ is awaited.
        case answered
        /// Our READs of the far side's generation word are under way.
        case proving
        /// Messages, reads and exports may pass.
        case up
        /// The link is over; its queue pairs give back what was posted.
        case draining
    }

    let id: LinkID
    let inbound: Bool
    let remote: String
    /// Where its control stream leads; nobody's until it is connected.
    var address = PeerAddress.unknown
    let nonce: RandomNumber
    var control: ControlStream?
    var state: State
    /// Until when it has to be up.
    let deadlineNs: UInt64
    var peer: LinkIdentity?

    /// What we READ over, and what the far side READs over.
    var fetchLanes: [VerbsLane] = []
    var serveLanes: [VerbsLane] = []
    /// Where the next read begins.
    var nextLane = 0
    /// The protection domain of what this far side may read, where it has one of its own.
    var domain: LeaseDomain?
    /// What stands at `wordMemory`, for the far side to READ.
    var word: GenerationWord?
    /// The tag in the keys we give out, and in those we are given.
    let ownTag: UInt64
    var theirTag: UInt64 = 0
    var theirWord = (address: UInt64(0), key: UInt32(0), value: UInt64(0))

    /// The smaller of both sides' bounds.
    var readsMax = 0
    var readsPosted = 0
    /// Exports of the far side that we have read.
    var sources: [UInt64: ReadSource] = [:]
    /// The latest of them that are over.
    private var over = Fifo<UInt64>()
    private var overSet: Set<UInt64> = []

    var exports: [UInt64: VerbsExport] = [:]
    /// Windows that wait to be bound again. Never on another link: when a process is killed the kernel destroys the
    /// newest first, and rxe waits long for a queue pair that an older window still holds.
    var idleWindows: [LeaseWindow] = []
    /// Windows being bound: what is said waits for them, since it may carry their keys.
    var bindsPending = 0

    /// Probes of the far side's word that are out.
    var probesPending = 0
    /// Our first queue pairs, over which it was READ before the link came up.
    var probedLanes = 0
    var nextProbeNs: UInt64 = 0
    /// A byte of the control stream arrived since the last look.
    var hasHeard = true
    var pingStampNs: UInt64 = 0

    var wasUp = false
    /// Set when it begins to drain.
    var downReason: TransportError?
    var drainDeadlineNs: UInt64 = 0
    /// A job of the attendant on its queue pairs is under way.
    var isRaising = false
    var raisingJob: VerbsAttendant.JobNumber = 0
    /// Its queue pairs are being destroyed.
    var isBuried = false
    var isDirty = false
    var isResumable = false

    /// How many ended exports of the far side are remembered by number.
    private static let oversMax = 1024

    init(
        id: LinkID, inbound: Bool, remote: String, nonce: RandomNumber, control: ControlStream, state: State,
        deadlineNs: UInt64
    ) {
        self.id = id
        self.inbound = inbound
        self.remote = remote
        self.nonce = nonce
        self.control = control
        self.state = state
        self.deadlineNs = deadlineNs
        // Wide enough that a key of another link never passes for one of this.
        ownTag = RandomNumber.make().low
    }

    /// For sentences: who it leads to.
    var name: String { peer.map { "\($0.host)" } ?? remote }

    var lanes: [VerbsLane] { fetchLanes + serveLanes }
    var isDrained: Bool { fetchLanes.allSatisfy(\.isDrained) && serveLanes.allSatisfy(\.isDrained) }

    /// Whether an export of the far side may be read no more, as far as we remember.
    func isOver(_ export: UInt64) -> Bool { overSet.contains(export) || sources[export]?.isStopping == true }

    // By value, out and in again: changing an entry in its place allocates.

    /// A read of an export of the far side is posted.
    func beginRead(of export: UInt64) {
        var source = sources[export] ?? ReadSource()
        source.readsOut += 1
        sources[export] = source
    }

    /// A posted read of an export has ended; whether the far side wants the export back.
    func endRead(of export: UInt64, readBytes: UInt32) -> Bool {
        guard var source = sources[export] else { return false }
        source.readsOut -= 1
        source.readBytes += UInt64(readBytes)
        sources[export] = source
        return source.isStopping
    }

    /// Remembers that an export of the far side is over.
    func forget(source export: UInt64) {
        sources[export] = nil
        guard overSet.insert(export).inserted else { return }
        over.append(export)
        if over.count > Self.oversMax, let oldest = over.popFirst() { overSet.remove(oldest) }
    }
}

/// What we know of an export of the far side.
struct ReadSource {
    /// Read so far.
    var readBytes: UInt64 = 0
    /// Posted and not ended.
    var readsOut = 0
    /// The far side wants it back.
    var isStopping = false
}
