import CTLS

/// TLS over one connected socket that never blocks.
///
/// The handshake goes on by itself whenever something is sent or received. Threading: one owner at a time.
public final class TLSSession {
    /// Which end of the connection this is.
    public enum Side: Sendable {
        /// It connected.
        case client
        /// It accepted.
        case server
    }

    /// What a call came to.
    public enum Outcome: Sendable, Equatable {
        /// So many bytes moved, at least one.
        case moved(Int)
        /// More bytes of the far side are needed first.
        case wantsToRead
        /// The socket takes no more now.
        case wantsToWrite
        /// The far side sends no more.
        case ended
        /// It is of no use any more.
        case failed(TLSError)
    }

    private let handle: OpaquePointer
    /// Whether the far side has proved who it is: before that nothing can be sent or received.
    public private(set) var isSecured = false
    /// How it ended: it stays so, while OpenSSL forgets.
    private var end: Outcome?
    /// The socket has to become writable before anything goes on.
    public private(set) var isWaitingToWrite = false

    /// The most bytes of a name in a certificate.
    public static let nameBytesMax = 1024
    /// The most names that are looked at.
    public static let namesMax = 8

    /// Begins a session; nothing is sent yet. The socket is lent and must outlive the session.
    public init(_ context: TLSContext, socket: CInt, side: Side) throws(TLSError) {
        guard let made = martlet_tls_session_new(context.handle, socket, side == .server ? 1 : 0) else {
            throw TLSError("no memory for TLS")
        }
        handle = made
    }

    deinit { martlet_tls_session_free(handle) }

    /// Takes the handshake as far as it goes; `.moved` once it is over.
    public func handshake() -> Outcome {
        if isSecured { return .moved(1) }
        let result = Int(martlet_tls_handshake(handle))
        if result > 0 { isSecured = true }
        return outcome(result)
    }

    /// Receives at most what there is room for (at least a byte).
    public func receive(into room: UnsafeMutableRawBufferPointer) -> Outcome {
        guard let base = room.baseAddress, room.count > 0 else {
            preconditionFailure("nothing can be received into no room")
        }
        if !isSecured {
            let outcome = handshake()
            guard isSecured else { return outcome }
        }
        return outcome(martlet_tls_read(handle, base, room.count))
    }

    /// Sends as much as goes (of at least a byte). After a wait the next call begins with the same bytes.
    public func send(_ bytes: UnsafeRawBufferPointer) -> Outcome {
        guard let base = bytes.baseAddress, bytes.count > 0 else { preconditionFailure("nothing is to be sent") }
        if !isSecured {
            let outcome = handshake()
            guard isSecured else { return outcome }
        }
        return outcome(martlet_tls_write(handle, base, bytes.count))
    }

    /// Bytes that have left the socket and wait here: no poll tells of them.
    public var pendingBytes: Int { martlet_tls_pending(handle) }

    /// The URIs in the far side's certificate, at most `namesMax`; none before it is secured. Names that are too long or no
    /// text are left out.
    public var peerNames: [String] {
        guard isSecured else { return [] }
        var names: [String] = []
        var room = [CChar](repeating: 0, count: Self.nameBytesMax)
        for index in 0..<UInt32(Self.namesMax) {
            let count = martlet_tls_peer_uri(handle, index, &room, room.count)
            if count == 0 { break }
            if count > 0 { names.append(text(room)) }
        }
        return names
    }

    /// The serial number of the far side's certificate, in lowercase hexadecimal; empty before it is secured.
    public var peerSerial: String {
        guard isSecured else { return "" }
        var bytes = [UInt8](repeating: 0, count: 64)
        let count = martlet_tls_peer_serial(handle, &bytes, bytes.count)
        let digits = Array("0123456789abcdef".utf8)
        return String(
            decoding: bytes[..<count].flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }

    private func outcome(_ result: Int) -> Outcome {
        if let end { return end }
        let outcome = translated(result)
        switch outcome {
        case .ended, .failed: end = outcome
        case .moved, .wantsToRead, .wantsToWrite: break
        }
        return outcome
    }

    private func translated(_ result: Int) -> Outcome {
        isWaitingToWrite = result == Int(MARTLET_TLS_WANTS_WRITE)
        switch result {
        case 1...: return .moved(result)
        case Int(MARTLET_TLS_WANTS_READ): return .wantsToRead
        case Int(MARTLET_TLS_WANTS_WRITE): return .wantsToWrite
        case Int(MARTLET_TLS_ENDED): return .ended
        default:
            var error = [CChar](repeating: 0, count: Int(MARTLET_TLS_ERROR_BYTES))
            martlet_tls_error(handle, &error)
            return .failed(TLSError(text(error)))
        }
    }
}
