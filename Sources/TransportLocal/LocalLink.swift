import System
import Transport

/// A packet on its way out, and the descriptor that goes with it.
struct LocalOutgoing {
    let bytes: [UInt8]
    let isMessage: Bool
    let passed: LocalFile?
}

/// A descriptor with several owners: closed when the last lets it go.
final class LocalFile {
    let descriptor: FileDescriptor
    init(_ descriptor: consuming FileDescriptor) { self.descriptor = descriptor }
}

/// A range that the far side lets us read.
struct LocalOffer {
    let file: LocalFile
    let offset: UInt64
    let lengthBytes: UInt64
}

/// A read that was posted.
struct LocalRead {
    let key: RandomNumber?
    let offset: UInt64
    let target: UnsafeMutableRawPointer
    let lengthBytes: Int
    let tag: UInt64
    var doneBytes = 0
    /// Set when its first byte is read: a withdrawal lets what has begun come to its end.
    var offer: LocalOffer?
}

/// An export of ours on a link.
struct LocalExport {
    let id: ExportID
    let key: RandomNumber
    /// The far side was told to close it; since when (0: that is not known yet).
    var revokedAtNs: UInt64?
}

/// A link: one packet socket.
///
/// ```
///  outbound:  greeted → up        inbound:  expected → up
/// ```
final class LocalLink {
    enum State {
        /// Accepted; the greeting is awaited.
        case expected
        /// We have greeted; the welcome is awaited.
        case greeted
        /// Messages, reads and exports may pass.
        case up
    }

    let id: LinkID
    let inbound: Bool
    let remote: String
    let socket: LocalFile
    var interest: EpollQueue.Interest
    var state: State
    let deadlineNs: UInt64
    var peer: LinkIdentity?
    var outgoing = Fifo<LocalOutgoing>()
    var queuedMessageBytes = 0
    /// When a packet last left while some waited; 0 when that is not known yet.
    var sendStampNs: UInt64 = 0
    var offers: [RandomNumber: LocalOffer] = [:]
    var reads = Fifo<LocalRead>()
    var exports: [UInt64: LocalExport] = [:]
    var isActive = false

    init(
        id: LinkID, inbound: Bool, remote: String, socket: LocalFile, interest: EpollQueue.Interest,
        state: State,
        deadlineNs: UInt64
    ) {
        self.id = id
        self.inbound = inbound
        self.remote = remote
        self.socket = socket
        self.interest = interest
        self.state = state
        self.deadlineNs = deadlineNs
    }

    var raw: CInt { socket.descriptor.raw }
    var name: String { peer.map { "\($0.host)" } ?? remote }

    func queue(_ packet: LocalPacket, passing file: LocalFile? = nil) {
        queue(packet.bytes, isMessage: { if case .message = packet { true } else { false } }(), passing: file)
    }

    func queue(_ bytes: [UInt8], isMessage: Bool = false, passing file: LocalFile? = nil) {
        if outgoing.isEmpty { sendStampNs = 0 }
        if isMessage { queuedMessageBytes += bytes.count }
        outgoing.append(LocalOutgoing(bytes: bytes, isMessage: isMessage, passed: file))
    }
}
