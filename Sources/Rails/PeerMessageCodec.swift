import Artifacts
import Swarm
import Transport

/// The bytes of peer messages: one kind byte and little-endian fields. Any bytes are a message or an error, never a
/// trap.
public enum PeerMessageCodec {
    /// The largest encoded message; every transport's `messageBytesMax` holds it.
    public static let messageBytesMax = 64 << 10
    /// Bytes of bits in one `.map`: 491 520 pieces. A larger map is sent in several.
    public static let mapBitsBytesMax = 60 << 10
    /// Pieces in one `.have`. More are sent in several.
    public static let havePiecesMax = 8192

    /// Why bytes are no message.
    public struct Malformed: Error, Sendable, Hashable, CustomStringConvertible {
        /// One sentence.
        public let description: String
    }

    private enum Kind: UInt8 {
        case open = 1
        case map, have, unknown, want, grant, busy, absent, release, close, ping, pong
    }

    /// The bytes of a message. A `.map` or `.have` beyond its bound is a bug and traps.
    public static func encode(_ message: PeerMessage<RemoteKey>) -> [UInt8] {
        var writer = WireWriter()
        encode(message, into: &writer)
        return writer.bytes
    }

    /// Puts the bytes of a message in place of what a writer holds: in the room it has, where that is enough.
    package static func encode(_ message: PeerMessage<RemoteKey>, into writer: inout WireWriter) {
        writer.removeAll()
        switch message {
        case .open(let session, let task, let pieceCount):
            head(.open, session, &writer)
            writer.write(task.digest.algorithm.rawValue)
            writer.write(bytes: task.digest.bytes)
            writer.write(pieceCount)
        case .map(let session, let base, let bits, let last):
            precondition(
                bits.count <= mapBitsBytesMax, "a map has at most \(mapBitsBytesMax) bytes of bits; cut it")
            head(.map, session, &writer)
            writer.write(base)
            writer.write(UInt8(last ? 1 : 0))
            writer.write(bytes: bits)
        case .have(let session, let pieces):
            precondition(pieces.count <= havePiecesMax, "a have has at most \(havePiecesMax) pieces; cut it")
            head(.have, session, &writer)
            for piece in pieces { writer.write(piece.value) }
        case .unknown(let session): head(.unknown, session, &writer)
        case .want(let session, let piece): head(.want, session, piece, &writer)
        case .grant(let session, let piece, let key, let lengthBytes, let leaseMs):
            head(.grant, session, piece, &writer)
            writer.write(lengthBytes)
            writer.write(leaseMs)
            key.withBytes { writer.write(short: $0) }
        case .busy(let session, let piece, let retryAfterMs):
            head(.busy, session, piece, &writer)
            writer.write(retryAfterMs)
        case .absent(let session, let piece): head(.absent, session, piece, &writer)
        case .release(let session, let piece): head(.release, session, piece, &writer)
        case .close(let session): head(.close, session, &writer)
        case .ping(let nonce):
            writer.write(Kind.ping.rawValue)
            writer.write(nonce)
        case .pong(let nonce):
            writer.write(Kind.pong.rawValue)
            writer.write(nonce)
        }
    }

    /// The message in the bytes: exactly one, nothing behind it.
    public static func decode(_ bytes: UnsafeRawBufferPointer) throws(Malformed) -> PeerMessage<RemoteKey> {
        var fields = Fields(reader: WireReader(bytes))
        let kindByte = try fields.next(UInt8.self)
        guard let kind = Kind(rawValue: kindByte) else {
            throw Malformed(description: "\(kindByte) is no kind of message")
        }
        let message = try decode(kind, &fields)
        guard fields.reader.count == 0 else {
            throw Malformed(description: "bytes stand behind a message of kind \(kind)")
        }
        return message
    }

    private static func decode(_ kind: Kind, _ fields: inout Fields) throws(Malformed) -> PeerMessage<
        RemoteKey
    > {
        switch kind {
        case .ping: return .ping(nonce: try fields.next())
        case .pong: return .pong(nonce: try fields.next())
        case .open:
            return .open(
                session: try fields.next(), task: TaskID(try fields.digest()), pieceCount: try fields.next())
        case .map:
            let session: UInt32 = try fields.next()
            let base: UInt32 = try fields.next()
            let last: UInt8 = try fields.next()
            guard last <= 1, fields.reader.count <= mapBitsBytesMax else {
                throw Malformed(description: "a map is malformed")
            }
            return .map(
                session: session, base: base, bits: Array(try fields.bytes(fields.reader.count)),
                last: last == 1)
        case .have:
            let session: UInt32 = try fields.next()
            guard fields.reader.count % 4 == 0, fields.reader.count / 4 <= havePiecesMax else {
                throw Malformed(description: "a list of pieces is malformed")
            }
            var pieces: [PieceIndex] = []
            pieces.reserveCapacity(fields.reader.count / 4)
            while fields.reader.count > 0 { pieces.append(try fields.piece()) }
            return .have(session: session, pieces: pieces)
        case .unknown: return .unknown(session: try fields.next())
        case .want: return .want(session: try fields.next(), piece: try fields.piece())
        case .grant:
            let session: UInt32 = try fields.next()
            let piece = try fields.piece()
            let lengthBytes: UInt32 = try fields.next()
            let leaseMs: UInt32 = try fields.next()
            return .grant(
                session: session, piece: piece, key: try fields.key(), lengthBytes: lengthBytes,
                leaseMs: leaseMs)
        case .busy:
            return .busy(
                session: try fields.next(), piece: try fields.piece(), retryAfterMs: try fields.next())
        case .absent: return .absent(session: try fields.next(), piece: try fields.piece())
        case .release: return .release(session: try fields.next(), piece: try fields.piece())
        case .close: return .close(session: try fields.next())
        }
    }

    private static func head(_ kind: Kind, _ session: UInt32, _ writer: inout WireWriter) {
        writer.write(kind.rawValue)
        writer.write(session)
    }

    private static func head(_ kind: Kind, _ session: UInt32, _ piece: PieceIndex, _ writer: inout WireWriter) {
        head(kind, session, &writer)
        writer.write(piece.value)
    }

    /// Fields one after another; one that is missing makes the message malformed.
    private struct Fields {
        var reader: WireReader

        mutating func next<Value: FixedWidthInteger>(_ type: Value.Type = Value.self) throws(Malformed)
            -> Value
        {
            guard let value = reader.read(type) else {
                throw Malformed(description: "a message is cut short")
            }
            return value
        }

        mutating func bytes(_ count: Int) throws(Malformed) -> UnsafeRawBufferPointer {
            guard let part = reader.read(count: count) else {
                throw Malformed(description: "a message is cut short")
            }
            return part
        }

        mutating func piece() throws(Malformed) -> PieceIndex { PieceIndex(try next(UInt32.self)) }

        mutating func digest() throws(Malformed) -> Digest {
            guard let algorithm = Digest.Algorithm(rawValue: try next()) else {
                throw Malformed(description: "a task's digest has an unknown algorithm")
            }
            return Digest(algorithm, bytes: try bytes(algorithm.byteCount))!
        }

        mutating func key() throws(Malformed) -> RemoteKey {
            let length: UInt8 = try next()
            guard let key = RemoteKey(try bytes(Int(length))) else {
                throw Malformed(description: "a key is too long")
            }
            return key
        }
    }
}
