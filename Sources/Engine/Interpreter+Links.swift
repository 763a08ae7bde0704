import Artifacts
import Rails
import Swarm
import Transport

extension Interpreter {
    /// What a rail reports.
    func railEvent(_ event: RailEvent, rail: RailNumber) {
        switch event {
        case .connecting(let token, let id):
            guard let peer = dials[token] else {
                // Given up meanwhile.
                command(.close(id), on: rail)
                return
            }
            linkNumbers[RailLink(rail: rail, id: id)] = newLink(rail, id, peer, token)
        case .connectFailed(let token, let error):
            guard let peer = dials.removeValue(forKey: token) else { return }
            dialFailed(peer, token, error)
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
            exported(token, result, rail: rail)
        case .exportRetired(let id):
            exportRetired(RailExport(rail: rail, id: id))
        case .shutDown:
            railEnded(rail)
        }
    }

    private func newLink(_ rail: RailNumber, _ id: LinkID, _ peer: PeerNumber, _ token: UInt64) -> LinkNumber {
        let number = number()
        let identity = LinkIdentity(host: configuration.host, incarnation: 0, cluster: "")
        var link = EngineLink(rail: rail, id: id, identity: identity, inbound: false, peer: peer)
        link.token = token
        link.path = path(of: token, peer)
        links[number] = link
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
            lookUp(peer)
        case .connecting:
            break
        case .none:
            if !dial(peer, evenResting: true) { machineEvents.append((download, .linkDown(peer))) }
        }
    }

    /// A download needs the link no more. The link itself stays for the next one.
    func leave(_ peer: PeerNumber, by download: DownloadNumber) {
        peers[peer].users.remove(download)
        restIfUnused(peer)
        for number in linksRead(of: peer) {
            for (session, file) in links[number]?.sessions ?? [:] where file.download == download {
                say(.close(session: session), on: number)
                forgetSession(session, on: number)
            }
        }
    }

    /// The links that a peer is read over: the one for new reads, then those that are being left.
    func linksRead(of peer: PeerNumber) -> [LinkNumber] {
        if case .up(let number) = peers[peer].state { return [number] + peers[peer].draining }
        return peers[peer].draining
    }

    /// A link nobody reads over stays for a while.
    func restIfUnused(_ peer: PeerNumber) {
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
            links[number]!.isClosing = true
            command(.close(link.id), on: link.rail)
        }
    }

    /// A download found the link useless: it is closed for all.
    func drop(_ peer: PeerNumber, _ reason: DropReason) {
        switch peers[peer].state {
        case .up(let number):
            if reason.blamesWay { blameWay(of: peer, reason.description) }
            closeLink(number, reason: reason.description)
        case .connecting(let token, let path):
            if reason.blamesWay { peers[peer].selector.failed(path, why: reason.description, nowNs: nowNs) }
            // The rail has its own limit; a link it has named already need not wait for that.
            dials[token] = nil
            peers[peer].state = .none
            if let number = links.first(where: { $0.value.token == token })?.key {
                closeLink(number, reason: reason.description)
            }
            loseUsers(peer)
        case .none: break
        }
    }

    /// Closes a link for a reason worth telling people; its `linkDown` follows.
    func closeLink(_ number: LinkNumber, reason: String) {
        guard let link = links[number] else { return }
        let host = link.peer.map { peers[$0].host } ?? link.identity.host
        log("closing the link \(link.inbound ? "of" : "to") \(host): \(reason)")
        links[number]!.isClosing = true
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
        guard let number = linkNumbers[railLink], let link = links[number], let peer = link.peer,
            dials.removeValue(forKey: link.token) != nil
        else {
            // Given up while it came up.
            command(.close(railLink.id), on: railLink.rail)
            return
        }
        guard identity.host == peers[peer].host else {
            // Somebody else answers at that address (a host that moved): not the one whose pieces were announced.
            let why = "\(peers[peer].host) was expected at its address, but \(identity.host) answered"
            command(.close(railLink.id), on: railLink.rail)
            dialFailed(peer, link.token, TransportError(.badAddress, why))
            return
        }
        dialed(peer, number, link)
    }

    private func linkDown(_ railLink: RailLink, _ error: TransportError) {
        guard let number = linkNumbers.removeValue(forKey: railLink), let link = links[number] else { return }
        if !link.inbound { dropWaitingReads(on: number) }
        links[number] = nil
        drainingLinks.remove(number)
        if link.inbound {
            childLinkDown(number, link)
            return
        }
        grants = grants.filter { $0.value.link != number }
        guard let peer = link.peer else { return }
        peers[peer].draining.removeAll { $0 == number }
        if dials.removeValue(forKey: link.token) != nil {
            dialFailed(peer, link.token, error)
        } else if case .up(number) = peers[peer].state {
            linkLost(peer, link, error)
        }
    }
}
