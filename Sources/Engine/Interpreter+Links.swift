import Artifacts
import Rails
import Swarm
import Transport

extension Interpreter {
    /// What a rail reports.
    func railEvent(_ event: RailEvent, rail: RailNumber) {
        switch event {
        case .connecting(let token, let id):
            // The user may have lost interest; the link is used again if it comes up.
            if let peer = connecting[token] { linkNumbers[RailLink(rail: rail, id: id)] = newLink(rail, id, peer) }
        case .connectFailed(let token, let error):
            guard let peer = connecting.removeValue(forKey: token) else { return }
            linkFailed(peer, kind: rails[rail].capabilities.kind, error)
        case .linkUp(let id, let identity, let inbound):
            linkUp(RailLink(rail: rail, id: id), identity, inbound: inbound)
        case .linkDown(let id, let error):
            linkDown(RailLink(rail: rail, id: id), error)
        case .message(let id, let message):
            guard let number = linkNumbers[RailLink(rail: rail, id: id)] else { return }
            self.message(message, on: number)
        case .readCompleted(let tag, _, let failure):
            readCompleted(tag, failure)
        case .exported(let token, let result):
            exported(token, result)
        case .exportRetired:
            break
        case .shutDown:
            railEnded(rail)
        }
    }

    private func newLink(_ rail: RailNumber, _ id: LinkID, _ peer: PeerNumber?) -> LinkNumber {
        let number = number()
        let identity = LinkIdentity(host: configuration.host, incarnation: 0, cluster: "")
        links[number] = EngineLink(rail: rail, id: id, identity: identity, inbound: false, peer: peer)
        return number
    }

    /// A download wants a link to this peer.
    func connect(_ peer: PeerNumber, for download: DownloadNumber) {
        peers[peer].users.insert(download)
        peers[peer].idleUntilNs = nil
        idlePeers.remove(peer)
        switch peers[peer].state {
        case .up:
            machineEvents.append((download, .linkUp(peer)))
        case .connecting:
            break
        case .none:
            guard let address = peers.address(of: peer, kinds: Set(dialing.keys), nowNs: nowNs),
                let rail = dialing[address.kind]
            else {
                machineEvents.append((download, .linkDown(peer)))
                return
            }
            let token = number()
            connecting[token] = peer
            peers[peer].state = .connecting(token: token, kind: address.kind)
            command(.connect(token: token, to: address, deadlineNs: nowNs + configuration.connectLimitNs), on: rail)
        }
    }

    /// A download needs the link no more. The link itself stays for the next one.
    func leave(_ peer: PeerNumber, by download: DownloadNumber) {
        peers[peer].users.remove(download)
        restIfUnused(peer)
        guard case .up(let number) = peers[peer].state, let sessions = links[number]?.sessions else { return }
        for (session, file) in sessions where file.download == download {
            say(.close(session: session), on: number)
            forgetSession(session, on: number)
        }
    }

    /// A link nobody reads over stays for a while.
    private func restIfUnused(_ peer: PeerNumber) {
        guard peers[peer].users.isEmpty, case .up = peers[peer].state else { return }
        peers[peer].idleUntilNs = nowNs + configuration.idleLinkLimitNs
        idlePeers.insert(peer)
    }

    /// Closes links that nobody has read over for so long, so that their number is bounded by the neighbourhoods.
    func closeIdleLinks() {
        for peer in idlePeers {
            guard let atNs = peers[peer].idleUntilNs, atNs <= nowNs else { continue }
            peers[peer].idleUntilNs = nil
            idlePeers.remove(peer)
            guard case .up(let number) = peers[peer].state, let link = links[number] else { continue }
            command(.close(link.id), on: link.rail)
        }
    }

    /// A download found the link useless: it is closed for all.
    func drop(_ peer: PeerNumber, reason: String) {
        switch peers[peer].state {
        case .up(let number): closeLink(number, reason: reason)
        case .connecting:
            // The rail has its own limit; a link it has named already need not wait for that.
            guard let number = links.first(where: { $0.value.peer == peer })?.key else { return }
            closeLink(number, reason: reason)
        case .none: break
        }
    }

    /// Closes a link for a reason worth telling people; its `linkDown` follows.
    func closeLink(_ number: LinkNumber, reason: String) {
        guard let link = links[number] else { return }
        let host = link.peer.map { peers[$0].host } ?? link.identity.host
        log("closing the link \(link.inbound ? "of" : "to") \(host): \(reason)")
        command(.close(link.id), on: link.rail)
    }

    private func linkUp(_ railLink: RailLink, _ identity: LinkIdentity, inbound: Bool) {
        if inbound {
            let number = number()
            linkNumbers[railLink] = number
            links[number] = EngineLink(
                rail: railLink.rail, id: railLink.id, identity: identity, inbound: true, peer: nil)
            return
        }
        guard let number = linkNumbers[railLink], let peer = links[number]?.peer else { return }
        if case .connecting(let token, _) = peers[peer].state { connecting[token] = nil }
        guard identity.host == peers[peer].host else {
            // Somebody else answers at that address (a host that moved): not the one whose pieces were announced.
            log("\(peers[peer].host) was expected at its address, but \(identity.host) answered")
            command(.close(railLink.id), on: railLink.rail)
            return
        }
        peers[peer].state = .up(number)
        for download in peers[peer].users { machineEvents.append((download, .linkUp(peer))) }
        restIfUnused(peer)
    }

    private func linkDown(_ railLink: RailLink, _ error: TransportError) {
        guard let number = linkNumbers.removeValue(forKey: railLink), let link = links.removeValue(forKey: number)
        else { return }
        if link.inbound {
            childLinkDown(number, link)
            return
        }
        grants = grants.filter { $0.value.link != number }
        guard let peer = link.peer else { return }
        dropWaitingReads(of: peer)
        if case .connecting(let token, _) = peers[peer].state { connecting[token] = nil }
        linkFailed(peer, kind: rails[link.rail].capabilities.kind, error)
    }

    /// The link to a peer is down or never came up.
    private func linkFailed(_ peer: PeerNumber, kind: TransportKind, _ error: TransportError) {
        if error.code != .linkClosed { log("link to \(peers[peer].host) over \(kind) is down: \(error)") }
        // A link we closed says nothing against its transport.
        if error.code != .linkClosed { peers[peer].avoided[kind] = nowNs + 10_000_000_000 }
        peers[peer].state = .none
        peers[peer].idleUntilNs = nil
        idlePeers.remove(peer)
        let users = peers[peer].users
        peers[peer].users = []
        for download in users { machineEvents.append((download, .linkDown(peer))) }
    }

    // MARK: messages

    private func message(_ message: PeerMessage<RemoteKey>, on number: LinkNumber) {
        guard let link = links[number] else { return }
        switch message {
        case .open, .want, .release, .close:
            guard link.inbound else {
                // Whoever we dialled is our parent. Sessions it opened here would outlive the link.
                closeLink(number, reason: "it speaks as a child on a link that it was dialled on")
                return
            }
            childMessage(message, on: number)
        case .ping(let nonce):
            say(.pong(nonce: nonce), on: number)
        case .map, .have, .unknown, .grant, .busy, .absent:
            guard !link.inbound else { return }
            parentMessage(message, link, number)
        case .pong:
            break
        }
    }

    private func parentMessage(_ message: PeerMessage<RemoteKey>, _ link: EngineLink, _ number: LinkNumber) {
        guard let peer = link.peer else { return }
        switch message {
        case .map(let session, let base, let bits, let last):
            guard let place = link.sessions[session] else { return }
            map(session, base: base, bits: bits, last: last, from: peer, of: place, on: number)
        case .have(let session, let pieces):
            guard let place = link.sessions[session], let count = pieceCount(place) else { return }
            let valid = pieces.filter { $0.value < count }
            machineEvents.append((place.download, .have(peer, place.file, valid)))
        case .unknown(let session):
            guard let place = link.sessions[session] else { return }
            forgetSession(session, on: number)
            machineEvents.append((place.download, .unknown(peer, place.file)))
        case .grant(let session, let piece, let key, let lengthBytes, let leaseMs):
            guard let place = link.sessions[session], let count = pieceCount(place), piece.value < count else { return }
            let address = PieceAddress(file: place.file, piece: piece)
            guard let layout = downloads[place.download]?.file(place.file).layout,
                layout.range(of: piece).length == UInt64(lengthBytes)
            else {
                say(.release(session: session, piece: piece), on: number)
                machineEvents.append((place.download, .absent(peer, address)))
                return
            }
            let grant = GrantID(self.number())
            grants[grant] = Grant(key: key, link: number, lengthBytes: lengthBytes)
            let until = nowNs + UInt64(leaseMs) * 1_000_000
            machineEvents.append((place.download, .granted(peer, address, grant, leaseUntilNs: until)))
        case .busy(let session, let piece, let retryAfterMs):
            guard let place = link.sessions[session], let count = pieceCount(place), piece.value < count else { return }
            let address = PieceAddress(file: place.file, piece: piece)
            let retry = UInt64(min(retryAfterMs, 60_000)) * 1_000_000
            machineEvents.append((place.download, .busy(peer, address, retryAfterNs: retry)))
        case .absent(let session, let piece):
            guard let place = link.sessions[session], let count = pieceCount(place), piece.value < count else { return }
            machineEvents.append((place.download, .absent(peer, PieceAddress(file: place.file, piece: piece))))
        default:
            break
        }
    }

    /// Puts a map's parts together; a part that does not fit the file ends the link.
    private func map(
        _ session: UInt32, base: UInt32, bits: [UInt8], last: Bool, from peer: PeerNumber, of place: DownloadFile,
        on number: LinkNumber
    ) {
        guard let count = pieceCount(place) else { return }
        var whole = links[number]?.partialMaps[session] ?? []
        whole.append(contentsOf: bits)
        guard Int(base) == (whole.count - bits.count) * 8, whole.count <= (Int(count) + 7) / 8 else {
            drop(peer, reason: "its piece map does not fit the file")
            return
        }
        guard last else {
            links[number]?.partialMaps[session] = whole
            return
        }
        links[number]?.partialMaps[session] = nil
        guard let set = PieceSet(capacity: Int(count), bytes: whole) else {
            drop(peer, reason: "its piece map does not fit the file")
            return
        }
        machineEvents.append((place.download, .map(peer, place.file, set)))
    }

    private func pieceCount(_ place: DownloadFile) -> UInt32? {
        downloads[place.download].map { UInt32($0.file(place.file).layout.count) }
    }

    func forgetSession(_ session: UInt32, on number: LinkNumber) {
        guard let place = links[number]?.sessions.removeValue(forKey: session) else { return }
        links[number]?.sessionNumbers[place] = nil
        links[number]?.partialMaps[session] = nil
    }

    /// The link we read a peer over, and our session for a file on it.
    func session(_ peer: PeerNumber, _ place: DownloadFile) -> (link: LinkNumber, session: UInt32)? {
        guard case .up(let number) = peers[peer].state, let session = links[number]?.sessionNumbers[place] else {
            return nil
        }
        return (number, session)
    }

    /// Tells a parent of a file's download.
    func open(_ peer: PeerNumber, _ place: DownloadFile) {
        guard case .up(let number) = peers[peer].state, var link = links[number],
            let file = downloads[place.download]?.file(place.file)
        else { return }
        guard link.sessionNumbers[place] == nil else { return }
        let session = link.nextSession
        link.nextSession += 1
        link.sessions[session] = place
        link.sessionNumbers[place] = session
        links[number] = link
        say(.open(session: session, task: file.task, pieceCount: UInt32(file.layout.count)), on: number)
    }

    /// Ends our session for a file with a parent.
    func close(_ peer: PeerNumber, _ place: DownloadFile) {
        guard let (link, session) = session(peer, place) else { return }
        say(.close(session: session), on: link)
        forgetSession(session, on: link)
    }
}
