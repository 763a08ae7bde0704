import System
import Transport

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
    let socket: WatchedSocket
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

    init(socket: WatchedSocket, index: Int, isConnecting: Bool) {
        self.socket = socket
        self.index = index
        self.isConnecting = isConnecting
        inbox = .allocate(byteCount: Self.inboxBytes, alignment: 16)
        requests.reserveCapacity(64 * TCPFrame.requestBytes)
    }

    var hasToSend: Bool { requestsSent < requests.count || !serving.isEmpty }

    deinit { inbox.deallocate() }
}
