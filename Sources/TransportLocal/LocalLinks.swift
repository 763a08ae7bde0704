import System
import Transport

/// How links come and go, and what ends them in time.
extension LocalTransport {
    /// Starts a link; `linkUp` or `linkDown` follows.
    public func connect(to address: TransportAddress, deadlineNs: UInt64) throws(TransportError) -> LinkID {
        guard address.kind == .local, let place = SocketAddress(path: address.location) else {
            throw TransportError(
                .badAddress, "cannot connect to \(address): need local: with a path of at most 107 bytes")
        }
        guard linksCount < configuration.linksMax else {
            throw TransportError(.limit, "there are \(linksCount) links already; close one first")
        }
        let socket: LocalFile
        let user: UInt32
        do throws(Errno) {
            socket = LocalFile(try Sockets.connect(to: place, kind: .packets))
            user = try Sockets.peerUser(of: socket.descriptor.raw)
        } catch {
            throw failure(error, "cannot connect to \(address)")
        }
        guard user == Sockets.ownUser else {
            throw TransportError(.refused, "no link to \(address): another user (\(user)) listens there")
        }
        let link = try add(
            socket, inbound: false, remote: address.description, state: .greeted, deadlineNs: deadlineNs)
        linksCount += 1
        link.queue(
            HandshakeFrame(
                .greeting, number: RandomNumber.make(), identity: configuration.identity,
                readsPerLinkMax: UInt16(configuration.readsPerLinkMax)
            ).bytes)
        activate(link)
        return link.id
    }

    private func add(
        _ socket: LocalFile, inbound: Bool, remote: String, state: LocalLink.State, deadlineNs: UInt64
    ) throws(TransportError) -> LocalLink {
        let id = links.insert { id in
            LocalLink(
                id: id, inbound: inbound, remote: remote, socket: socket, interest: .reading, state: state,
                deadlineNs: deadlineNs)
        }
        guard let id, let link = links[id] else {
            throw TransportError(.limit, "there is no room for another link")
        }
        do throws(Errno) {
            try queue.add(link.raw, .reading, token: id.token)
        } catch {
            links[id] = nil
            throw failure(error, "cannot watch a link to \(remote)")
        }
        scheduleScan(atNs: deadlineNs)
        return link
    }

    func accept(_ nowNs: UInt64) {
        guard let listener else { return }
        for _ in 0..<16 {
            guard pendingCount < configuration.pendingHandshakesMax else { return pauseListening(nowNs) }
            do throws(Errno) {
                counters.syscalls += 1
                guard let descriptor = try Sockets.accept(listener.descriptor.raw) else { return }
                let socket = LocalFile(descriptor)
                guard try Sockets.peerUser(of: socket.descriptor.raw) == Sockets.ownUser else {
                    counters.handshakesRefused += 1
                    continue
                }
                _ = try? add(
                    socket, inbound: true, remote: "a local process", state: .expected,
                    deadlineNs: nowNs + configuration.handshakeLimitNs)
            } catch {
                counters.handshakesRefused += 1
                if error.isOutOfDescriptors { return pauseListening(nowNs) }
            }
        }
    }

    /// Leaves further connections in the kernel's queue until there is room for them again.
    private func pauseListening(_ nowNs: UInt64) {
        guard let listener else { return }
        if !isListenerPaused {
            isListenerPaused = true
            try? queue.change(listener.descriptor.raw, [], token: Self.listenerToken)
        }
        scheduleScan(atNs: nowNs + Self.listenerPauseNs)
    }

    private func resumeListening(_ nowNs: UInt64) {
        guard isListenerPaused, let listener else { return }
        guard pendingCount < configuration.pendingHandshakesMax else { return pauseListening(nowNs) }
        isListenerPaused = false
        try? queue.change(listener.descriptor.raw, .reading, token: Self.listenerToken)
    }

    /// Ends a link.
    public func close(_ link: LinkID) {
        guard let target = links[link], target.state != .expected else { return }
        takeDown(target, TransportError(.linkClosed, "this side closed the link to \(target.name)"))
    }

    /// Ends a link: reads complete, exports retire, the socket closes, then the link is reported down, in this order.
    func takeDown(_ link: LocalLink, _ reason: TransportError) {
        guard links[link.id] != nil else { return }
        links[link.id] = nil
        queue.remove(link.raw)
        if link.state == .expected {
            counters.handshakesRefused += 1
            return
        }
        linksCount -= 1
        while let read = link.reads.popFirst() { complete(link.id, tag: read.tag, .linkClosed) }
        link.offers = [:]
        while link.outgoing.popFirst() != nil {}
        for export in link.exports.values.sorted(by: { $0.id.value < $1.id.value }) {
            exportLinks[export.id] = nil
            happenings.append(.exportRetired(export.id))
        }
        link.exports = [:]
        counters.linksDown += 1
        happenings.append(.linkDown(link.id, reason))
        // The socket closes when its last owner, the link, goes: now, or when `poll` is done with it.
    }

    // MARK: Time

    func scheduleScan(atNs: UInt64) { nextScanNs = min(nextScanNs ?? .max, atNs) }

    var scanIntervalNs: UInt64 { max(configuration.progressLimitNs / 8, 1_000_000) }

    func scan(_ nowNs: UInt64) {
        nextScanNs = nil
        for link in links.all {
            if link.state != .up {
                if nowNs >= link.deadlineNs {
                    takeDown(
                        link,
                        TransportError(.timedOut, "\(link.remote) did not complete the handshake in time"))
                } else {
                    scheduleScan(atNs: link.deadlineNs)
                }
            } else if isSilent(link, nowNs) {
                let limitMs = configuration.progressLimitNs / 1_000_000
                takeDown(link, TransportError(.timedOut, "\(link.name) took no packet for \(limitMs) ms"))
            }
        }
        resumeListening(nowNs)
    }

    private func isSilent(_ link: LocalLink, _ nowNs: UInt64) -> Bool {
        func isOverdue(_ stamp: inout UInt64) -> Bool {
            scheduleScan(atNs: nowNs + scanIntervalNs)
            if stamp == 0 { stamp = nowNs }
            return nowNs >= stamp && nowNs - stamp >= configuration.progressLimitNs
        }
        if !link.outgoing.isEmpty, isOverdue(&link.sendStampNs) { return true }
        for (id, export) in link.exports {
            guard var revokedAtNs = export.revokedAtNs else { continue }
            if isOverdue(&revokedAtNs) { return true }
            link.exports[id]!.revokedAtNs = revokedAtNs
        }
        return false
    }
}
