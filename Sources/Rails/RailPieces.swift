import Artifacts
import Swarm
import Transport

/// What the rail keeps of a link: what it could not take yet.
struct RailLink {
    var messages = Fifo<[UInt8]>()
    /// Pieces with bytes not posted yet, in the order they were asked for.
    var pieces = Fifo<Int>()
    /// Pieces that have not ended.
    var openPieces = 0
    /// Why we closed it.
    var dropReason: TransportError? = nil
    /// Why it is down, while pieces still end.
    var downReason: TransportError? = nil

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
        set { places[place] = newValue }
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
        let bytes = PeerMessageCodec.encode(message)
        if state.messages.isEmpty, bytes.withUnsafeBytes({ transport.send($0, on: link) }) { return }
        guard state.messages.count < configuration.queuedMessagesPerLinkMax else {
            return drop(
                link,
                TransportError(
                    .limit,
                    "\(state.messages.count) messages wait for a far side that takes none; the link was closed"
                ))
        }
        links[link]!.messages.append(bytes)
        waitingLinks.insert(link)
    }

    // MARK: Pieces

    func begin(_ read: PieceRead) {
        precondition(read.lengthBytes > 0, "a piece has at least one byte")
        guard let state = links[read.link], state.isOpen else {
            events.append(.readCompleted(tag: read.tag, read.link, failure: .linkClosed))
            return
        }
        guard state.pieces.count < configuration.queuedPiecesPerLinkMax else {
            events.append(.readCompleted(tag: read.tag, read.link, failure: .limit))
            return
        }
        links[read.link]!.openPieces += 1
        links[read.link]!.pieces.append(pieces.insert(read))
        waitingLinks.insert(read.link)
    }

    /// Gives the transport what it could not take before.
    func pushWaiting() {
        guard !waitingLinks.isEmpty else { return }
        for link in waitingLinks {
            guard links[link]?.isOpen == true else {
                // What waits ends with the link's end.
                waitingLinks.remove(link)
                continue
            }
            while !links[link]!.messages.isEmpty,
                links[link]!.messages.first.withUnsafeBytes({ transport.send($0, on: link) })
            {
                _ = links[link]!.messages.popFirst()
            }
            while !links[link]!.pieces.isEmpty, postFirstPiece(of: link) {
                let piece = links[link]!.pieces.popFirst()!
                pieces[piece].isQueued = false
                if pieces[piece].outstanding == 0 { endPiece(piece, pieces[piece].failure) }
            }
            if links[link]!.messages.isEmpty, links[link]!.pieces.isEmpty { waitingLinks.remove(link) }
        }
    }

    /// Posts reads of the first waiting piece; true when there is none left to post.
    private func postFirstPiece(of link: LinkID) -> Bool {
        let place = links[link]!.pieces.first
        var piece = pieces[place]
        defer { pieces[place] = piece }
        return withUnsafeTemporaryAllocation(of: ReadRequest.self, capacity: 16) { batch in
            while !piece.isPosted {
                var count = 0
                var offset = piece.postedBytes
                while count < batch.count, offset < piece.read.lengthBytes {
                    let length = min(readBytesMax, piece.read.lengthBytes - offset)
                    batch.initializeElement(
                        at: count,
                        to: ReadRequest(
                            link: link, key: piece.read.key, remoteOffset: piece.read.remoteOffset + offset,
                            region: piece.read.region, localOffset: piece.read.localOffset + offset,
                            lengthBytes: UInt32(length), tag: UInt64(place)))
                    offset += length
                    count += 1
                }
                let taken = transport.post(UnsafeBufferPointer(rebasing: batch[..<count]))
                for read in batch[..<taken] { piece.postedBytes += UInt64(read.lengthBytes) }
                piece.outstanding += taken
                if taken < count { return false }
            }
            return true
        }
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
    func endQueued(_ queued: consuming Fifo<Int>) {
        while let piece = queued.popFirst() {
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
        links[read.link]?.openPieces -= 1
        reportDownWhenEmpty(read.link)
    }
}
