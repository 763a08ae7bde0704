import Artifacts
import Rails
import Swarm
import Testing
import Transport

@Suite struct PeerMessageCodecTests {
    static let samples: [PeerMessage<RemoteKey>] = {
        let task = TaskID(Digest(.sha256, bytes: (0..<32).map { UInt8($0) })!)
        let blob = TaskID(Digest(.gitBlob, bytes: (0..<20).map { UInt8($0) })!)
        let key = [UInt8](0..<48).withUnsafeBytes { RemoteKey($0)! }
        let short = [UInt8](0..<16).withUnsafeBytes { RemoteKey($0)! }
        return [
            .open(session: 1, task: task, pieceCount: 524_288),
            .open(session: .max, task: blob, pieceCount: 0),
            .map(session: 2, base: 8, bits: [0xFF, 0x01], last: false),
            .map(session: 2, base: 0, bits: [], last: true),
            .map(
                session: 2, base: 0, bits: Array(repeating: 0xA5, count: PeerMessageCodec.mapBitsBytesMax),
                last: true),
            .have(session: 3, pieces: [PieceIndex(7), PieceIndex(UInt32.max)]),
            .have(session: 3, pieces: (0..<PeerMessageCodec.havePiecesMax).map { PieceIndex($0) }),
            .unknown(session: 4), .want(session: 5, piece: PieceIndex(6)),
            .grant(session: 7, piece: PieceIndex(8), key: key, lengthBytes: 4 << 20, leaseMs: 30_000),
            .grant(session: 7, piece: PieceIndex(8), key: short, lengthBytes: 1, leaseMs: 0),
            .busy(session: 9, piece: PieceIndex(10), retryAfterMs: 11),
            .absent(session: 12, piece: PieceIndex(13)),
            .release(session: 14, piece: PieceIndex(15)), .close(session: 16), .ping(nonce: .max),
            .pong(nonce: 0),
        ]
    }()

    @Test func everyMessageComesBackAsItWas() throws {
        for message in Self.samples {
            let bytes = PeerMessageCodec.encode(message)
            #expect(bytes.count <= PeerMessageCodec.messageBytesMax)
            let back = try bytes.withUnsafeBytes { bytes throws(PeerMessageCodec.Malformed) in
                try PeerMessageCodec.decode(bytes)
            }
            #expect(back == message)
        }
    }

    @Test func everyCutMessageIsAnErrorOrAnother() {
        for message in Self.samples {
            let bytes = PeerMessageCodec.encode(message)
            for count in 0..<min(bytes.count, 64) {
                let back = Self.decode(Array(bytes[..<count]))
                #expect(back != message)
            }
            #expect(Self.decode(bytes + [0]) != message)
        }
    }

    @Test(arguments: [1, 2, 3, 4] as [UInt64])
    func anyBytesAreAMessageOrAnError(_ seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var understood = 0
        for _ in 0..<20_000 {
            var bytes = (0..<Int.random(in: 0...80, using: &generator)).map { _ in
                UInt8.random(in: 0...255, using: &generator)
            }
            if !bytes.isEmpty, Bool.random(using: &generator) {
                bytes[0] = UInt8.random(in: 0...14, using: &generator)
            }
            guard let message = Self.decode(bytes) else { continue }
            understood += 1
            // What is understood is written back as the same bytes: one form for one message.
            #expect(PeerMessageCodec.encode(message) == bytes)
        }
        #expect(understood > 100)
    }

    static func decode(_ bytes: [UInt8]) -> PeerMessage<RemoteKey>? {
        bytes.withUnsafeBytes { bytes in try? PeerMessageCodec.decode(bytes) }
    }
}
