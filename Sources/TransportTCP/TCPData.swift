import System
import Transport

/// The way of a byte: requests out and payload in, requests in and payload out, on one data stream.
extension TCPTransport {
    /// A data connection is ready.
    func serveData(_ link: TCPLink, _ stream: TCPDataStream, _ interest: EpollQueue.Interest, _ nowNs: UInt64) {
        attempt(link) { () throws(TransportError) in
            if stream.isConnecting {
                guard !interest.isDisjoint(with: [.writing, .broken]) else { return }
                return try showTicket(link, stream)
            }
            if !interest.isDisjoint(with: [.reading, .broken]) { try receiveData(link, stream, nowNs) }
            if interest.contains(.writing) { try flushData(link, stream, nowNs) }
        }
    }

    // MARK: Receiving

    private func receiveData(_ link: TCPLink, _ stream: TCPDataStream, _ nowNs: UInt64) throws(TransportError) {
        var budget = configuration.turnBytesMax
        while budget > 0 {
            let room = UnsafeMutableRawBufferPointer(rebasing: stream.inbox[stream.filled...])
            let result: SocketTransfer
            let asked: Int
            if let target = stream.payloadTarget {
                // Payload goes straight to its place; the same call may bring the next frame's start.
                asked = stream.payloadLeft + room.count
                result = Sockets.receive(
                    stream.socket.descriptor.raw,
                    into: UnsafeMutableRawBufferPointer(start: target, count: stream.payloadLeft),
                    then: room)
            } else {
                asked = room.count
                result = Sockets.receive(stream.socket.descriptor.raw, into: room)
            }
            counters.syscalls += 1
            switch result {
            case .wouldBlock: return
            case .ended: throw TransportError(.peerClosed, "\(link.name) closed a data stream of the link")
            case .failed(let error):
                throw TransportError.connection(error, "a data stream of the link to \(link.name) broke")
            case .moved(let count):
                budget -= count
                stream.receiveStampNs = nowNs
                let payload = min(count, stream.payloadLeft)
                if payload > 0 { tookPayload(link, stream, payload) }
                stream.filled += count - payload
                try parse(link, stream)
                // Less than asked for: the socket is empty; if not, epoll says so again.
                if count < asked { return }
            }
        }
    }

    private func tookPayload(_ link: TCPLink, _ stream: TCPDataStream, _ count: Int) {
        counters.receivedBytes += UInt64(count)
        // Out of the kernel's buffers.
        counters.copiedBytes += UInt64(count)
        stream.payloadLeft -= count
        stream.payloadTarget = stream.payloadTarget! + count
        guard stream.payloadLeft == 0 else { return }
        stream.payloadTarget = nil
        finishRead(link, stream, nil)
    }

    private func finishRead(_ link: TCPLink, _ stream: TCPDataStream, _ failure: TransportError.Code?) {
        guard let read = stream.posted.popFirst() else {
            preconditionFailure("a read ends that was not posted")
        }
        stream.postedBytes -= UInt64(read.lengthBytes)
        link.readsPosted -= 1
        complete(link.id, tag: read.tag, failure)
    }

    /// Takes all whole frames out of the inbox, and what of a payload came with them.
    private func parse(_ link: TCPLink, _ stream: TCPDataStream) throws(TransportError) {
        var place = 0
        scanning: while place < stream.filled {
            if stream.payloadTarget != nil {
                let count = min(stream.payloadLeft, stream.filled - place)
                counters.copiedBytes += UInt64(count)
                stream.payloadTarget!.copyMemory(from: stream.inbox.baseAddress! + place, byteCount: count)
                place += count
                tookPayload(link, stream, count)
                continue
            }
            switch TCPFrame.decode(UnsafeRawBufferPointer(rebasing: stream.inbox[place..<stream.filled])) {
            case .incomplete:
                break scanning
            case .broken:
                throw TransportError(
                    .protocolBroken,
                    "\(link.name) sent bytes on a data stream that are no frame; the link was closed")
            case .frame(.response(let status, let length, let number), let bytes):
                place += bytes
                try takeResponse(link, stream, status, length, number)
            case .frame(.request(let length, let number, let key, let offset), let bytes):
                place += bytes
                try takeRequest(link, stream, length: length, number: number, key: key, offset: offset)
            }
        }
        guard place > 0 else { return }
        stream.inbox.baseAddress!.copyMemory(
            from: stream.inbox.baseAddress! + place, byteCount: stream.filled - place)
        stream.filled -= place
    }

    private func takeResponse(
        _ link: TCPLink, _ stream: TCPDataStream, _ status: TCPFrame.Status, _ length: UInt32,
        _ number: UInt64
    ) throws(TransportError) {
        guard !stream.posted.isEmpty, stream.posted.first.number == number else {
            throw TransportError(
                .protocolBroken, "\(link.name) answered a read that was not posted; the link was closed")
        }
        switch status {
        case .accessDenied: finishRead(link, stream, .accessDenied)
        case .sourceFailed: finishRead(link, stream, .sourceFailed)
        case .ok:
            guard length == stream.posted.first.lengthBytes else {
                throw TransportError(
                    .protocolBroken,
                    "\(link.name) answered \(length) bytes to a read of \(stream.posted.first.lengthBytes); the link was closed"
                )
            }
            stream.payloadTarget = stream.posted.first.target
            stream.payloadLeft = Int(length)
        }
    }

    // MARK: Serving

    private func takeRequest(
        _ link: TCPLink, _ stream: TCPDataStream, length: UInt32, number: UInt64, key: RandomNumber,
        offset: UInt64
    ) throws(TransportError) {
        guard link.state == .up, link.readsServing < configuration.readsPerLinkMax else {
            throw TransportError(
                .protocolBroken, "\(link.name) posted more reads than agreed; the link was closed")
        }
        if !stream.hasToSend { stream.sendStampNs = 0 }
        link.readsServing += 1
        markDirty(link)
        guard let export = exports[key], export.link == link.id, offset <= export.lengthBytes,
            UInt64(length) <= export.lengthBytes - offset
        else {
            counters.readsDenied += 1
            return stream.serving.append(
                TCPServing(
                    export: nil, head: TCPFrame.responseHead(.accessDenied, length: 0, number: number),
                    offset: 0, left: 0))
        }
        export.readsActive += 1
        stream.serving.append(
            TCPServing(
                export: export, head: TCPFrame.responseHead(.ok, length: length, number: number),
                offset: offset,
                left: UInt64(length)))
    }

    /// Sends what waits on a data stream, at most a turn's bytes.
    func flushData(_ link: TCPLink, _ stream: TCPDataStream, _ nowNs: UInt64) throws(TransportError) {
        var budget = configuration.turnBytesMax
        while stream.hasToSend, budget > 0 {
            counters.syscalls += 1
            switch try sendSome(link, stream) {
            case .moved(let count):
                budget -= count
                stream.sentBytes += UInt64(count)
                stream.sendStampNs = nowNs
                finishServed(link, stream)
            case .wouldBlock, .ended:
                budget = 0
            case .failed(let error):
                throw error.isBadMemory
                    ? TransportError(
                        .sourceFailed, "a file being sent to \(link.name) was cut short: \(error)")
                    : .connection(error, "a data stream of the link to \(link.name) broke")
            }
        }
        if !stream.posted.isEmpty {
            if stream.receiveStampNs == 0 { stream.receiveStampNs = nowNs }
            scheduleScan(atNs: nowNs + scanIntervalNs)
        }
        guard stream.hasToSend else { return setInterest(stream.socket, [.reading]) }
        if stream.sendStampNs == 0 { stream.sendStampNs = nowNs }
        scheduleScan(atNs: nowNs + scanIntervalNs)
        setInterest(stream.socket, [.reading, .writing])
    }

    /// One call: requests that wait (never inside a response), the current response's head and as much of its bytes as
    /// fits.
    private func sendSome(_ link: TCPLink, _ stream: TCPDataStream) throws(TransportError) -> SocketTransfer {
        let socket = stream.socket.descriptor.raw
        let isInside = !stream.serving.isEmpty && stream.serving.first.isBegun
        let requests = isInside ? 0 : stream.requests.count - stream.requestsSent
        guard !stream.serving.isEmpty else {
            let result = stream.requests.withUnsafeBytes {
                Sockets.send(socket, UnsafeRawBufferPointer(rebasing: $0[stream.requestsSent...]))
            }
            return account(link, stream, result, requests: requests)
        }
        let current = stream.serving.first
        let headLeft = TCPFrame.responseBytes - current.headSent
        if let file = current.export?.fileDescriptor, let export = current.export, requests == 0,
            headLeft == 0
        {
            let result = Sockets.sendFile(
                socket, from: file, offset: export.fileOffset + current.offset, lengthBytes: Int(current.left)
            )
            if result == .ended {
                throw TransportError(
                    .sourceFailed,
                    "a file being sent to \(link.name) was cut short; it must not change while exported")
            }
            return account(link, stream, result, requests: 0)
        }
        let payload = current.export?.base.map {
            UnsafeRawBufferPointer(start: $0 + Int(current.offset), count: Int(current.left))
        }
        let result = withUnsafeBytes(of: current.head) { head in
            stream.requests.withUnsafeBytes { waiting in
                Sockets.send(
                    socket,
                    UnsafeRawBufferPointer(
                        rebasing: waiting[stream.requestsSent..<(stream.requestsSent + requests)]),
                    UnsafeRawBufferPointer(rebasing: head[current.headSent...]), payload,
                    moreFollows: payload == nil && current.left > 0)
            }
        }
        return account(link, stream, result, requests: requests)
    }

    /// Notes which of the bytes offered were taken.
    private func account(_ link: TCPLink, _ stream: TCPDataStream, _ result: SocketTransfer, requests: Int)
        -> SocketTransfer
    {
        guard case .moved(var count) = result else { return result }
        let asked = min(count, requests)
        stream.requestsSent += asked
        count -= asked
        if stream.requestsSent == stream.requests.count {
            stream.requests.removeAll(keepingCapacity: true)
            stream.requestsSent = 0
        }
        guard count > 0 else { return result }
        let head = min(count, TCPFrame.responseBytes - stream.serving.first.headSent)
        stream.serving.first.headSent += head
        count -= head
        stream.serving.first.offset += UInt64(count)
        stream.serving.first.left -= UInt64(count)
        counters.sentBytes += UInt64(count)
        // Into the kernel's buffers; sendfile hands over the pages themselves.
        if stream.serving.first.export?.base != nil { counters.copiedBytes += UInt64(count) }
        return result
    }

    /// Takes the answered read off the queue, and its export's count.
    private func finishServed(_ link: TCPLink, _ stream: TCPDataStream) {
        guard !stream.serving.isEmpty, stream.serving.first.isDone, let served = stream.serving.popFirst()
        else { return }
        link.readsServing -= 1
        guard let export = served.export else { return }
        counters.readsServed += 1
        export.readsActive -= 1
        export.noteSent(on: stream)
        retireWhenUnused(export)
    }
}
