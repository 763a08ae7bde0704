import System
import TLS

/// A watched connection whose bytes may be secured.
///
/// One that connects is secured from its first byte on where there is a `LinkSecurity`. One that was accepted shows by its
/// first byte whether the far side begins with TLS; whether it has to is the transport's decision.
package final class Connection {
    /// What a call came to.
    package enum Outcome {
        /// So many bytes moved, at least one.
        case moved(Int)
        /// Nothing can move now.
        case wouldBlock
        /// The far side sends no more.
        case ended
        /// The call failed.
        case failed(Failure)
    }

    /// Why a call failed.
    package enum Failure {
        /// What the kernel says.
        case socket(Errno)
        /// The far side has not proved who it is, or cannot be understood.
        case security(TLSError)
    }

    private enum Protection {
        /// Accepted, and nothing has come yet.
        case undecided(TLSContext)
        case none
        case tls(TLSSession)
    }

    package let socket: WatchedSocket
    private var protection: Protection

    /// The content type of a TLS handshake's first record (RFC 8446, 5.1); no frame of ours begins so.
    private static let handshakeRecord: UInt8 = 22

    /// Takes a connection; secured, where there is something to secure it with.
    package init(_ socket: WatchedSocket, side: TLSSession.Side, security: LinkSecurity?) throws(TransportError) {
        self.socket = socket
        guard let security else {
            protection = .none
            return
        }
        do throws(TLSError) {
            let context = try security.context()
            protection =
                side == .server ? .undecided(context) : .tls(try Self.session(context, socket, .client))
        } catch {
            throw TransportError(.limit, "a connection cannot be secured: \(error)")
        }
    }

    private static func session(_ context: TLSContext, _ socket: WatchedSocket, _ side: TLSSession.Side)
        throws(TLSError) -> TLSSession
    {
        try TLSSession(context, socket: socket.descriptor.raw, side: side)
    }

    /// What the far side has proved of itself; nil when nothing is secured (yet).
    package var proof: LinkProof? {
        guard case .tls(let session) = protection, session.isSecured else { return nil }
        return LinkProof(names: session.peerNames, serial: session.peerSerial)
    }

    /// Whether the far side has still to prove who it is, so that nothing can be sent.
    package var isSecuring: Bool {
        if case .tls(let session) = protection { !session.isSecured } else { false }
    }

    /// What to wait for when something was to be sent and was not.
    package var interestToSend: EpollQueue.Interest {
        if case .tls(let session) = protection, !session.isWaitingToWrite, !session.isSecured { return [.reading] }
        return [.reading, .writing]
    }

    /// Whether bytes wait here that no poll tells of.
    package var hasPending: Bool {
        if case .tls(let session) = protection { session.pendingBytes > 0 } else { false }
    }

    /// One call's worth of sending. After a wait the next call begins with the same bytes.
    package func send(_ bytes: UnsafeRawBufferPointer) -> Outcome {
        switch protection {
        case .tls(let session): Outcome(session.send(bytes))
        case .none, .undecided: Outcome(Sockets.send(socket.descriptor.raw, bytes))
        }
    }

    /// One call's worth of receiving, into room for at least a byte.
    package func receive(into room: UnsafeMutableRawBufferPointer) -> Outcome {
        if case .undecided(let context) = protection {
            switch Sockets.peek(socket.descriptor.raw) {
            case .failure(let outcome): return Outcome(outcome)
            case .success(Self.handshakeRecord):
                do throws(TLSError) {
                    protection = .tls(try Self.session(context, socket, .server))
                } catch {
                    return .failed(.security(error))
                }
            case .success: protection = .none
            }
        }
        guard case .tls(let session) = protection else {
            return Outcome(Sockets.receive(socket.descriptor.raw, into: room))
        }
        return Outcome(session.receive(into: room))
    }
}

extension Connection.Outcome {
    fileprivate init(_ transfer: SocketTransfer) {
        switch transfer {
        case .moved(let count): self = .moved(count)
        case .wouldBlock: self = .wouldBlock
        case .ended: self = .ended
        case .failed(let error): self = .failed(.socket(error))
        }
    }

    fileprivate init(_ outcome: TLSSession.Outcome) {
        switch outcome {
        case .moved(let count): self = .moved(count)
        case .wantsToRead, .wantsToWrite: self = .wouldBlock
        case .ended: self = .ended
        case .failed(let error): self = .failed(.security(error))
        }
    }
}

extension TransportError {
    /// What a failed call on a connection means for its link.
    package static func connection(_ failure: Connection.Failure, _ what: String) -> TransportError {
        switch failure {
        case .socket(let error): connection(error, what)
        case .security(let error): TransportError(.refused, "\(what): \(error)")
        }
    }
}
