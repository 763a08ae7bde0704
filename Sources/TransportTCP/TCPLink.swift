import System
import Transport

/// A link: one control stream and its data streams, held together by a random ticket.
///
/// ```
///  outbound:  connecting → greeted → attaching → up → (gone from the table)
///  inbound:                           attaching → up → (gone from the table)
/// ```
final class TCPLink {
    enum State {
        /// The control stream's connect has not ended; then the greeting is sent.
        case connecting
        /// We have sent our greeting; the welcome brings the ticket.
        case greeted
        /// Data streams are being tied to the link; `ready` ends it.
        case attaching
        /// Messages, reads and exports may pass.
        case up
    }

    let id: LinkID
    let inbound: Bool
    let remote: String
    let nonce: RandomNumber
    let control: ControlStream
    var state: State
    /// Until when it has to be up.
    let deadlineNs: UInt64
    var ticket = RandomNumber(high: 0, low: 0)
    var peer: LinkIdentity?
    /// Where an inbound link comes from.
    var address = PeerAddress.unknown
    var data: [TCPDataStream?] = []
    /// The smaller of both sides' bounds.
    var readsMax = 0
    var readsPosted = 0
    /// Reads of the far side that wait or are being answered.
    var readsServing = 0
    var exports: [UInt64: TCPExport] = [:]
    /// Whether it is in the list of links with something to flush.
    var isDirty = false
    /// Whether it is in the list of links with messages left to parse.
    var isResumable = false

    init(
        id: LinkID, inbound: Bool, remote: String, nonce: RandomNumber, control: ControlStream,
        state: State,
        deadlineNs: UInt64
    ) {
        self.id = id
        self.inbound = inbound
        self.remote = remote
        self.nonce = nonce
        self.control = control
        self.state = state
        self.deadlineNs = deadlineNs
        exports.reserveCapacity(64)
    }

    /// The data stream with the fewest bytes on their way to us.
    var shortestStream: TCPDataStream {
        var best = data[0]!
        for stream in data.dropFirst() where stream!.postedBytes < best.postedBytes { best = stream! }
        return best
    }

    /// For sentences: who it leads to.
    var name: String { peer.map { "\($0.host)" } ?? remote }
}
