import System
import TLS
import Transport

/// How links come up. No byte of a link passes before both sides know who the other is and that the clusters are one.
extension TCPTransport {
    // MARK: Outbound

    /// Starts a link; `linkUp` or `linkDown` follows.
    public func connect(to address: TransportAddress, deadlineNs: UInt64) throws(TransportError) -> LinkID {
        guard address.kind == .tcp, let place = SocketAddress(hostAndPort: address.location) else {
            throw TransportError(
                .badAddress, "cannot connect to \(address): need tcp: with a numeric host and port")
        }
        guard !links.isFull else {
            throw TransportError(.limit, "there are \(links.count) links already; close one first")
        }
        let socket: WatchedSocket
        do throws(Errno) {
            socket = try watch(try Sockets.connect(to: place, kind: .stream), [.writing])
        } catch {
            throw TransportError.connection(error, "cannot connect to \(address)")
        }
        let connection = try connection(socket, .client)
        let id = links.insert { id in
            TCPLink(
                id: id, inbound: false, remote: address.description, nonce: RandomNumber.make(),
                control: ControlStream(connection, messageBytesMax: TCPConfiguration.messageBytesMax),
                state: .connecting, deadlineNs: deadlineNs)
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

    /// Tunes a connection and has it watched; its endpoint is to be set by the caller.
    private func watch(_ descriptor: consuming FileDescriptor, _ interest: EpollQueue.Interest) throws(Errno)
        -> WatchedSocket
    {
        try Sockets.tune(
            descriptor.raw,
            unacknowledgedLimitMs: UInt32(clamping: configuration.progressLimitNs / 1_000_000),
            receiveBytes: configuration.receiveBufferBytes, sendBytes: configuration.sendBufferBytes)
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
    func greet(_ link: TCPLink, _ nowNs: UInt64) throws(TransportError) {
        if let error = Sockets.pendingError(of: link.control.socket.descriptor.raw) {
            throw TransportError.connection(error, "cannot connect to \(link.remote)")
        }
        let greeting = HandshakeFrame(
            .greeting, detail: UInt8(configuration.dataStreams), number: link.nonce,
            identity: configuration.identity,
            readsPerLinkMax: UInt16(configuration.readsPerLinkMax))
        link.control.queue(greeting.bytes)
        link.state = .greeted
        try flushControl(link, nowNs)
    }

    /// Takes the accepting side's answers from the control stream, as far as they are there.
    func receiveAnswers(_ link: TCPLink) throws(TransportError) {
        while link.state == .greeted || link.state == .attaching {
            switch HandshakeFrame.decode(link.control.unparsed) {
            case .incomplete:
                return
            case .broken(let why):
                throw TransportError(.protocolBroken, "no link to \(link.remote): \(why)")
            case .frame(let frame, let bytes):
                link.control.skip(bytes)
                try take(frame, link)
            }
        }
    }

    private func take(_ frame: HandshakeFrame, _ link: TCPLink) throws(TransportError) {
        switch (frame.kind, link.state) {
        case (.refusal, _):
            throw .refusal(by: link.remote, detail: frame.detail, own: configuration.identity.cluster)
        case (.welcome, .greeted):
            guard let peer = frame.identity, (1...configuration.dataStreams).contains(Int(frame.detail))
            else {
                throw TransportError(.protocolBroken, "no link to \(link.remote): its welcome is malformed")
            }
            guard peer.cluster == configuration.identity.cluster else {
                throw .wrongCluster(link.remote, own: configuration.identity.cluster)
            }
            guard configuration.authenticator.admits(peer, proof: link.control.connection.proof, inbound: false) else {
                throw .notAdmitted(link.remote, peer)
            }
            link.peer = peer
            link.ticket = frame.number
            link.readsMax = min(configuration.readsPerLinkMax, Int(frame.readsPerLinkMax))
            link.state = .attaching
            try openStreams(link, count: Int(frame.detail))
        case (.ready, .attaching):
            guard link.data.allSatisfy({ !$0!.isConnecting }) else {
                throw TransportError(
                    .protocolBroken, "no link to \(link.remote): it was ready before its streams")
            }
            comeUp(link)
        default:
            throw TransportError(.protocolBroken, "no link to \(link.remote): its handshake is out of order")
        }
    }

    private func openStreams(_ link: TCPLink, count: Int) throws(TransportError) {
        // The address was parsed when the link was made.
        let location = link.remote.dropFirst("tcp:".count)
        guard let place = SocketAddress(hostAndPort: String(location)) else {
            preconditionFailure("an address changed")
        }
        for index in 0..<count {
            do throws(Errno) {
                let socket = try watch(try Sockets.connect(to: place, kind: .stream), [.writing])
                let stream = TCPDataStream(socket: socket, index: index, isConnecting: true)
                link.data.append(stream)
                endpoints[socket.endpoint] = .data(link, stream)
            } catch {
                throw TransportError.connection(error, "cannot open data stream \(index) to \(link.remote)")
            }
        }
    }

    /// A data connection of an outbound link is connected: show the ticket.
    func showTicket(_ link: TCPLink, _ stream: TCPDataStream) throws(TransportError) {
        if let error = Sockets.pendingError(of: stream.socket.descriptor.raw) {
            throw TransportError.connection(error, "cannot open data stream \(stream.index) to \(link.remote)")
        }
        stream.isConnecting = false
        stream.requests = HandshakeFrame(.stream, detail: UInt8(stream.index), number: link.ticket).bytes
        setInterest(stream.socket, [.reading])
        markDirty(link)
    }

    private func comeUp(_ link: TCPLink) {
        link.state = .up
        counters.linksUp += 1
        happenings.append(.linkUp(link.id, link.peer!, inbound: link.inbound))
    }

    // MARK: Inbound

    func accept(_ nowNs: UInt64) {
        guard let listener = listenerDescriptor else { return }
        // A bounded number a turn: links that are up get theirs too.
        for _ in 0..<16 {
            do throws(Errno) {
                counters.syscalls += 1
                guard let descriptor = try Sockets.accept(listener) else { return }
                let address = Sockets.peer(of: descriptor.raw) ?? .unknown
                if handshakesPending >= configuration.pendingHandshakesMax { makeRoom(for: address) }
                let socket = try watch(descriptor, [.reading])
                let deadlineNs = nowNs + configuration.handshakeLimitNs
                guard let connection = try? connection(socket, .server) else {
                    counters.handshakesRefused += 1
                    drop(socket)
                    continue
                }
                endpoints[socket.endpoint] = .handshake(
                    Arrival(connection, address: address, deadlineNs: deadlineNs))
                handshakesPending += 1
                scheduleScan(atNs: deadlineNs)
            } catch {
                counters.handshakesRefused += 1
                if error.isOutOfDescriptors { return pauseListening(nowNs) }
            }
        }
    }

    /// Reads the first bytes of an accepted connection and finds out what it is.
    func receiveHandshake(_ handshake: Arrival, _ nowNs: UInt64) {
        counters.syscalls += 1
        switch handshake.receive() {
        case .incomplete: break
        case .gone: refuse(handshake, nil)
        case .frame(let frame) where frame.kind == .greeting: welcome(handshake, frame, nowNs)
        case .frame(let frame) where frame.kind == .stream: attach(handshake, frame)
        case .broken, .frame: refuse(handshake, .protocolBroken)
        }
    }

    private func welcome(_ handshake: Arrival, _ frame: HandshakeFrame, _ nowNs: UInt64) {
        guard let peer = frame.identity, frame.detail > 0 else { return refuse(handshake, .protocolBroken) }
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
        guard mayLink(from: handshake.address) else { return refuse(handshake, .limit) }
        let streams = min(Int(frame.detail), TCPConfiguration.dataStreamsMax)
        let id = links.insert { id in
            TCPLink(
                id: id, inbound: true, remote: "\(peer.host)", nonce: frame.number,
                control: ControlStream(
                    handshake.connection, messageBytesMax: TCPConfiguration.messageBytesMax), state: .attaching,
                deadlineNs: handshake.deadlineNs)
        }!
        let link = links[id]!
        link.peer = peer
        link.address = handshake.address
        link.ticket = RandomNumber.make()
        link.readsMax = min(configuration.readsPerLinkMax, Int(frame.readsPerLinkMax))
        link.data = Array(repeating: nil, count: streams)
        handshakesPending -= 1
        endpoints[handshake.socket.endpoint] = .control(link)
        let answer = HandshakeFrame(
            .welcome, detail: UInt8(streams), number: link.ticket, identity: configuration.identity,
            readsPerLinkMax: UInt16(configuration.readsPerLinkMax))
        link.control.queue(answer.bytes)
        attempt(link) { () throws(TransportError) in try flushControl(link, nowNs) }
    }

    private func attach(_ handshake: Arrival, _ frame: HandshakeFrame) {
        // A stream's bytes go in clear: its ticket came over the secured control stream.
        guard handshake.connection.proof == nil else { return refuse(handshake, .protocolBroken) }
        // Only a link that is being made takes streams, each once: late and copied tickets find nothing.
        guard
            let link = links.all.first(where: {
                $0.inbound && $0.state == .attaching && $0.ticket == frame.number
            }),
            Int(frame.detail) < link.data.count, link.data[Int(frame.detail)] == nil
        else { return refuse(handshake, nil) }
        let stream = TCPDataStream(socket: handshake.socket, index: Int(frame.detail), isConnecting: false)
        link.data[stream.index] = stream
        handshakesPending -= 1
        endpoints[handshake.socket.endpoint] = .data(link, stream)
        guard link.data.allSatisfy({ $0 != nil }) else { return }
        link.control.queue(HandshakeFrame(.ready).bytes)
        comeUp(link)
        markDirty(link)
    }

    /// Ends an accepted connection that becomes no link, saying why when there is a reason to be told.
    func refuse(_ handshake: Arrival, _ reason: TransportError.Code?) {
        if let reason { handshake.decline(reason) }
        counters.handshakesRefused += 1
        handshakesPending -= 1
        drop(handshake.socket)
    }
}
