import System
import Transport

/// Messages, and what the two ends of a link say to each other, on its control stream.
extension VerbsTransport {
    /// A control connection is ready; how many happenings were handed over.
    func serveControl(
        _ link: VerbsLink, _ interest: EpollQueue.Interest, limit: Int, into events: inout some TransportEvents
    ) -> Int {
        guard link.state != .draining else { return 0 }
        if link.state == .connecting {
            guard !interest.isDisjoint(with: [.writing, .broken]) else { return 0 }
            attempt(link) { () throws(TransportError) in try greet(link) }
            return 0
        }
        // A handshake of TLS waits for the far side's bytes in order to send ours.
        if interest.contains(.writing) || link.control?.connection.isSecuring == true {
            attempt(link) { () throws(TransportError) in try flushControl(link) }
        }
        guard links[link.id] != nil, link.state != .draining,
            !interest.isDisjoint(with: [.reading, .broken])
        else { return 0 }
        return receiveMessages(link, limit: limit, parseOnly: false, into: &events)
    }

    /// Receives and hands over messages, at most `limit`; what is left of them is resumed in the next turn.
    func receiveMessages(
        _ link: VerbsLink, limit: Int, parseOnly: Bool, into events: inout some TransportEvents
    ) -> Int {
        var handed = 0
        do throws(TransportError) {
            if !parseOnly || link.control?.connection.hasPending == true { try receiveControl(link) }
            try receiveAnswers(link)
            try receiveFrames(link)
            guard link.state == .up, let control = link.control else { return handed }
            // In order: what waits (such as this link's linkUp) goes first.
            if handed < limit { handed += happenings.deliver(limit: limit - handed, into: &events) }
            while handed < limit, happenings.isEmpty, link.state == .up, let message = try control.nextMessage() {
                guard message.first == VerbsFrame.messageKind else {
                    try take(message, link)
                    continue
                }
                counters.messagesReceived += 1
                handed += 1
                events.message(UnsafeRawBufferPointer(rebasing: message[1...]), on: link.id)
            }
            if handed >= limit || !happenings.isEmpty || control.connection.hasPending { markResumable(link) }
            // Messages of ours stop at the bound by themselves: beyond it are answers that are not taken.
            guard control.queuedBytes <= 2 * configuration.messageQueueBytesMax else {
                throw TransportError(.limit, "\(link.name) asks and does not listen; the link was closed")
            }
        } catch {
            takeDown(link, error)
        }
        return handed
    }

    /// Before the link is up: one frame after the other, each in its state alone. What comes after the frame that
    /// makes the link come up waits for that.
    private func receiveFrames(_ link: VerbsLink) throws(TransportError) {
        while link.state == .welcomed || link.state == .offered || link.state == .answered,
            let message = try link.control?.nextMessage()
        {
            try take(message, link)
        }
    }

    /// One call's worth of bytes into the inbox.
    private func receiveControl(_ link: VerbsLink) throws(TransportError) {
        counters.syscalls += 1
        switch link.control?.receive() {
        case nil: return
        case .moved: link.hasHeard = true
        case .wouldBlock: return
        case .ended: throw TransportError(.peerClosed, "\(link.name) closed the link")
        case .failed(let error): throw TransportError.connection(error, "the link to \(link.name) broke")
        }
    }

    private func take(_ message: UnsafeRawBufferPointer, _ link: VerbsLink) throws(TransportError) {
        guard let frame = VerbsFrame(message) else {
            throw TransportError(.protocolBroken, "\(link.name) sent what is no message; the link was closed")
        }
        switch (frame, link.state) {
        case (.offer(let offer), .welcomed): try takeOffer(offer, link)
        case (.answer(let answer), .offered): try takeAnswer(answer, link)
        case (.ready, .answered): try prove(link)
        case (.declined(let code), .offered):
            throw .refusal(by: link.remote, detail: code, own: configuration.identity.cluster)
        case (.revoke(let export), .up): stop(export, link)
        case (.stopped(let export, let readBytes), .up): stopped(export, readBytes: readBytes, link)
        case (.ping, .up): queue(.pong, on: link)
        case (.pong, .up): break
        default:
            throw TransportError(.protocolBroken, "\(link.name) said something out of order; the link was closed")
        }
    }

    /// Queues a frame.
    func queue(_ frame: VerbsFrame, on link: VerbsLink) {
        guard let control = link.control else { return }
        frame.bytes.withUnsafeBytes { control.queue(message: $0) }
        markDirty(link)
    }

    /// Sends what waits, as far as the kernel takes it.
    func flushControl(_ link: VerbsLink) throws(TransportError) {
        // Bytes may carry the key of a window that is not bound yet: a READ with it would cost the link.
        guard link.state != .connecting, link.bindsPending == 0, let control = link.control else { return }
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
            scheduleScan(atNs: nowNs + configuration.progressLimitNs / 8)
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
