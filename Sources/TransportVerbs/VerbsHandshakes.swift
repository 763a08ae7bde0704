import System
import TLS
import Transport
import Verbs

/// How control streams come to be. Nothing is made on the device for a far side that is not admitted.
extension VerbsTransport {
    func listen() throws(TransportError) {
        guard let listen = configuration.listen else { return }
        let socket = try ListeningSocket(.rdma, on: listen)
        address = socket.address
        listener = try socket.watched(by: queue, endpoint: endpoints.insert { _ in .listener }!)
    }

    // MARK: Outbound

    /// Starts a link; `linkUp` or `linkDown` follows.
    ///
    /// - Throws: `.system` at once while the device is lost or its port is down.
    public func connect(to address: TransportAddress, deadlineNs: UInt64) throws(TransportError) -> LinkID {
        guard address.kind == .rdma, let place = SocketAddress(hostAndPort: address.location) else {
            throw TransportError(
                .badAddress, "cannot connect to \(address): need rdma: with a numeric host and port")
        }
        guard !links.isFull else {
            throw TransportError(.limit, "there are \(links.count) links already; close one first")
        }
        guard let session, session.isUsable else {
            throw TransportError(.system, "cannot connect to \(address): \(unusableReason)")
        }
        let socket: WatchedSocket
        do throws(Errno) {
            socket = try watch(try Sockets.connect(to: place, kind: .stream), [.writing])
        } catch {
            throw TransportError.connection(error, "cannot connect to \(address)")
        }
        let connection = try connection(socket, .client)
        let id = links.insert { id in
            VerbsLink(
                id: id, inbound: false, remote: address.description, nonce: RandomNumber.make(),
                control: stream(connection), state: .connecting, deadlineNs: deadlineNs)
        }!
        endpoints[socket.endpoint] = .control(links[id]!)
        scheduleScan(atNs: deadlineNs)
        return id
    }

    private func connection(_ socket: WatchedSocket, _ side: TLSSession.Side) throws(TransportError) -> Connection {
        do throws(TransportError) {
            return try Connection(socket, side: side, security: configuration.security)
        } catch {
            drop(socket)
            throw error
        }
    }

    private func stream(_ connection: Connection) -> ControlStream {
        ControlStream(connection, messageBytesMax: VerbsConfiguration.messageBytesMax + 1)
    }

    /// Tunes a connection and has it watched; its endpoint is to be set by the caller.
    private func watch(_ descriptor: consuming FileDescriptor, _ interest: EpollQueue.Interest) throws(Errno)
        -> WatchedSocket
    {
        try Sockets.tune(
            descriptor.raw, unacknowledgedLimitMs: UInt32(clamping: configuration.progressLimitNs / 1_000_000),
            receiveBytes: 0, sendBytes: 0)
        guard let endpoint = endpoints.insert({ _ in .listener }) else {
            preconditionFailure("endpoints are bounded by links")
        }
        do throws(Errno) {
            try queue.add(descriptor.raw, interest, token: endpoint.token)
        } catch {
            endpoints[endpoint] = nil
            throw error
        }
        return WatchedSocket(descriptor, endpoint: endpoint, interest: interest)
    }

    /// The control connection of an outbound link is connected: say who we are.
    func greet(_ link: VerbsLink) throws(TransportError) {
        guard let control = link.control else { return }
        if let error = Sockets.pendingError(of: control.socket.descriptor.raw) {
            throw TransportError.connection(error, "cannot connect to \(link.remote)")
        }
        link.address = Sockets.peer(of: control.socket.descriptor.raw) ?? .unknown
        let greeting = HandshakeFrame(
            .greeting, number: link.nonce, identity: configuration.identity,
            readsPerLinkMax: UInt16(configuration.readsPerLinkMax))
        control.queue(greeting.bytes)
        link.state = .greeted
        try flushControl(link)
    }

    /// Takes the accepting side's welcome from the control stream, as soon as it is there.
    func receiveAnswers(_ link: VerbsLink) throws(TransportError) {
        guard link.state == .greeted, let control = link.control else { return }
        switch HandshakeFrame.decode(control.unparsed) {
        case .incomplete:
            return
        case .broken(let why):
            throw TransportError(.protocolBroken, "no link to \(link.remote): \(why)")
        case .frame(let frame, let bytes):
            control.skip(bytes)
            guard frame.kind != .refusal else {
                throw .refusal(by: link.remote, detail: frame.detail, own: configuration.identity.cluster)
            }
            guard frame.kind == .welcome, let peer = frame.identity else {
                throw TransportError(.protocolBroken, "no link to \(link.remote): its handshake is out of order")
            }
            guard peer.cluster == configuration.identity.cluster else {
                throw .wrongCluster(link.remote, own: configuration.identity.cluster)
            }
            guard configuration.authenticator.admits(peer, proof: control.connection.proof, inbound: false) else {
                throw .notAdmitted(link.remote, peer)
            }
            link.peer = peer
            link.readsMax = min(configuration.readsPerLinkMax, Int(frame.readsPerLinkMax))
            try offer(link)
        }
    }

    // MARK: Inbound

    /// So many inbound links one address may always have, and beyond that a quarter of all.
    private static let linksPerAddressMin = 64

    func accept() {
        guard let listener else { return }
        // Bounded: others have their turn too.
        for _ in 0..<16 {
            // Twice: those that were made to go may still be on their way.
            guard hasRoomToAccept else { return pauseListening() }
            do throws(Errno) {
                guard let descriptor = try Sockets.accept(listener.descriptor.raw) else { return }
                let address = Sockets.peer(of: descriptor.raw) ?? .unknown
                if handshakesPending + arrivals >= configuration.pendingHandshakesMax { makeRoom(for: address) }
                let socket = try watch(descriptor, [.reading])
                let deadlineNs = nowNs + configuration.handshakeLimitNs
                guard let connection = try? connection(socket, .server) else { continue }
                endpoints[socket.endpoint] = .handshake(
                    Arrival(connection, address: address, deadlineNs: deadlineNs))
                handshakesPending += 1
                scheduleScan(atNs: deadlineNs)
            } catch {
                counters.handshakesRefused += 1
                if error.isOutOfDescriptors { return pauseListening() }
            }
        }
    }

    private var hasRoomToAccept: Bool {
        handshakesPending + arrivals < 2 * configuration.pendingHandshakesMax
    }

    /// Ends the oldest unfinished handshake of the address that has most of them, a newcomer counted in: whoever leaves
    /// handshakes unfinished is in his own way, and in nobody else's.
    private func makeRoom(for newcomer: PeerAddress) {
        var counts: [PeerAddress: Int] = [newcomer: 1]
        var oldest: [PeerAddress: (deadlineNs: UInt64, endpoint: Endpoint)] = [:]
        for endpoint in endpoints.all {
            let (address, deadlineNs): (PeerAddress, UInt64)
            switch endpoint {
            case .handshake(let handshake): (address, deadlineNs) = (handshake.address, handshake.deadlineNs)
            case .control(let link) where link.inbound && !link.wasUp && link.state != .draining:
                (address, deadlineNs) = (link.address, link.deadlineNs)
            default: continue
            }
            counts[address, default: 0] += 1
            if deadlineNs < oldest[address]?.deadlineNs ?? .max { oldest[address] = (deadlineNs, endpoint) }
        }
        let most = oldest.max { counts[$0.key] ?? 0 < counts[$1.key] ?? 0 }
        switch most?.value.endpoint {
        case .handshake(let handshake): refuse(handshake, .limit)
        case .control(let link):
            takeDown(link, TransportError(.limit, "\(link.name) left too many handshakes unfinished"))
        default: break
        }
    }

    /// Reads the first bytes of an accepted connection and finds out who it is.
    func receiveHandshake(_ handshake: Arrival) {
        counters.syscalls += 1
        switch handshake.receive() {
        case .incomplete: break
        case .gone: refuse(handshake, nil)
        case .frame(let frame) where frame.kind == .greeting: welcome(handshake, frame)
        case .broken, .frame: refuse(handshake, .protocolBroken)
        }
    }

    private func welcome(_ handshake: Arrival, _ frame: HandshakeFrame) {
        guard let peer = frame.identity else { return refuse(handshake, .protocolBroken) }
        guard configuration.security == nil || handshake.connection.proof != nil else {
            return refuse(handshake, .unproved)
        }
        guard peer.cluster == configuration.identity.cluster else { return refuse(handshake, .wrongCluster) }
        guard configuration.authenticator.admits(peer, proof: handshake.connection.proof, inbound: true) else {
            return refuse(handshake, .accessDenied)
        }
        // A nonce seen before is a repeated (late, copied) greeting.
        guard !links.all.contains(where: { $0.nonce == frame.number }) else {
            return refuse(handshake, .protocolBroken)
        }
        guard session?.isUsable == true else { return refuse(handshake, .system) }
        // Whoever has very many leaves some to others.
        let own = links.all.count { $0.inbound && $0.address == handshake.address }
        guard !links.isFull, own < max(Self.linksPerAddressMin, configuration.linksMax / 4) else {
            return refuse(handshake, .limit)
        }
        let id = links.insert { id in
            VerbsLink(
                id: id, inbound: true, remote: "\(peer.host)", nonce: frame.number,
                control: stream(handshake.connection), state: .welcomed, deadlineNs: handshake.deadlineNs)
        }!
        let link = links[id]!
        link.peer = peer
        link.address = handshake.address
        link.readsMax = min(configuration.readsPerLinkMax, Int(frame.readsPerLinkMax))
        handshakesPending -= 1
        arrivals += 1
        endpoints[handshake.socket.endpoint] = .control(link)
        let answer = HandshakeFrame(
            .welcome, number: RandomNumber.make(), identity: configuration.identity,
            readsPerLinkMax: UInt16(configuration.readsPerLinkMax))
        link.control?.queue(answer.bytes)
        attempt(link) { () throws(TransportError) in try flushControl(link) }
    }

    /// Ends an accepted connection that becomes no link, saying why when there is a reason to be told.
    func refuse(_ handshake: Arrival, _ reason: TransportError.Code?) {
        if let reason { handshake.decline(reason) }
        counters.handshakesRefused += 1
        handshakesPending -= 1
        drop(handshake.socket)
    }

    /// Stops watching a socket; it closes when its last owner lets it go, which is now.
    func drop(_ socket: WatchedSocket) {
        queue.remove(socket.descriptor.raw)
        endpoints[socket.endpoint] = nil
    }

    /// Leaves further connections in the kernel's queue until there is room for them again.
    func pauseListening() {
        guard let listener else { return }
        if !isListenerPaused {
            isListenerPaused = true
            try? queue.change(listener.descriptor.raw, [], token: listener.endpoint.token)
        }
        scheduleScan(atNs: nowNs + Self.listenerPauseNs)
    }

    func resumeListening() {
        guard isListenerPaused, let listener else { return }
        guard hasRoomToAccept else { return pauseListening() }
        isListenerPaused = false
        try? queue.change(listener.descriptor.raw, .reading, token: listener.endpoint.token)
    }
}
