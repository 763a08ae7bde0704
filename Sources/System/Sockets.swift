import CLinux

/// What a call on a non-blocking socket came to.
public enum SocketTransfer: Sendable, Equatable {
    /// So many bytes moved, at least one.
    case moved(Int)
    /// Nothing can move now.
    case wouldBlock
    /// The far side sends no more.
    case ended
    /// The call failed.
    case failed(Errno)
}

/// Calls on sockets that never block. Descriptors are lent; every socket opened here is closed on exec.
public enum Sockets {
    /// The kind of connection.
    public enum Kind: Sendable {
        /// A byte stream.
        case stream
        /// Packets in order, each whole.
        case packets
        var type: CInt {
            switch self {
            case .stream: CInt(SOCK_STREAM.rawValue)
            case .packets: CInt(SOCK_SEQPACKET.rawValue)
            }
        }
    }

    /// Opens a socket that listens.
    public static func listen(on address: SocketAddress, kind: Kind, backlog: Int) throws(Errno)
        -> FileDescriptor
    {
        let socket = try FileDescriptor(
            checked(martlet_socket_open(address.family, kind.type), "socket"), "socket")
        var storage = address.storage
        _ = try checked(
            martlet_socket_listen(socket.raw, &storage, address.length, CInt(backlog)), "bind/listen")
        return socket
    }

    /// Takes a waiting connection; nil when there is none (or it has gone already).
    public static func accept(_ listener: CInt) throws(Errno) -> FileDescriptor? {
        let result = martlet_socket_accept(listener)
        if result >= 0 { return FileDescriptor(owning: result) }
        switch -result {
        case EAGAIN, ECONNABORTED, EINTR, EPROTO: return nil
        default: throw Errno(-result, "accept4")
        }
    }

    /// Opens a socket and begins to connect; writable (or failed, see `pendingError`) when that has ended.
    public static func connect(to address: SocketAddress, kind: Kind) throws(Errno) -> FileDescriptor {
        let socket = try FileDescriptor(
            checked(martlet_socket_open(address.family, kind.type), "socket"), "socket")
        var storage = address.storage
        let result = martlet_socket_connect(socket.raw, &storage, address.length)
        guard result >= 0 || -result == EINPROGRESS else { throw Errno(-result, "connect") }
        return socket
    }

    /// What came of looking at the next byte.
    public enum Peek: Sendable, Equatable {
        /// The byte, which stays where it is.
        case success(UInt8)
        /// There is none.
        case failure(SocketTransfer)
    }

    /// Looks at the next byte and leaves it.
    public static func peek(_ socket: CInt) -> Peek {
        var byte: UInt8 = 0
        switch martlet_socket_peek(socket, &byte) {
        case 1: return .success(byte)
        case 0: return .failure(.ended)
        case let result where -result == EAGAIN: return .failure(.wouldBlock)
        case let result: return .failure(.failed(Errno(CInt(-result), "recv")))
        }
    }

    /// The port a listening TCP socket got.
    public static func port(of socket: CInt) throws(Errno) -> UInt16 {
        UInt16(try checked(martlet_socket_port(socket), "getsockname"))
    }

    /// Where the far side of a TCP connection is; nil when the connection has gone already.
    public static func peer(of socket: CInt) -> PeerAddress? {
        var bytes: (UInt64, UInt64) = (0, 0)
        let result = withUnsafeMutableBytes(of: &bytes) {
            martlet_socket_peer_address(socket, $0.assumingMemoryBound(to: UInt8.self).baseAddress!)
        }
        return result < 0 ? nil : PeerAddress(high: UInt64(bigEndian: bytes.0), low: UInt64(bigEndian: bytes.1))
    }

    /// Whether both ends are on this machine, by their addresses.
    public static func isLoopback(_ socket: CInt) -> Bool { martlet_socket_is_loopback(socket) == 1 }

    /// How a connect ended, or what broke the connection; nil when nothing did.
    public static func pendingError(of socket: CInt) -> Errno? {
        let code = martlet_socket_pending_error(socket)
        return code == 0 ? nil : Errno(code, "connect")
    }

    /// The user that runs the far side of a Unix-domain socket.
    public static func peerUser(of socket: CInt) throws(Errno) -> UInt32 {
        let result = martlet_socket_peer_uid(socket)
        guard result >= 0 else { throw Errno(Int32(-result), "getsockopt(SO_PEERCRED)") }
        return UInt32(result)
    }

    /// The user this process runs as.
    public static var ownUser: UInt32 { geteuid() }

    /// Sets what every TCP connection of ours has: no delay, keepalive (a dead host is noticed within 20 s), the limit
    /// of unacknowledged bytes' age, and buffer sizes (0: the kernel tunes them).
    public static func tune(
        _ socket: CInt, unacknowledgedLimitMs: UInt32, receiveBytes: Int, sendBytes: Int
    ) throws(Errno) {
        _ = try checked(
            martlet_socket_tune(socket, unacknowledgedLimitMs, CInt(receiveBytes), CInt(sendBytes)),
            "setsockopt")
    }

    /// Lets the coming close throw away unsent bytes and reset the connection.
    public static func closeAbruptly(_ socket: CInt) { _ = martlet_socket_close_abruptly(socket) }

    /// Bytes given to the kernel that the far side's kernel has not acknowledged; nil when the connection is gone.
    public static func unacknowledgedBytes(of socket: CInt) -> Int? {
        let result = martlet_socket_unacknowledged(socket)
        return result < 0 ? nil : Int(result)
    }

    /// Receives into one place, and what is beyond it into another.
    public static func receive(
        _ socket: CInt, into first: UnsafeMutableRawBufferPointer,
        then second: UnsafeMutableRawBufferPointer? = nil
    ) -> SocketTransfer {
        let result = martlet_socket_receive(
            socket, first.baseAddress!, first.count, second?.baseAddress, second?.count ?? 0)
        return result == 0 ? .ended : transfer(result, "recv")
    }

    /// Sends up to three pieces of memory in one call; empty ones are skipped.
    public static func send(
        _ socket: CInt, _ first: UnsafeRawBufferPointer, _ second: UnsafeRawBufferPointer? = nil,
        _ third: UnsafeRawBufferPointer? = nil, moreFollows: Bool = false
    ) -> SocketTransfer {
        var parts = (iovec(), iovec(), iovec())
        return withUnsafeMutableBytes(of: &parts) { space in
            let list = space.assumingMemoryBound(to: iovec.self)
            var count = 0
            func add(_ part: UnsafeRawBufferPointer?) {
                guard let part, let base = part.baseAddress, part.count > 0 else { return }
                list[count] = iovec(iov_base: UnsafeMutableRawPointer(mutating: base), iov_len: part.count)
                count += 1
            }
            add(first)
            add(second)
            add(third)
            return transfer(
                martlet_socket_send(socket, list.baseAddress!, count, moreFollows ? 1 : 0), "sendmsg")
        }
    }

    /// Sends from a file's page cache: sendfile(2). `.ended` when the file has no byte at the offset.
    public static func sendFile(_ socket: CInt, from file: CInt, offset: UInt64, lengthBytes: Int)
        -> SocketTransfer
    {
        let result = martlet_socket_send_file(socket, file, offset, lengthBytes)
        return result == 0 ? .ended : transfer(result, "sendfile")
    }

    /// Sends one packet whole, with a descriptor if given (the far side gets a duplicate).
    public static func sendPacket(
        _ socket: CInt, _ bytes: UnsafeRawBufferPointer, passing descriptor: CInt? = nil
    )
        -> SocketTransfer
    {
        transfer(
            martlet_socket_send_packet(socket, bytes.baseAddress!, bytes.count, descriptor ?? -1), "sendmsg")
    }

    /// Receives one packet whole and the descriptor passed with it (the caller owns it); a packet that does not fit
    /// fails with `EMSGSIZE`.
    public static func receivePacket(
        _ socket: CInt, into bytes: UnsafeMutableRawBufferPointer, passed: inout CInt
    )
        -> SocketTransfer
    {
        let result = martlet_socket_receive_packet(socket, bytes.baseAddress!, bytes.count, &passed)
        return result == 0 ? .ended : transfer(result, "recvmsg")
    }

    /// Opens the file behind a descriptor once more, for reading alone.
    public static func reopenReadOnly(_ descriptor: CInt) throws(Errno) -> FileDescriptor {
        FileDescriptor(owning: try checked(martlet_reopen_read_only(descriptor), "open(/proc/self/fd)"))
    }

    private static func transfer(_ result: Int, _ call: String) -> SocketTransfer {
        if result >= 0 { return .moved(result) }
        let code = Int32(-result)
        return code == EAGAIN || code == EINTR || code == ENOBUFS ? .wouldBlock : .failed(Errno(code, call))
    }

    static func checked(_ result: CInt, _ call: String) throws(Errno) -> CInt {
        guard result >= 0 else { throw Errno(-result, call) }
        return result
    }
}

extension Errno {
    /// Nobody listens there, or no host is there.
    public var isConnectionRefused: Bool {
        [ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, EHOSTDOWN, ENETDOWN, ENOENT].contains(code)
    }
    /// The far side is gone.
    public var isConnectionReset: Bool { [ECONNRESET, EPIPE, ENOTCONN, ECONNABORTED].contains(code) }
    /// The kernel gave up waiting for the far side.
    public var isTimedOut: Bool { code == ETIMEDOUT }
    /// The process or the machine has no room for another descriptor.
    public var isOutOfDescriptors: Bool { [EMFILE, ENFILE, ENOBUFS, ENOMEM].contains(code) }
    /// Somebody else listens there.
    public var isAddressInUse: Bool { code == EADDRINUSE }
    /// The memory given cannot be read: a mapped file has shrunk.
    public var isBadMemory: Bool { code == EFAULT }
    /// A packet was larger than the place for it.
    public var isTooLarge: Bool { code == EMSGSIZE }
    /// Non-blocking connect to a Unix-domain socket whose queue is full.
    public var isTryAgain: Bool { code == EAGAIN }
}
