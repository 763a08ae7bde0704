import Transport

/// One end of a queue pair, as the other end needs it.
package struct LaneEnd: Equatable {
    package var number: UInt32
    package var packetSequenceNumber: UInt32

    package init(number: UInt32, packetSequenceNumber: UInt32) {
        self.number = number
        self.packetSequenceNumber = packetSequenceNumber
    }
}

/// What each side of a link tells the other of its port and its queue pairs, by way of the control stream.
///
/// Fetch ends READ, serve ends are READ from: the n-th fetch end of one side belongs to the n-th serve end of the other.
package struct LinkOffer: Equatable {
    /// 1 InfiniBand, 2 Ethernet.
    package var linkLayer: UInt8
    /// The type of the GID: both sides need the same.
    package var gidType: UInt8
    package var gid: (UInt64, UInt64)
    package var lid: UInt16
    package var mtuBytes: UInt16
    /// READs this side may have in flight on a queue pair, and may answer.
    package var readsInitiatedMax: UInt8
    package var readsServedMax: UInt8
    /// What this side puts in the keys of its exports.
    package var keyTag: UInt64
    /// Where this side's generation word is, and what stands in it.
    package var wordAddress: UInt64
    package var wordKey: UInt32
    package var word: UInt64
    package var fetchEnds: [LaneEnd]
    package var serveEnds: [LaneEnd]

    package init(
        linkLayer: UInt8, gidType: UInt8, gid: (UInt64, UInt64), lid: UInt16, mtuBytes: UInt16,
        readsInitiatedMax: UInt8, readsServedMax: UInt8, keyTag: UInt64, wordAddress: UInt64, wordKey: UInt32,
        word: UInt64, fetchEnds: [LaneEnd], serveEnds: [LaneEnd]
    ) {
        self.linkLayer = linkLayer
        self.gidType = gidType
        self.gid = gid
        self.lid = lid
        self.mtuBytes = mtuBytes
        self.readsInitiatedMax = readsInitiatedMax
        self.readsServedMax = readsServedMax
        self.keyTag = keyTag
        self.wordAddress = wordAddress
        self.wordKey = wordKey
        self.word = word
        self.fetchEnds = fetchEnds
        self.serveEnds = serveEnds
    }

    package static func == (left: LinkOffer, right: LinkOffer) -> Bool { left.bytes == right.bytes }

    var bytes: [UInt8] {
        var writer = WireWriter(reservingBytes: 128)
        writer.write(linkLayer)
        writer.write(gidType)
        writer.write(gid.0)
        writer.write(gid.1)
        writer.write(lid)
        writer.write(mtuBytes)
        writer.write(readsInitiatedMax)
        writer.write(readsServedMax)
        writer.write(keyTag)
        writer.write(wordAddress)
        writer.write(wordKey)
        writer.write(word)
        writer.write(UInt8(fetchEnds.count))
        writer.write(UInt8(serveEnds.count))
        for end in fetchEnds + serveEnds {
            writer.write(end.number)
            writer.write(end.packetSequenceNumber)
        }
        return writer.bytes
    }

    init?(_ reader: inout WireReader) {
        guard let linkLayer = reader.read(UInt8.self), let gidType = reader.read(UInt8.self),
            let high = reader.read(UInt64.self), let low = reader.read(UInt64.self),
            let lid = reader.read(UInt16.self), let mtuBytes = reader.read(UInt16.self),
            let initiated = reader.read(UInt8.self), let served = reader.read(UInt8.self),
            let keyTag = reader.read(UInt64.self), let wordAddress = reader.read(UInt64.self),
            let wordKey = reader.read(UInt32.self), let word = reader.read(UInt64.self),
            let fetches = reader.read(UInt8.self), let serves = reader.read(UInt8.self),
            Int(fetches) <= VerbsConfiguration.lanesMax, Int(serves) <= VerbsConfiguration.lanesMax,
            initiated > 0, served > 0, mtuBytes >= 256
        else { return nil }
        var ends: [LaneEnd] = []
        for _ in 0..<(Int(fetches) + Int(serves)) {
            guard let number = reader.read(UInt32.self), let sequence = reader.read(UInt32.self),
                number < 1 << 24, sequence < 1 << 24
            else { return nil }
            ends.append(LaneEnd(number: number, packetSequenceNumber: sequence))
        }
        self.init(
            linkLayer: linkLayer, gidType: gidType, gid: (high, low), lid: lid, mtuBytes: mtuBytes,
            readsInitiatedMax: initiated, readsServedMax: served, keyTag: keyTag, wordAddress: wordAddress,
            wordKey: wordKey, word: word, fetchEnds: Array(ends[..<Int(fetches)]),
            serveEnds: Array(ends[Int(fetches)...]))
    }
}

/// What stands in the messages of a verbs link's control stream: a kind byte, then little-endian fields.
package enum VerbsFrame: Equatable {
    /// Dialing side, after the welcome: its ends of the queue pairs.
    case offer(LinkOffer)
    /// Accepting side: its ends, ready to receive.
    case answer(LinkOffer)
    /// Dialing side: its READs of the far side's generation word have come back.
    case ready
    /// Accepting or dialing side: no link; a `TransportError.Code`.
    case declined(UInt8)
    /// Exporting side: read this export no more, and say when you have stopped.
    case revoke(export: UInt64)
    /// Reading side: nothing is posted on this export any more; so many bytes were read.
    case stopped(export: UInt64, readBytes: UInt64)
    /// Is your process alive?
    case ping
    /// It is.
    case pong

    /// The kind byte of a message of the transport's user: its bytes follow.
    package static let messageKind: UInt8 = 1

    /// The kind bytes of what is said once a piece: written without an array.
    package static let revokeKind: UInt8 = 6
    package static let stoppedKind: UInt8 = 7

    private enum Kind: UInt8 {
        case offer = 2
        case answer, ready, declined, revoke, stopped, ping, pong
    }

    package var bytes: [UInt8] {
        var writer = WireWriter(reservingBytes: 24)
        switch self {
        case .offer(let offer):
            writer.write(Kind.offer.rawValue)
            writer.write(bytes: offer.bytes)
        case .answer(let offer):
            writer.write(Kind.answer.rawValue)
            writer.write(bytes: offer.bytes)
        case .ready: writer.write(Kind.ready.rawValue)
        case .declined(let code):
            writer.write(Kind.declined.rawValue)
            writer.write(code)
        case .revoke(let export):
            writer.write(Kind.revoke.rawValue)
            writer.write(export)
        case .stopped(let export, let readBytes):
            writer.write(Kind.stopped.rawValue)
            writer.write(export)
            writer.write(readBytes)
        case .ping: writer.write(Kind.ping.rawValue)
        case .pong: writer.write(Kind.pong.rawValue)
        }
        return writer.bytes
    }

    /// Reads a frame that is no message of the user; nil for any other bytes.
    package init?(_ bytes: UnsafeRawBufferPointer) {
        var reader = WireReader(bytes)
        guard let kindByte = reader.read(UInt8.self), let kind = Kind(rawValue: kindByte),
            let frame = Self.read(kind, &reader), reader.count == 0
        else { return nil }
        self = frame
    }

    private static func read(_ kind: Kind, _ reader: inout WireReader) -> VerbsFrame? {
        switch kind {
        case .offer: return LinkOffer(&reader).map { .offer($0) }
        case .answer: return LinkOffer(&reader).map { .answer($0) }
        case .ready: return .ready
        case .declined: return reader.read(UInt8.self).map { .declined($0) }
        case .revoke: return reader.read(UInt64.self).map { .revoke(export: $0) }
        case .stopped:
            guard let export = reader.read(UInt64.self), let count = reader.read(UInt64.self) else { return nil }
            return .stopped(export: export, readBytes: count)
        case .ping: return .ping
        case .pong: return .pong
        }
    }
}
