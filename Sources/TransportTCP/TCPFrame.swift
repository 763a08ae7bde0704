import Transport

/// What stands on a data stream, little-endian. Both sides may read from each other, so both kinds go both ways.
///
/// - Request, 40 bytes: kind 1 · 3 zero bytes · length (4) · number (8) · key (16) · offset (8).
/// - Response, 16 bytes, then the bytes: kind 2 · status · 2 zero bytes · length (4) · number (8).
///
/// Responses of a stream come in the order of its requests, and `number` counts requests, so that a response to nothing
/// is noticed. A response that is not `ok` has no bytes.
package enum TCPFrame: Equatable {
    case request(length: UInt32, number: UInt64, key: RandomNumber, offset: UInt64)
    case response(status: Status, length: UInt32, number: UInt64)

    package enum Status: UInt8 {
        case ok = 0
        case accessDenied = 1
        case sourceFailed = 2
    }

    static let requestBytes = 40
    static let responseBytes = 16
    static let requestKind: UInt8 = 1
    static let responseKind: UInt8 = 2

    package enum Decoded: Equatable {
        case frame(TCPFrame, bytes: Int)
        case incomplete
        case broken
    }

    /// Reads the frame at the start of `bytes`; any bytes are answered.
    package static func decode(_ bytes: UnsafeRawBufferPointer) -> Decoded {
        var reader = WireReader(bytes)
        guard let kind = reader.read(UInt8.self) else { return .incomplete }
        guard kind == requestKind || kind == responseKind else { return .broken }
        guard bytes.count >= (kind == requestKind ? requestBytes : responseBytes) else { return .incomplete }
        guard let statusByte = reader.read(UInt8.self), let zero = reader.read(UInt16.self),
            let length = reader.read(UInt32.self), let number = reader.read(UInt64.self), zero == 0
        else { return .broken }
        if kind == responseKind {
            guard let status = Status(rawValue: statusByte), status == .ok || length == 0 else {
                return .broken
            }
            return .frame(.response(status: status, length: length, number: number), bytes: responseBytes)
        }
        guard statusByte == 0, let high = reader.read(UInt64.self), let low = reader.read(UInt64.self),
            let offset = reader.read(UInt64.self), length > 0, length <= TCPConfiguration.readBytesMax
        else { return .broken }
        return .frame(
            .request(length: length, number: number, key: RandomNumber(high: high, low: low), offset: offset),
            bytes: requestBytes)
    }

    /// A response's 16 bytes as two words in memory order.
    static func responseHead(_ status: Status, length: UInt32, number: UInt64) -> (UInt64, UInt64) {
        let first = UInt64(responseKind) | UInt64(status.rawValue) << 8 | UInt64(length) << 32
        return (first.littleEndian, number.littleEndian)
    }

    /// Appends a request's 40 bytes.
    static func appendRequest(
        length: UInt32, number: UInt64, key: RandomNumber, offset: UInt64, to bytes: inout [UInt8]
    ) {
        let first = UInt64(requestKind) | UInt64(length) << 32
        let words = (
            first.littleEndian, number.littleEndian, key.high.littleEndian, key.low.littleEndian,
            offset.littleEndian
        )
        withUnsafeBytes(of: words) { bytes.append(contentsOf: $0) }
    }
}
