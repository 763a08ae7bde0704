import Artifacts
import Swarm
import Transport

/// What the rail keeps of a link: what it could not take yet.
///
/// An object, so that a change to it never copies what waits.
final class RailLink {
    let id: LinkID
    var messages = Fifo<PeerMessage<RemoteKey>>()
    /// Pieces with bytes not posted yet, in the order they were asked for.
    var pieces = Fifo<Int>(reserving: 32)
    /// Whether it is in the list of links that wait for the transport.
    var isWaiting = false
    /// Pieces that have not ended.
    var openPieces = 0
    /// Why we closed it.
    var dropReason: TransportError? = nil
    /// Why it is down, while pieces still end.
    var downReason: TransportError? = nil

    init(_ id: LinkID) { self.id = id }

    /// Whether it may be given messages and pieces.
    var isOpen: Bool { dropReason == nil && downReason == nil }
}

/// A piece being read.
struct PieceReading {
    let read: PieceRead
    var postedBytes: UInt64 = 0
    /// Reads posted and not completed.
    var outstanding = 0
    /// In its link's queue, because not all of it is posted yet.
    var isQueued = true
    /// The first failure; nothing more is posted after one.
    var failure: TransportError.Code? = nil

    var isPosted: Bool { postedBytes == read.lengthBytes || failure != nil }
}

/// The pieces being read by place; a place is taken again only after the piece's last completion.
struct PieceTable {
    private var places: [PieceReading?] = []
    private var free: [Int] = []

    init(reserving pieces: Int) {
        places.reserveCapacity(pieces)
        free.reserveCapacity(pieces)
    }

    var count: Int { places.count - free.count }

    mutating func insert(_ read: PieceRead) -> Int {
        if let place = free.popLast() {
            places[place] = PieceReading(read: read)
            return place
        }
        places.append(PieceReading(read: read))
        return places.count - 1
    }

    subscript(_ place: Int) -> PieceReading {
        get { places[place]! }
        _modify { yield &places[place]! }
    }

    mutating func remove(_ place: Int) {
        places[place] = nil
        free.append(place)
    }
}

extension Rail {
    // MARK: Messages

    func send(_ message: PeerMessage<RemoteKey>, on link: LinkID) {
        // A link that is gone drops what is sent on it.
        guard let state = links[link], state.isOpen else { return }
        if state.messages.isEmpty, give(message, to: link) { return }
        guard state.messages.count < configuration.queuedMessagesPerLinkMax else {
            return drop(
                link,
                TransportError(
                    .limit,
                    "\(state.messages.count) messages wait for a far side that takes none; the link was closed"
                ))
        }
        state.messages.append(message)
        wait(state)
    }

    /// Whether the transport took the message.
    private func give(_ message: PeerMessage<RemoteKey>, to link: LinkID) -> Bool {
        PeerMessageCodec.encode(message, into: &self.message)
        return self.message.bytes.withUnsafeBytes { transport.send($0, on: link) }
    }

    // MARK: Pieces

    func begin(_ read: PieceRead) {
        precondition(read.lengthBytes > 0, "a piece has at least one byte")
        guard let link = links[read.link], link.isOpen else {
            events.append(.readCompleted(tag: read.tag, read.link, failure: .linkClosed))
            return
        }
        guard link.pieces.count < configuration.queuedPiecesPerLinkMax else {
            events.append(.readCompleted(tag: read.tag, read.link, failure: .limit))
            return
        }
        link.openPieces += 1
        link.pieces.append(pieces.insert(read))
        wait(link)
    }

    private func wait(_ link: RailLink) {
        guard !link.isWaiting else { return }
        link.isWaiting = true
        waitingLinks.append(link.id)
    }

    /// Gives the transport what it could not take before.
    func pushWaiting() {
        guard !waitingLinks.isEmpty else { return }
        var kept = 0
        for place in waitingLinks.indices {
            // What waits for a link that has ended ends with it.
            guard let link = links[waitingLinks[place]], link.isOpen else { continue }
            push(link)
            link.isWaiting = !link.messages.isEmpty || !link.pieces.isEmpty
            guard link.isWaiting else { continue }
            waitingLinks[kept] = link.id
            kept += 1
        }
        waitingLinks.removeLast(waitingLinks.count - kept)
    }

    private func push(_ link: RailLink) {
        while !link.messages.isEmpty, give(link.messages.first, to: link.id) { _ = link.messages.popFirst() }
        while !link.pieces.isEmpty, post(link.pieces.first) {
            let piece = link.pieces.popFirst()!
            pieces[piece].isQueued = false
            if pieces[piece].outstanding == 0 { endPiece(piece, pieces[piece].failure) }
        }
    }

    /// Posts reads of a piece; true when there is none left to post.
    private func post(_ place: Int) -> Bool {
        while !pieces[place].isPosted {
            let read = pieces[place].read
            var offset = pieces[place].postedBytes
            batch.removeAll(keepingCapacity: true)
            while batch.count < Self.batchReadsMax, offset < read.lengthBytes {
                let length = min(readBytesMax, read.lengthBytes - offset)
                batch.append(
                    ReadRequest(
                        link: read.link, key: read.key, remoteOffset: read.remoteOffset + offset, region: read.region,
                        localOffset: read.localOffset + offset, lengthBytes: UInt32(length), tag: UInt64(place)))
                offset += length
            }
            let taken = batch.withUnsafeBufferPointer { transport.post($0) }
            for request in batch.prefix(taken) { pieces[place].postedBytes += UInt64(request.lengthBytes) }
            pieces[place].outstanding += taken
            if taken < batch.count { return false }
        }
        return true
    }

    /// A read of a piece ended: the piece has ended with its last one.
    func readEnded(_ completion: ReadCompletion) {
        let place = Int(completion.tag)
        pieces[place].outstanding -= 1
        if let failure = completion.failure, pieces[place].failure == nil { pieces[place].failure = failure }
        let piece = pieces[place]
        // A failed piece that is still queued ends when its turn comes, or with its link.
        guard piece.outstanding == 0, !piece.isQueued else { return }
        endPiece(place, piece.failure)
    }

    /// The link of these pieces is down: what was never posted ends now, the rest with its last completion.
    func endQueued(of link: RailLink) {
        while let piece = link.pieces.popFirst() {
            pieces[piece].isQueued = false
            if pieces[piece].outstanding == 0 {
                endPiece(piece, pieces[piece].failure ?? .linkClosed)
            } else if pieces[piece].failure == nil {
                pieces[piece].failure = .linkClosed
            }
        }
    }

    func endPiece(_ place: Int, _ failure: TransportError.Code?) {
        let read = pieces[place].read
        pieces.remove(place)
        events.append(.readCompleted(tag: read.tag, read.link, failure: failure))
        guard let link = links[read.link] else { return }
        link.openPieces -= 1
        reportDownWhenEmpty(link)
    }
}
