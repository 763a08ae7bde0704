import System

/// An accepted connection that has not said yet who it is.
package final class Arrival {
    package let connection: Connection
    /// Where it comes from.
    package let address: PeerAddress
    /// Until when it has to have become (part of) a link.
    package let deadlineNs: UInt64
    private var received: [UInt8] = []

    package init(_ connection: Connection, address: PeerAddress = .unknown, deadlineNs: UInt64) {
        self.connection = connection
        self.address = address
        self.deadlineNs = deadlineNs
    }

    package var socket: WatchedSocket { connection.socket }

    /// What its first bytes are so far.
    package enum Outcome {
        /// More bytes are needed.
        case incomplete
        /// It ended.
        case gone
        /// It does not speak our protocol, or says more than one frame before it is answered.
        case broken
        /// Its first frame.
        case frame(HandshakeFrame)
    }

    /// One call's worth of receiving.
    package func receive() -> Outcome {
        let most = HandshakeFrame.headBytes + HandshakeFrame.bodyBytesMax
        let room = most - received.count
        let (result, bytes) = withUnsafeTemporaryAllocation(byteCount: max(room, 1), alignment: 1) {
            buffer -> (Connection.Outcome, [UInt8]) in
            let result = connection.receive(into: buffer)
            if case .moved(let count) = result { return (result, Array(buffer[..<count])) }
            return (result, [])
        }
        switch result {
        case .wouldBlock: return .incomplete
        case .ended, .failed: return .gone
        case .moved: received += bytes
        }
        switch received.withUnsafeBytes({ HandshakeFrame.decode($0) }) {
        case .incomplete: return received.count >= most ? .broken : .incomplete
        case .broken: return .broken
        case .frame(let frame, let count): return count == received.count ? .frame(frame) : .broken
        }
    }

    /// Tells why there is no link. Best effort: a connection this young has room for it.
    package func decline(_ reason: TransportError.Code) {
        HandshakeFrame(.refusal, detail: reason.rawValue).bytes.withUnsafeBytes {
            _ = connection.send($0)
        }
    }
}

/// A socket that listens where a configuration says, and the address others reach it at.
package struct ListeningSocket: ~Copyable {
    private let descriptor: FileDescriptor
    package let address: TransportAddress

    /// Has a queue watch it; from then on it is the caller's.
    package consuming func watched(by queue: borrowing EpollQueue, endpoint: LinkID) throws(TransportError)
        -> WatchedSocket
    {
        do throws(Errno) {
            try queue.add(descriptor.raw, .reading, token: endpoint.token)
        } catch {
            throw TransportError(.system, "cannot listen on \(address.location): \(error)")
        }
        return WatchedSocket(descriptor, endpoint: endpoint, interest: .reading)
    }

    /// Listens on a numeric `host:port`; port 0 takes a free one.
    ///
    /// - Throws: `.badAddress` for an address that is not numeric, `.addressInUse` when the port is taken.
    package init(_ kind: TransportKind, on listen: String) throws(TransportError) {
        guard let place = SocketAddress(hostAndPort: listen), let colon = listen.lastIndex(of: ":") else {
            throw TransportError(
                .badAddress, "cannot listen on \(listen): give a numeric host:port, such as 0.0.0.0:7701")
        }
        do throws(Errno) {
            let socket = try Sockets.listen(on: place, kind: .stream, backlog: 256)
            let port = try Sockets.port(of: socket.raw)
            address = TransportAddress(kind: kind, location: "\(listen[..<colon]):\(port)")
            descriptor = socket
        } catch {
            let remedy =
                error.isAddressInUse ? "another process listens there; choose another port or end it: " : ""
            throw TransportError(
                error.isAddressInUse ? .addressInUse : .system, "cannot listen on \(listen): \(remedy)\(error)")
        }
    }
}

extension TransportError {
    /// What a failed call on a connection means for its link.
    package static func connection(_ error: Errno, _ what: String) -> TransportError {
        if error.isConnectionRefused { return TransportError(.refused, "\(what): nobody listens there: \(error)") }
        if error.isConnectionReset { return TransportError(.peerClosed, "\(what): the far side is gone: \(error)") }
        if error.isTimedOut { return TransportError(.timedOut, "\(what): no answer: \(error)") }
        return TransportError(.system, "\(what): \(error)")
    }
}
