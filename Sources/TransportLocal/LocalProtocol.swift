import System
import Transport

/// What packets do to a link, and reading what was handed over.
extension LocalTransport {
    /// A packet of a link that is not up.
    func takeHandshake(_ bytes: UnsafeRawBufferPointer, _ link: LocalLink, _ nowNs: UInt64)
        throws(TransportError)
    {
        let frame: HandshakeFrame
        switch HandshakeFrame.decode(bytes) {
        case .frame(let decoded, let count) where count == bytes.count: frame = decoded
        case .broken(let why): throw TransportError(.protocolBroken, "no link to \(link.remote): \(why)")
        default:
            throw TransportError(.protocolBroken, "no link to \(link.remote): its handshake is malformed")
        }
        switch (frame.kind, link.state) {
        case (.greeting, .expected): try welcome(frame, link, nowNs)
        case (.welcome, .greeted):
            guard let peer = frame.identity else {
                throw TransportError(.protocolBroken, "no link to \(link.remote): its welcome is malformed")
            }
            guard peer.cluster == configuration.identity.cluster else {
                throw .wrongCluster(link.remote, own: configuration.identity.cluster)
            }
            guard configuration.authenticator.admits(peer, proof: nil, inbound: false) else {
                throw .notAdmitted(link.remote, peer)
            }
            link.peer = peer
            comeUp(link)
        case (.refusal, .greeted):
            throw .refusal(by: link.remote, detail: frame.detail, own: configuration.identity.cluster)
        default:
            throw TransportError(.protocolBroken, "no link to \(link.remote): its handshake is out of order")
        }
    }

    private func welcome(_ frame: HandshakeFrame, _ link: LocalLink, _ nowNs: UInt64) throws(TransportError) {
        guard let peer = frame.identity else { throw refuse(link, .protocolBroken) }
        guard peer.cluster == configuration.identity.cluster else { throw refuse(link, .wrongCluster) }
        guard configuration.authenticator.admits(peer, proof: nil, inbound: true) else {
            throw refuse(link, .accessDenied)
        }
        guard linksCount < configuration.linksMax else { throw refuse(link, .limit) }
        link.peer = peer
        linksCount += 1
        link.queue(
            HandshakeFrame(
                .welcome, identity: configuration.identity,
                readsPerLinkMax: UInt16(configuration.readsPerLinkMax)
            ).bytes)
        comeUp(link)
        try flush(link, nowNs)
    }

    /// Tells the far side why it gets no link; the error takes the connection down.
    private func refuse(_ link: LocalLink, _ code: TransportError.Code) -> TransportError {
        // Best effort: a connection this young has room for it.
        HandshakeFrame(.refusal, detail: code.rawValue).bytes.withUnsafeBytes {
            _ = Sockets.sendPacket(link.raw, $0)
        }
        return TransportError(code, "refused a link from \(link.remote)")
    }

    private func comeUp(_ link: LocalLink) {
        link.state = .up
        counters.linksUp += 1
        happenings.append(.linkUp(link.id, link.peer!, inbound: link.inbound))
    }

    /// A packet of a link that is up; the message in it, if it is one, lent.
    func take(
        _ bytes: UnsafeRawBufferPointer, _ file: LocalFile?, _ link: LocalLink
    ) throws(TransportError) -> UnsafeRawBufferPointer? {
        switch (LocalPacket(bytes), file) {
        case (.message(let message), nil):
            return message
        case (.offer(let key, let offset, let lengthBytes), let file?):
            guard link.offers[key] == nil, link.offers.count < LocalConfiguration.exportsPerLinkMax else {
                throw TransportError(
                    .protocolBroken, "\(link.name) hands over more than agreed; the link was closed")
            }
            link.offers[key] = LocalOffer(file: file, offset: offset, lengthBytes: lengthBytes)
        case (.withdrawal(let key), nil):
            guard link.offers.removeValue(forKey: key) != nil else {
                throw TransportError(
                    .protocolBroken, "\(link.name) withdrew what it had not handed over; the link was closed")
            }
            // What has begun ends first: packets are answered between whole reads of the queue's head.
            finishBegunReads(link, of: key)
            link.queue(.withdrawn(key: key))
            activate(link)
        case (.withdrawn(let key), nil):
            guard let export = link.exports.values.first(where: { $0.key == key && $0.revokedAtNs != nil })
            else {
                throw TransportError(
                    .protocolBroken, "\(link.name) gave back what was not withdrawn; the link was closed")
            }
            link.exports[export.id.value] = nil
            happenings.append(.exportRetired(export.id))
        default:
            throw TransportError(
                .protocolBroken, "\(link.name) sent a packet that is none; the link was closed")
        }
        return nil
    }

    // MARK: Reading

    /// Reads for a link, at most a turn's bytes.
    func readTurn(_ link: LocalLink) {
        var budget = configuration.turnBytesMax
        while budget > 0, !link.reads.isEmpty { budget -= readSome(link, atMost: budget) }
    }

    private func finishBegunReads(_ link: LocalLink, of key: RandomNumber) {
        while !link.reads.isEmpty, link.reads.first.key == key, link.reads.first.offer != nil {
            _ = readSome(link, atMost: .max)
        }
    }

    /// One call for the read at the queue's head; at least 1, so that turns end.
    private func readSome(_ link: LocalLink, atMost most: Int) -> Int {
        let read = link.reads.first
        guard let offer = read.offer ?? read.key.flatMap({ link.offers[$0] }),
            read.offset <= offer.lengthBytes,
            UInt64(read.lengthBytes) <= offer.lengthBytes - read.offset
        else { return finish(link, .accessDenied) }
        let count: Int
        counters.syscalls += 1
        do throws(Errno) {
            count = try FileSource.read(
                offer.file.descriptor.raw, offset: offer.offset + read.offset + UInt64(read.doneBytes),
                into: UnsafeMutableRawBufferPointer(
                    start: read.target + read.doneBytes, count: min(read.lengthBytes - read.doneBytes, most)))
        } catch {
            return finish(link, .sourceFailed)
        }
        // The file is shorter than what was handed over.
        guard count > 0 else { return finish(link, .sourceFailed) }
        counters.receivedBytes += UInt64(count)
        counters.copiedBytes += UInt64(count)
        link.reads.first.doneBytes += count
        link.reads.first.offer = offer
        if link.reads.first.doneBytes == read.lengthBytes { _ = finish(link, nil) }
        return count
    }

    private func finish(_ link: LocalLink, _ failure: TransportError.Code?) -> Int {
        if let read = link.reads.popFirst() { complete(link.id, tag: read.tag, failure) }
        return 1
    }

    // MARK: Sentences

    func failure(_ error: Errno, _ what: String) -> TransportError {
        if error.isConnectionRefused {
            return TransportError(.refused, "\(what): nobody listens there: \(error)")
        }
        if error.isTryAgain {
            return TransportError(.refused, "\(what): too many wait to be accepted there: \(error)")
        }
        if error.isConnectionReset {
            return TransportError(.peerClosed, "\(what): the far side is gone: \(error)")
        }
        return TransportError(.system, "\(what): \(error)")
    }
}
