import System

/// A connection and what epoll watches it for.
package final class WatchedSocket {
    package let descriptor: FileDescriptor
    /// The place in the transport's table of endpoints.
    package let endpoint: LinkID
    package var interest: EpollQueue.Interest

    package init(_ descriptor: consuming FileDescriptor, endpoint: LinkID, interest: EpollQueue.Interest) {
        self.descriptor = descriptor
        self.endpoint = endpoint
        self.interest = interest
    }
}

/// A link's connection for everything but pieces: the handshake, then messages (length (4), bytes) in both directions.
///
/// Only buffers: whoever owns the socket says when to send and receive.
package final class ControlStream {
    package let connection: Connection
    /// Received and not parsed yet: `parsed ..< filled`. A whole message always fits.
    private let inbox: UnsafeMutableRawBufferPointer
    private var parsed = 0
    private var filled = 0
    /// To be sent: `sent...`.
    private var outbox: [UInt8] = []
    private var sent = 0
    private let messageBytesMax: Int
    /// When bytes last left while some waited; 0 when that is not known yet.
    package var sendStampNs: UInt64 = 0

    package static let lengthBytes = 4

    package init(_ connection: Connection, messageBytesMax: Int) {
        self.connection = connection
        self.messageBytesMax = messageBytesMax
        inbox = .allocate(byteCount: Self.lengthBytes + messageBytesMax, alignment: 16)
        outbox.reserveCapacity(4096)
    }

    package var socket: WatchedSocket { connection.socket }

    // MARK: Sending

    package var queuedBytes: Int { outbox.count - sent }

    package func queue(_ bytes: [UInt8]) { outbox.append(contentsOf: bytes) }

    /// Queues a message; `kind`, where there is one, stands before its bytes and counts as one of them.
    package func queue(message: UnsafeRawBufferPointer, kind: UInt8? = nil) {
        if queuedBytes == 0 { sendStampNs = 0 }
        let length = UInt32(message.count + (kind == nil ? 0 : 1))
        withUnsafeBytes(of: length.littleEndian) { outbox.append(contentsOf: $0) }
        if let kind { outbox.append(kind) }
        outbox.append(contentsOf: message)
    }

    /// One call's worth of sending.
    package func send() -> Connection.Outcome {
        let result = outbox.withUnsafeBytes { connection.send(UnsafeRawBufferPointer(rebasing: $0[sent...])) }
        if case .moved(let count) = result { sent += count }
        return result
    }

    /// Throws away what was sent, keeping the room.
    package func compact() {
        if queuedBytes == 0 {
            outbox.removeAll(keepingCapacity: true)
            sent = 0
        } else if sent > outbox.count / 2 {
            outbox.removeFirst(sent)
            sent = 0
        }
    }

    // MARK: Receiving

    /// One call's worth of receiving; nil when there is no room before messages were taken out.
    package func receive() -> Connection.Outcome? {
        if parsed > 0 {
            inbox.baseAddress!.copyMemory(from: inbox.baseAddress! + parsed, byteCount: filled - parsed)
            filled -= parsed
            parsed = 0
        }
        let room = UnsafeMutableRawBufferPointer(rebasing: inbox[filled...])
        guard room.count > 0 else { return nil }
        let result = connection.receive(into: room)
        if case .moved(let count) = result { filled += count }
        return result
    }

    /// What was received and not parsed.
    package var unparsed: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: inbox[parsed..<filled]) }

    /// So many bytes of `unparsed` are dealt with.
    package func skip(_ count: Int) {
        precondition(count <= filled - parsed, "more is skipped than was received")
        parsed += count
    }

    /// The next whole message, lent until the next call; nil when more bytes are needed.
    package func nextMessage() throws(TransportError) -> UnsafeRawBufferPointer? {
        var reader = WireReader(unparsed)
        guard let length = reader.read(UInt32.self) else { return nil }
        guard length <= messageBytesMax else {
            throw TransportError(
                .protocolBroken, "the far side announced a message of \(length) bytes; the link was closed")
        }
        guard let message = reader.read(count: Int(length)) else { return nil }
        parsed += Self.lengthBytes + Int(length)
        return message
    }

    deinit { inbox.deallocate() }
}

extension ControlStream {
    /// Queues a message of a kind byte and some numbers.
    package func queue(_ kind: UInt8, _ first: UInt64) {
        withUnsafeBytes(of: first.littleEndian) { queue(message: $0, kind: kind) }
    }

    /// Queues a message of a kind byte and two numbers.
    package func queue(_ kind: UInt8, _ first: UInt64, _ second: UInt64) {
        withUnsafeBytes(of: (first.littleEndian, second.littleEndian)) { queue(message: $0, kind: kind) }
    }
}
