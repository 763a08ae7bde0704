import System
import Transport

/// A connection and what epoll watches it for.
final class TCPSocket {
    let descriptor: FileDescriptor
    /// The place in the table of endpoints.
    let endpoint: LinkID
    var interest: EpollQueue.Interest

    init(_ descriptor: consuming FileDescriptor, endpoint: LinkID, interest: EpollQueue.Interest) {
        self.descriptor = descriptor
        self.endpoint = endpoint
        self.interest = interest
    }
}

/// An accepted connection that has not said yet which link it belongs to.
final class TCPHandshake {
    let socket: TCPSocket
    let deadlineNs: UInt64
    var received: [UInt8] = []

    init(socket: TCPSocket, deadlineNs: UInt64) {
        self.socket = socket
        self.deadlineNs = deadlineNs
    }
}

/// A link's first connection: the handshake, then messages (length (4), bytes) in both directions.
final class TCPControlStream {
    let socket: TCPSocket
    /// Received and not parsed yet: `parsed ..< filled`. A whole message always fits.
    let inbox: UnsafeMutableRawBufferPointer
    var parsed = 0
    var filled = 0
    /// To be sent: `sent...`.
    var outbox: [UInt8] = []
    var sent = 0
    /// When bytes last left while some waited; 0 when that is not known yet.
    var sendStampNs: UInt64 = 0

    static let lengthBytes = 4

    init(socket: TCPSocket) {
        self.socket = socket
        inbox = .allocate(byteCount: Self.lengthBytes + TCPConfiguration.messageBytesMax, alignment: 16)
        outbox.reserveCapacity(4096)
    }

    var queuedBytes: Int { outbox.count - sent }

    func queue(_ bytes: [UInt8]) { outbox.append(contentsOf: bytes) }

    func queue(message: UnsafeRawBufferPointer) {
        if queuedBytes == 0 { sendStampNs = 0 }
        withUnsafeBytes(of: UInt32(message.count).littleEndian) { outbox.append(contentsOf: $0) }
        outbox.append(contentsOf: message)
    }

    /// What was received and not parsed.
    var unparsed: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: inbox[parsed..<filled]) }

    /// The next whole message, lent until the next call; nil when more bytes are needed.
    func nextMessage() throws(TransportError) -> UnsafeRawBufferPointer? {
        var reader = WireReader(unparsed)
        guard let length = reader.read(UInt32.self) else { return nil }
        guard length <= TCPConfiguration.messageBytesMax else {
            throw TransportError(
                .protocolBroken, "the far side announced a message of \(length) bytes; the link was closed")
        }
        guard let message = reader.read(count: Int(length)) else { return nil }
        parsed += Self.lengthBytes + Int(length)
        return message
    }

    /// Makes room behind what was received; returns the room.
    func room() -> UnsafeMutableRawBufferPointer {
        if parsed > 0 {
            inbox.baseAddress!.copyMemory(from: inbox.baseAddress! + parsed, byteCount: filled - parsed)
            filled -= parsed
            parsed = 0
        }
        return UnsafeMutableRawBufferPointer(rebasing: inbox[filled...])
    }

    deinit { inbox.deallocate() }
}

/// A read we posted and wait for.
struct TCPPostedRead {
    let target: UnsafeMutableRawPointer
    let lengthBytes: UInt32
    let number: UInt64
    let tag: UInt64
}

/// A read of the far side that we are answering.
struct TCPServing {
    let export: TCPExport?
    /// Response head, 16 bytes in memory order.
    let head: (UInt64, UInt64)
    var headSent = 0
    /// Where the next byte is, relative to the exported range.
    var offset: UInt64
    var left: UInt64

    var isBegun: Bool { headSent > 0 }
    var isDone: Bool { headSent == TCPFrame.responseBytes && left == 0 }
}

/// One of a link's connections for bytes of pieces: requests and responses in both directions.
final class TCPDataStream {
    let socket: TCPSocket
    /// Which of the link's data streams.
    let index: Int
    /// Still connecting (outbound only).
    var isConnecting: Bool

    /// Frames are collected here; payload goes past it, straight to its place.
    let inbox: UnsafeMutableRawBufferPointer
    var filled = 0
    /// Where the rest of the payload of the first posted read goes, and how much is missing.
    var payloadTarget: UnsafeMutableRawPointer?
    var payloadLeft = 0
    var posted = Fifo<TCPPostedRead>(reserving: 64)
    var postedBytes: UInt64 = 0
    var nextNumber: UInt64 = 0
    /// When a byte last arrived while reads were posted; 0 when that is not known yet.
    var receiveStampNs: UInt64 = 0

    /// Requests to be sent: `requestsSent...`.
    var requests: [UInt8] = []
    var requestsSent = 0
    var serving = Fifo<TCPServing>(reserving: 64)
    /// All bytes given to the kernel so far.
    var sentBytes: UInt64 = 0
    /// When bytes last left while some waited; 0 when that is not known yet.
    var sendStampNs: UInt64 = 0

    /// Twelve requests or so in one call; what of a payload gets in here is copied on.
    static let inboxBytes = 512

    init(socket: TCPSocket, index: Int, isConnecting: Bool) {
        self.socket = socket
        self.index = index
        self.isConnecting = isConnecting
        inbox = .allocate(byteCount: Self.inboxBytes, alignment: 16)
        requests.reserveCapacity(64 * TCPFrame.requestBytes)
    }

    var hasToSend: Bool { requestsSent < requests.count || !serving.isEmpty }

    deinit { inbox.deallocate() }
}
