import Artifacts

/// A number nobody can guess: a link's nonce, a data stream's ticket, a socket transport's key.
package struct RandomNumber: Hashable, Sendable {
    package let high: UInt64
    package let low: UInt64

    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// From the kernel's generator.
    package static func make() -> RandomNumber {
        var generator = SystemRandomNumberGenerator()
        return RandomNumber(high: generator.next(), low: generator.next())
    }

    /// As a remote key.
    package var key: RemoteKey {
        withUnsafeBytes(of: (high.littleEndian, low.littleEndian)) { RemoteKey($0)! }
    }

    /// From a remote key; nil when it is not one of ours.
    package init?(_ key: RemoteKey) {
        let words: (UInt64, UInt64)? = key.withBytes { bytes in
            var reader = WireReader(bytes)
            guard bytes.count == 16, let high = reader.read(UInt64.self), let low = reader.read(UInt64.self)
            else { return nil }
            return (high, low)
        }
        guard let words else { return nil }
        (high, low) = words
    }
}

/// What two hosts say to each other before a link is up, over any socket: who they are and what belongs together.
///
/// Layout, little-endian: magic (4) · version (2) · kind (1) · detail (1) · number (16) · body length (2) · body.
/// The body of a greeting is incarnation (8) · reads per link (2) · host (1 + n) · cluster (1 + n); other kinds have
/// none.
package struct HandshakeFrame: Equatable {
    package enum Kind: UInt8 {
        /// Connecting side, first bytes: `number` is the link's nonce, `detail` how many data streams are wished.
        case greeting = 1
        /// Accepting side's answer: `number` is the ticket of the data streams, `detail` how many there shall be.
        case welcome = 2
        /// Connecting side, first bytes of a data stream: `number` is the ticket, `detail` which stream.
        case stream = 3
        /// Accepting side: the link is up.
        case ready = 4
        /// Accepting side: no link; `detail` is a `TransportError.Code`.
        case refusal = 5
    }

    package static let magic: UInt32 = 0x4C54_524D  // "MRTL"
    package static let version: UInt16 = 1
    package static let headBytes = 26
    package static let bodyBytesMax = 512
    package static let clusterBytesMax = 255

    package var kind: Kind
    package var detail: UInt8
    package var number: RandomNumber
    package var identity: LinkIdentity?
    package var readsPerLinkMax: UInt16

    package init(
        _ kind: Kind, detail: UInt8 = 0, number: RandomNumber = RandomNumber(high: 0, low: 0),
        identity: LinkIdentity? = nil, readsPerLinkMax: UInt16 = 0
    ) {
        self.kind = kind
        self.detail = detail
        self.number = number
        self.identity = identity
        self.readsPerLinkMax = readsPerLinkMax
    }

    package var bytes: [UInt8] {
        var body = WireWriter()
        if let identity {
            body.write(identity.incarnation)
            body.write(readsPerLinkMax)
            body.write(short: identity.host.name.utf8)
            body.write(short: identity.cluster.utf8)
        }
        var writer = WireWriter(reservingBytes: Self.headBytes + body.bytes.count)
        writer.write(Self.magic)
        writer.write(Self.version)
        writer.write(kind.rawValue)
        writer.write(detail)
        writer.write(number.high)
        writer.write(number.low)
        writer.write(UInt16(body.bytes.count))
        writer.write(bytes: body.bytes)
        return writer.bytes
    }

    package enum Decoded: Equatable {
        /// A frame and how many bytes it took.
        case frame(HandshakeFrame, bytes: Int)
        /// More bytes are needed.
        case incomplete
        /// These bytes are no handshake of ours; why.
        case broken(String)
    }

    /// Reads the frame at the start of `bytes`; any bytes are answered.
    package static func decode(_ bytes: UnsafeRawBufferPointer) -> Decoded {
        var reader = WireReader(bytes)
        guard let magic = reader.read(UInt32.self) else { return .incomplete }
        guard magic == Self.magic else { return .broken("it does not speak Martlet's protocol") }
        guard let version = reader.read(UInt16.self) else { return .incomplete }
        guard version == Self.version else {
            return .broken(
                "it speaks version \(version) of the protocol, this host speaks \(Self.version); upgrade the older"
            )
        }
        guard let kindByte = reader.read(UInt8.self), let detail = reader.read(UInt8.self),
            let high = reader.read(UInt64.self), let low = reader.read(UInt64.self),
            let length = reader.read(UInt16.self)
        else { return .incomplete }
        guard let kind = Kind(rawValue: kindByte), Int(length) <= bodyBytesMax else {
            return .broken("its handshake is malformed")
        }
        guard let body = reader.read(count: Int(length)) else { return .incomplete }
        var frame = HandshakeFrame(kind, detail: detail, number: RandomNumber(high: high, low: low))
        if kind == .greeting || kind == .welcome {
            var fields = WireReader(body)
            guard let incarnation = fields.read(UInt64.self), let reads = fields.read(UInt16.self),
                let host = fields.readShort(), let cluster = fields.readShort(), fields.count == 0,
                let name = HostID(String(decoding: host, as: UTF8.self)),
                let clusterName = String(validating: cluster, as: UTF8.self), reads > 0
            else { return .broken("its identity is malformed") }
            frame.identity = LinkIdentity(host: name, incarnation: incarnation, cluster: clusterName)
            frame.readsPerLinkMax = reads
        } else if length != 0 {
            return .broken("its handshake is malformed")
        }
        return .frame(frame, bytes: headBytes + Int(length))
    }
}
