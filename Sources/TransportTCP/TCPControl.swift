import System
import Transport

/// Messages, and the handshake's answers before them.
extension TCPTransport {
    /// A control connection is ready; how many happenings were handed over.
    func serveControl(
        _ link: TCPLink, _ interest: EpollQueue.Interest, _ nowNs: UInt64, limit: Int,
        into events: inout some TransportEvents
    ) -> Int {
        if link.state == .connecting {
            guard !interest.isDisjoint(with: [.writing, .broken]) else { return 0 }
            attempt(link) { () throws(TransportError) in try greet(link, nowNs) }
            return 0
        }
        // A handshake of TLS waits for the far side's bytes in order to send ours.
        if interest.contains(.writing) || link.control.connection.isSecuring {
            attempt(link) { () throws(TransportError) in try flushControl(link, nowNs) }
        }
        guard links[link.id] != nil, !interest.isDisjoint(with: [.reading, .broken]) else { return 0 }
        return receiveMessages(link, nowNs, limit: limit, parseOnly: false, into: &events)
    }

    /// Receives and hands over messages, at most `limit`; what is left of them is resumed in the next turn.
    func receiveMessages(
        _ link: TCPLink, _ nowNs: UInt64, limit: Int, parseOnly: Bool, into events: inout some TransportEvents
    ) -> Int {
        var handed = 0
        do throws(TransportError) {
            if !parseOnly || link.control.connection.hasPending { try receiveControl(link) }
            try receiveAnswers(link)
            guard link.state == .up else {
                if link.inbound, !link.control.unparsed.isEmpty {
                    throw TransportError(.protocolBroken, "\(link.name) spoke before the link was up")
                }
                return handed
            }
            // In order: what waits (such as this link's linkUp) goes first.
            if handed < limit { handed += happenings.deliver(limit: limit - handed, into: &events) }
            while handed < limit, happenings.isEmpty, let message = try link.control.nextMessage() {
                counters.messagesReceived += 1
                handed += 1
                events.message(message, on: link.id)
            }
            if handed >= limit || !happenings.isEmpty || link.control.connection.hasPending { markResumable(link) }
        } catch {
            takeDown(link, error)
        }
        return handed
    }

    /// One call's worth of bytes into the inbox.
    private func receiveControl(_ link: TCPLink) throws(TransportError) {
        counters.syscalls += 1
        switch link.control.receive() {
        case nil, .moved: return
        case .wouldBlock: return
        case .ended: throw TransportError(.peerClosed, "\(link.name) closed the link")
        case .failed(let error): throw TransportError.connection(error, "the link to \(link.name) broke")
        }
    }

    /// Sends what waits, as far as the kernel takes it.
    func flushControl(_ link: TCPLink, _ nowNs: UInt64) throws(TransportError) {
        let control = link.control
        guard link.state != .connecting else { return }
        while control.queuedBytes > 0 {
            counters.syscalls += 1
            switch control.send() {
            case .moved:
                control.sendStampNs = nowNs
                continue
            case .failed(let error):
                throw TransportError.connection(error, "the link to \(link.name) broke")
            case .wouldBlock, .ended:
                break
            }
            if control.sendStampNs == 0 { control.sendStampNs = nowNs }
            scheduleScan(atNs: nowNs + scanIntervalNs)
            control.compact()
            return setInterest(control.socket, control.connection.interestToSend)
        }
        control.compact()
        setInterest(control.socket, [.reading])
    }

    /// Changes what a socket is watched for, when it differs.
    func setInterest(_ socket: WatchedSocket, _ interest: EpollQueue.Interest) {
        guard socket.interest != interest else { return }
        socket.interest = interest
        counters.syscalls += 1
        do throws(Errno) {
            try queue.change(socket.descriptor.raw, interest, token: socket.endpoint.token)
        } catch {
            preconditionFailure("a socket of ours cannot be watched: \(error)")
        }
    }
}
