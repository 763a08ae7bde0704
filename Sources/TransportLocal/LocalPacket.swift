import Transport

/// What the two ends of an up link say, one packet each: kind (1), then little-endian fields.
package enum LocalPacket {
    /// A message of the transport's user.
    case message(UnsafeRawBufferPointer)
    /// "Read this with that key": comes with the descriptor. key (16) · offset (8) · length (8).
    case offer(key: RandomNumber, offset: UInt64, lengthBytes: UInt64)
    /// "Stop reading that and close it." key (16).
    case withdrawal(key: RandomNumber)
    /// "I have closed it." key (16).
    case withdrawn(key: RandomNumber)

    private enum Kind: UInt8 {
        case message = 1
        case offer, withdrawal, withdrawn
    }

    /// The largest packet: a message and its kind.
    static let bytesMax = 1 + LocalConfiguration.messageBytesMax

    package var bytes: [UInt8] {
        switch self {
        case .message(let message):
            var writer = WireWriter(reservingBytes: 1 + message.count)
            writer.write(Kind.message.rawValue)
            writer.write(bytes: message)
            return writer.bytes
        case .offer(let key, let offset, let lengthBytes):
            var writer = Self.head(.offer, key)
            writer.write(offset)
            writer.write(lengthBytes)
            return writer.bytes
        case .withdrawal(let key): return Self.head(.withdrawal, key).bytes
        case .withdrawn(let key): return Self.head(.withdrawn, key).bytes
        }
    }

    /// Reads a packet; nil for bytes that are none.
    package init?(_ bytes: UnsafeRawBufferPointer) {
        var reader = WireReader(bytes)
        guard let kindByte = reader.read(UInt8.self), let kind = Kind(rawValue: kindByte) else { return nil }
        if kind == .message {
            guard let message = reader.read(count: reader.count) else { return nil }
            self = .message(message)
            return
        }
        guard let high = reader.read(UInt64.self), let low = reader.read(UInt64.self) else { return nil }
        let key = RandomNumber(high: high, low: low)
        switch kind {
        case .message: return nil
        case .withdrawal: self = .withdrawal(key: key)
        case .withdrawn: self = .withdrawn(key: key)
        case .offer:
            guard let offset = reader.read(UInt64.self), let length = reader.read(UInt64.self),
                !offset.addingReportingOverflow(length).overflow
            else { return nil }
            self = .offer(key: key, offset: offset, lengthBytes: length)
        }
        guard reader.count == 0 else { return nil }
    }

    private static func head(_ kind: Kind, _ key: RandomNumber) -> WireWriter {
        var writer = WireWriter()
        writer.write(kind.rawValue)
        writer.write(key.high)
        writer.write(key.low)
        return writer
    }
}
