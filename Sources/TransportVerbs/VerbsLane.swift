import Transport
import Verbs

/// One queue pair of a link and what is posted on it.
///
/// Requests complete in the order they were posted, so a completion ends its own request and all before it: only the
/// last of a list asks for one. After a failure the device gives back every request left, each with a completion; the
/// lane is drained when none is out.
final class VerbsLane {
    /// Which way READs go.
    enum Role {
        /// Ours: we READ. The queue pair admits no access from outside.
        case fetch
        /// Theirs: the far side READs from us.
        case serve
    }

    /// What a posted request is part of.
    enum Work {
        /// One of the READs of a posted read; its length.
        case read(Int, UInt32)
        /// A READ of the far side's generation word; the lane's place.
        case probe(Int)
        /// The binding of an export's window.
        case bind(ExportID)
        /// The end of an export's window.
        case invalidate(ExportID)
        /// Nothing: its completion says that what was posted before it has ended.
        case marker
    }

    let link: LinkID
    let role: Role
    /// The place in the transport's table of lanes, and which lane has lived there.
    let place: Int
    let generation: UInt8
    /// Which of the link's lanes of this role.
    let index: Int
    let number: UInt32
    let packetSequenceNumber: UInt32
    let requestsMax: Int
    var queuePair: QueuePair?
    /// Requests that wait for the doorbell, and what they are part of.
    var list: SendList
    private var listed: [Work] = []
    private var posted = Fifo<Work>()
    private var unsignaledBytes: UInt64 = 0
    private var nextSequence: UInt32 = 0
    private var doneSequence: UInt32 = 0
    /// What had completed when that was last seen to change, or when the first of what is out was posted.
    private var progress = (doneSequence: UInt32(0), sinceNs: UInt64(0))

    init(
        link: LinkID, role: Role, place: Int, generation: UInt8, index: Int, queuePair: consuming QueuePair,
        packetSequenceNumber: UInt32, requestsMax: Int, listMax: Int
    ) {
        self.link = link
        self.role = role
        self.place = place
        self.generation = generation
        self.index = index
        number = queuePair.number
        self.packetSequenceNumber = packetSequenceNumber
        self.requestsMax = requestsMax
        self.queuePair = consume queuePair
        list = SendList(capacity: listMax)
        listed.reserveCapacity(listMax)
    }

    /// Posted or listed, and not completed.
    var outstanding: Int { posted.count + listed.count }
    var room: Int { requestsMax - outstanding }
    var isListFull: Bool { list.count == list.capacity }
    var hasListed: Bool { !listed.isEmpty }
    /// The device has given back everything.
    var isDrained: Bool { posted.isEmpty && listed.isEmpty }

    /// The mark of the next request: lane, generation, sequence.
    func nextMark() -> UInt64 {
        defer { nextSequence &+= 1 }
        return UInt64(place) << 40 | UInt64(generation) << 32 | UInt64(nextSequence)
    }

    static func place(of mark: UInt64) -> Int { Int(mark >> 40) }
    static func generation(of mark: UInt64) -> UInt8 { UInt8(truncatingIfNeeded: mark >> 32) }

    /// Says what the request just put in the list is part of.
    func note(_ work: Work) { listed.append(work) }

    /// Whether the next request is to say when it is done: the last of a read, but not for every little one.
    func isToSignal(_ lengthBytes: UInt32, isLast: Bool) -> Bool {
        unsignaledBytes += UInt64(lengthBytes)
        guard isLast, unsignaledBytes >= Self.signalBytes else { return false }
        unsignaledBytes = 0
        return true
    }

    private static let signalBytes: UInt64 = 1 << 20

    /// Rings the doorbell once for everything in the list.
    ///
    /// - Returns: nil when all was taken; otherwise what was not, and why. The queue pair is of no use then.
    func ring(nowNs: UInt64) -> (unposted: [Work], failure: String)? {
        guard !listed.isEmpty else { return nil }
        if posted.isEmpty { progress = (doneSequence, nowNs) }
        list.signalLast()
        unsignaledBytes = 0
        let outcome = queuePair!.post(&list)
        for work in listed[..<outcome.posted] { posted.append(work) }
        guard outcome.posted < listed.count else {
            listed.removeAll(keepingCapacity: true)
            list.removeAll()
            return nil
        }
        let left = Array(listed[outcome.posted...])
        // The numbers of what was not taken are free again: those of what is out follow each other.
        nextSequence = doneSequence &+ UInt32(posted.count)
        listed.removeAll(keepingCapacity: true)
        list.removeAll()
        return (left, "the device took \(outcome.posted) of its requests: errno \(outcome.errorNumber)")
    }

    /// Takes back what waits for the doorbell: it will not be posted.
    func unlist() -> [Work] {
        defer {
            listed.removeAll(keepingCapacity: true)
            list.removeAll()
        }
        return listed
    }

    /// The next request that this completion ends, the marked one last; nil when there is none left.
    func pop(upTo mark: UInt64) -> (work: Work, isMarked: Bool)? {
        let sequence = UInt32(truncatingIfNeeded: mark)
        // Beyond what is out: a completion that was dealt with already.
        guard sequence &- doneSequence < UInt32(posted.count), let work = posted.popFirst() else { return nil }
        defer { doneSequence &+= 1 }
        return (work, doneSequence == sequence)
    }

    /// For how long requests have been out and none has completed; as often as it is asked.
    func stalledNs(_ nowNs: UInt64) -> UInt64 {
        guard !posted.isEmpty else { return 0 }
        if progress.doneSequence != doneSequence { progress = (doneSequence, nowNs) }
        return nowNs - min(progress.sinceNs, nowNs)
    }

    /// Gives up waiting for completions: only once the queue pair is destroyed.
    func abandon() -> [Work] {
        var left: [Work] = []
        while let work = posted.popFirst() {
            left.append(work)
            doneSequence &+= 1
        }
        return left
    }
}
