import System
import Transport

/// What ends handshakes and links when nothing moves.
extension TCPTransport {
    /// Has time-outs looked at by then at the latest.
    func scheduleScan(atNs: UInt64) { nextScanNs = min(nextScanNs ?? .max, atNs) }

    var scanIntervalNs: UInt64 { max(configuration.progressLimitNs / 8, 1_000_000) }

    func scan(_ nowNs: UInt64) {
        nextScanNs = nil
        checkDraining(nowNs)
        for place in 0..<endpoints.placesCount {
            guard case .handshake(let handshake)? = endpoints[place: place] else { continue }
            if nowNs >= handshake.deadlineNs {
                refuse(handshake, nil)
            } else {
                scheduleScan(atNs: handshake.deadlineNs)
            }
        }
        resumeListening()
        for place in 0..<links.placesCount {
            guard let link = links[place: place] else { continue }
            if link.state != .up {
                if nowNs >= link.deadlineNs {
                    takeDown(
                        link,
                        TransportError(.timedOut, "\(link.remote) did not complete the handshake in time"))
                } else {
                    scheduleScan(atNs: link.deadlineNs)
                }
            } else if let silent = silence(link, nowNs) {
                takeDown(link, silent)
            }
        }
    }

    /// The reason to give a link up because nothing moves; schedules the next look while something is due.
    private func silence(_ link: TCPLink, _ nowNs: UInt64) -> TransportError? {
        let limit = configuration.progressLimitNs
        func isOverdue(_ stamp: inout UInt64) -> Bool {
            scheduleScan(atNs: nowNs + scanIntervalNs)
            if stamp == 0 { stamp = nowNs }
            return nowNs >= stamp && nowNs - stamp >= limit
        }
        func failure(_ what: String) -> TransportError {
            TransportError(.timedOut, "\(link.name) \(what) for \(limit / 1_000_000) ms")
        }
        if link.control.queuedBytes > 0, isOverdue(&link.control.sendStampNs) {
            return failure("took no message")
        }
        for case let stream? in link.data {
            if !stream.posted.isEmpty, isOverdue(&stream.receiveStampNs) {
                return failure("sent no byte of a posted read")
            }
            if stream.hasToSend, isOverdue(&stream.sendStampNs) {
                return failure("took no byte of a read it asked for")
            }
        }
        return nil
    }

    /// Leaves further connections in the kernel's queue until there is room for them again.
    func pauseListening(_ nowNs: UInt64) {
        guard let listener else { return }
        if !isListenerPaused {
            isListenerPaused = true
            try? queue.change(listener.descriptor.raw, [], token: listener.endpoint.token)
        }
        scheduleScan(atNs: nowNs + Self.listenerPauseNs)
    }

    private func resumeListening() {
        guard isListenerPaused, let listener else { return }
        isListenerPaused = false
        try? queue.change(listener.descriptor.raw, .reading, token: listener.endpoint.token)
    }
}
