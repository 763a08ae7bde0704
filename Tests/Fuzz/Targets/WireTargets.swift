import Artifacts
import ControlAPI
import Protobuf
import Rails
import Swarm
import Transport
import TransportLocal
import TransportTCP
import TransportVerbs

extension FuzzTarget {
    private static let someDigest = Digest(.sha256, bytes: [UInt8](repeating: 0xAB, count: 32))!
    private static let someKey = [UInt8](1...40).withUnsafeBytes { RemoteKey($0)! }

    static let peerMessage = FuzzTarget(
        "peer-message",
        seeds: [
            .open(session: 1, task: TaskID(someDigest), pieceCount: 70),
            .map(session: 1, base: 64, bits: [0xFF, 0x01], last: true),
            .have(session: 1, pieces: [PieceIndex(0), PieceIndex(69)]), .unknown(session: 2),
            .want(session: 1, piece: PieceIndex(5)),
            .grant(session: 1, piece: PieceIndex(5), key: someKey, lengthBytes: 1 << 22, leaseMs: 30_000),
            .busy(session: 1, piece: PieceIndex(5), retryAfterMs: 50), .absent(session: 1, piece: PieceIndex(5)),
            .release(session: 1, piece: PieceIndex(5)), .close(session: 1), .ping(nonce: 7), .pong(nonce: 7),
        ].map { (message: PeerMessage<RemoteKey>) in PeerMessageCodec.encode(message) }
    ) { bytes in
        do throws(PeerMessageCodec.Malformed) {
            let message = try bytes.withUnsafeBytes { raw in
                Result { () throws(PeerMessageCodec.Malformed) in try PeerMessageCodec.decode(raw) }
            }.get()
            precondition(PeerMessageCodec.encode(message) == bytes, "a message is written otherwise than read")
            var outcome = Outcome(1, UInt64(bytes[0]))
            outcome.mix(size: bytes.count)
            return outcome.value
        } catch {
            var outcome = Outcome(2, UInt64(bytes.first ?? 0) & 15)
            outcome.mix(sentence: error.description)
            return outcome.value
        }
    }

    static let handshakeFrame = FuzzTarget(
        "handshake-frame",
        seeds: [
            HandshakeFrame(
                .greeting, detail: 4, number: RandomNumber(high: 1, low: 2),
                identity: LinkIdentity(host: HostID("peer-1")!, incarnation: 3, cluster: "c"), readsPerLinkMax: 64),
            HandshakeFrame(
                .welcome, detail: 2, identity: LinkIdentity(host: HostID("s")!, incarnation: 9, cluster: ""),
                readsPerLinkMax: 1),
            HandshakeFrame(.stream, detail: 1), HandshakeFrame(.ready), HandshakeFrame(.refusal, detail: 3),
        ].map(\.bytes), bytesMax: 700
    ) { bytes in
        switch bytes.withUnsafeBytes({ HandshakeFrame.decode($0) }) {
        case .frame(let frame, let count):
            precondition(count <= bytes.count, "a frame is longer than its bytes")
            precondition(frame.bytes == Array(bytes[..<count]), "a frame is written otherwise than read")
            return Outcome(1, UInt64(frame.kind.rawValue)).value
        case .incomplete:
            precondition(
                bytes.count < HandshakeFrame.headBytes + HandshakeFrame.bodyBytesMax, "no frame is longer than that")
            return 2
        case .broken(let why):
            var outcome = Outcome(3)
            outcome.mix(sentence: why)
            return outcome.value
        }
    }

    static let tcpFrame = FuzzTarget(
        "tcp-frame",
        seeds: [
            [1, 0, 0, 0, 0, 0, 64, 0] + [UInt8](repeating: 1, count: 32),
            [2, 0, 0, 0, 0, 0, 64, 0] + [UInt8](repeating: 0, count: 8),
            [2, 1, 0, 0, 0, 0, 0, 0] + [UInt8](repeating: 0, count: 8),
        ], bytesMax: 128
    ) { bytes in
        switch bytes.withUnsafeBytes({ TCPFrame.decode($0) }) {
        case .frame(.request(let length, _, _, _), let count):
            precondition(count == 40 && length > 0 && length <= TCPConfiguration.readBytesMax, "a request that is none")
            return 1
        case .frame(.response(let status, let length, _), let count):
            precondition(count == 16 && (status == .ok || length == 0), "a response that is none")
            return Outcome(2, UInt64(status.rawValue)).value
        case .incomplete:
            precondition(bytes.count < 40, "no frame is longer than that")
            return 3
        case .broken: return Outcome(4, UInt64(bytes.first ?? 0) & 3).value
        }
    }

    private static let someOffer = LinkOffer(
        linkLayer: 2, gidType: 2, gid: (1, 2), lid: 0, mtuBytes: 4096, readsInitiatedMax: 16, readsServedMax: 16,
        keyTag: 9, wordAddress: 0x1000, wordKey: 5, word: 6,
        fetchEnds: [LaneEnd(number: 17, packetSequenceNumber: 1)],
        serveEnds: [LaneEnd(number: 18, packetSequenceNumber: 2), LaneEnd(number: 19, packetSequenceNumber: 3)])

    static let verbsFrame = FuzzTarget(
        "verbs-frame",
        seeds: [
            VerbsFrame.offer(someOffer), .answer(someOffer), .ready, .declined(2), .revoke(export: 7),
            .stopped(export: 7, readBytes: 1 << 22), .ping, .pong,
        ].map(\.bytes), bytesMax: 512
    ) { bytes in
        guard let frame = bytes.withUnsafeBytes({ VerbsFrame($0) }) else {
            return Outcome(1, UInt64(bytes.count)).value
        }
        precondition(frame.bytes == bytes, "a frame is written otherwise than read")
        return Outcome(2, UInt64(bytes[0]), UInt64(bytes.count)).value
    }

    static let verbsKey = FuzzTarget(
        "verbs-key", seeds: [[UInt8](repeating: 0, count: 40), [UInt8](1...37) + [0, 0, 0]], bytesMax: 64
    ) { bytes in
        guard let key = bytes.withUnsafeBytes({ RemoteKey($0) }) else { return 1 }
        guard let read = VerbsKey(key) else { return Outcome(2, UInt64(bytes.count)).value }
        precondition(bytes.count == VerbsKey.bytes, "a key of another length was read")
        precondition(!read.address.addingReportingOverflow(read.lengthBytes).overflow, "a key beyond all memory")
        return Outcome(3, UInt64(read.lane)).value
    }

    static let localPacket = FuzzTarget(
        "local-packet",
        seeds: [
            LocalPacket.offer(key: RandomNumber(high: 1, low: 2), offset: 0, lengthBytes: 1 << 22),
            .withdrawal(key: RandomNumber(high: 1, low: 2)), .withdrawn(key: RandomNumber(high: 1, low: 2)),
        ].map(\.bytes) + [[1, 65, 66]], bytesMax: 128
    ) { bytes in
        bytes.withUnsafeBytes { raw in
            guard let packet = LocalPacket(raw) else { return Outcome(1, UInt64(bytes.count)).value }
            precondition(packet.bytes == bytes, "a packet is written otherwise than read")
            return Outcome(2, UInt64(bytes[0])).value
        }
    }

    /// Reads the bytes as a message, writes it and reads it again.
    private static func twice<Message: ProtoMessage>(_ type: Message.Type, _ bytes: [UInt8]) -> UInt64 {
        do throws(ProtobufError) {
            let message = try Message(protobuf: bytes)
            let written = message.protobufBytes()
            let again = try Message(protobuf: written)
            precondition(again.protobufBytes() == written, "a message is written otherwise than read")
            var outcome = Outcome(1)
            outcome.mix(size: written.count)
            return outcome.value
        } catch {
            var outcome = Outcome(2)
            outcome.mix(error.description)
            return outcome.value
        }
    }

    private static let someManifest = Wire.Manifest(
        reference: "hf://a/b@main", revision: "01",
        files: [
            Wire.ManifestFile(
                path: "a/b", sizeBytes: 5, publishedDigest: "\(someDigest)", task: "\(someDigest)"),
            Wire.ManifestFile(path: "c", sizeBytes: 8 << 40, task: "\(someDigest)"),
        ])

    /// The first byte chooses the message.
    static let protobuf = FuzzTarget(
        "protobuf",
        seeds: (0..<12).map { [UInt8($0)] + someManifest.protobufBytes() } + [
            [0, 0x0A, 2, 0x0A, 0], [1, 0x0B, 0x0B, 0x0C, 0x0C], [2] + [UInt8](repeating: 0x0B, count: 70),
            [3, 0x08] + [UInt8](repeating: 0xFF, count: 9) + [1],
        ]
    ) { input in
        let bytes = Array(input.dropFirst())
        let outcome =
            switch (input.first ?? 0) % 12 {
            case 0: twice(Wire.HostMessage.self, bytes)
            case 1: twice(Wire.SchedulerMessage.self, bytes)
            case 2: twice(Wire.MemberMessage.self, bytes)
            case 3: twice(Wire.ManagerMessage.self, bytes)
            case 4: twice(Wire.GetRequest.self, bytes)
            case 5: twice(Wire.GetEvent.self, bytes)
            case 6: twice(Wire.PutClusterRequest.self, bytes)
            case 7: twice(Wire.ListMembersRequest.self, bytes)
            case 8: twice(Wire.SetPinnedRequest.self, bytes)
            case 9: twice(Wire.RemoveModelRequest.self, bytes)
            case 10: twice(Wire.StatusResponse.self, bytes)
            default: twice(Wire.Manifest.self, bytes)
            }
        return Outcome(outcome, UInt64((input.first ?? 0) % 12)).value
    }

    static let manifestWire = FuzzTarget(
        "manifest-wire", seeds: [someManifest.protobufBytes()], words: ["sha256:", "gitblob:", "../", "\u{1}\u{0}"]
    ) { bytes in
        guard let wire = try? Wire.Manifest(protobuf: bytes) else { return 1 }
        do throws(Manifest.Fault) {
            let manifest = try Manifest(wire: wire)
            precondition(manifest.pieceCount <= Limits.modelPiecesMax, "more pieces than a model may have")
            precondition(manifest.files.allSatisfy { Manifest.pathFault($0.path) == nil }, "a path that may not be")
            return Outcome(2, UInt64(manifest.files.count)).value
        } catch {
            var outcome = Outcome(3)
            // The end of the sentence: before it stands the text that is found fault with.
            outcome.mix(sentence: String(error.description.suffix(16)))
            return outcome.value
        }
    }
}
