import Artifacts
import Rails
import Swarm
import Transport

/// Which way a peer is read over: dialling, falling back to another way, and coming back to a better one.
///
/// ```
///   none ── dial ──▶ connecting ── up ──▶ up ── down, another way does not rest ──▶ connecting (that way, at once)
///     ▲                  │ failed: the next way at once, until all rest
///     └──────────────────┘ then the downloads hear of it
///   up (not over the best way) ── the selector's time ──▶ probe ── up ──▶ new wants go there, the old link drains
/// ```
extension Interpreter {
    /// Asks a rail for a link over the best way.
    ///
    /// - Parameter evenResting: whether a way that rests after a failure is better than none.
    /// - Returns: false when there is no way.
    func dial(_ peer: PeerNumber, evenResting: Bool) -> Bool {
        offerWays(peer)
        let selector = peers[peer].selector
        guard let path = selector.choice(nowNs: nowNs) ?? (evenResting ? selector.lastResort : nil) else {
            return false
        }
        peers[peer].state = .connecting(token: ask(for: path, to: peer), path: path)
        return true
    }

    private func ask(for path: TransportPath, to peer: PeerNumber) -> UInt64 {
        let token = number()
        dials[token] = peer
        let deadlineNs = nowNs + configuration.connectLimitNs
        command(.connect(token: token, to: path.address, deadlineNs: deadlineNs), on: path.rail)
        return token
    }

    private func offerWays(_ peer: PeerNumber) { peers.offer(peer, rails: liveDialing) }

    /// The rails that dial and have not ended.
    var liveDialing: [TransportKind: [RailNumber]] {
        endedRails.isEmpty ? dialing : dialing.mapValues { $0.filter { !endedRails.contains($0) } }
    }

    /// The way that is being dialled under a token.
    func path(of token: UInt64, _ peer: PeerNumber) -> TransportPath? {
        if case .connecting(token, let path) = peers[peer].state { return path }
        if let probe = peers[peer].probe, probe.token == token { return probe.path }
        return nil
    }

    /// A link that was asked for is up, and it is the right host's.
    func dialed(_ peer: PeerNumber, _ number: LinkNumber, _ link: EngineLink) {
        if let probe = peers[peer].probe, probe.token == link.token {
            peers[peer].probe = nil
            if case .up(let old) = peers[peer].state, links[old]?.isClosing == true {
                // The downloads wait for its end, which this is.
                for download in peers[peer].users { machineEvents.append((download, .linkDown(peer))) }
                for draining in peers[peer].draining { closeDraining(draining) }
                takeUp(peer, number)
            } else {
                moveReads(of: peer, to: number)
            }
        } else {
            takeUp(peer, number)
        }
        noteTurn(of: peer)
        lookUp(peer)
    }

    /// Downloads hear that a peer can be read from.
    private func takeUp(_ peer: PeerNumber, _ number: LinkNumber) {

        peers[peer].state = .up(number)
        for download in peers[peer].users { machineEvents.append((download, .linkUp(peer))) }
        restIfUnused(peer)
    }

    /// A link that was asked for did not come up: the next way is tried at once.
    func dialFailed(_ peer: PeerNumber, _ token: UInt64, _ error: TransportError) {
        guard let path = path(of: token, peer) else { return }
        if error.code != .linkClosed {
            peers[peer].selector.failed(path, why: error.description, nowNs: nowNs)
        }
        if let probe = peers[peer].probe, probe.token == token {
            peers[peer].probe = nil
            lookUp(peer)
            return
        }
        noteLoss(of: peer, path.kind, error)
        peers[peer].state = .none
        if error.code == .linkClosed || peers[peer].users.isEmpty || !dial(peer, evenResting: false) {
            loseUsers(peer)
        }
    }

    /// The link that a peer was read over is down.
    func linkLost(_ peer: PeerNumber, _ link: EngineLink, _ error: TransportError) {
        guard let path = link.path else { preconditionFailure("a link to \(peers[peer].host) without a way") }
        // A link we closed says nothing against its way.
        if error.code != .linkClosed {
            if link.isBlamed {
                // Reads that ended with it were taken for a stand-still: one failure, and this is its reason.
                peers[peer].selector.explain(path, why: error.description)
                peers[peer].lost = nil
            } else {
                peers[peer].selector.failed(path, why: error.description, nowNs: nowNs)
            }
            noteLoss(of: peer, path.kind, error)
        }
        peers[peer].state = .none
        peers[peer].idleUntilNs = nil
        idlePeers.remove(peer)
        climbing[peer] = nil
        // What is still read over older links is asked for again with the rest.
        for old in peers[peer].draining { closeDraining(old) }
        let users = peers[peer].users
        loseUsers(peer)
        if let probe = peers[peer].probe {
            peers[peer].probe = nil
            peers[peer].state = .connecting(token: probe.token, path: probe.path)
            peers[peer].users = users
        } else if peers[peer].selector.isResting(path, nowNs: nowNs), !users.isEmpty {
            peers[peer].users = users
            redials.append(peer)
        }
    }

    /// Downloads hear that a peer cannot be read from now.
    func loseUsers(_ peer: PeerNumber) {
        for download in peers[peer].users { machineEvents.append((download, .linkDown(peer))) }
        peers[peer].users = []
    }

    /// Brings up another way to peers whose link was lost, once the machines have heard of that: what they still said
    /// of the old link is no word about the new one.
    func redial() {
        while machineEvents.isEmpty, let peer = redials.popLast() {
            guard case .none = peers[peer].state, !peers[peer].users.isEmpty else { continue }
            if !dial(peer, evenResting: false) { peers[peer].users = [] }
        }
    }

    /// The way stood still: those links of the peer that have reads running, else the one for new reads.
    func blameWay(of peer: PeerNumber, _ why: String) {
        let all = linksRead(of: peer)
        let busy = all.filter { (links[$0]?.meter.reads ?? 0) > 0 }
        for number in busy.isEmpty ? Array(all.prefix(1)) : busy {
            guard let path = links[number]?.path, !links[number]!.isBlamed else { continue }
            links[number]!.isBlamed = true
            peers[peer].selector.failed(path, why: why, nowNs: nowNs)
            peers[peer].lost = peers[peer].lost ?? (path.kind, why)
        }
    }

    // MARK: a better way

    /// Sees whether a better way could come, and when it is to be tried.
    func lookUp(_ peer: PeerNumber) {
        guard case .up(let number) = peers[peer].state, peers[peer].probe == nil, !peers[peer].users.isEmpty,
            let path = links[number]?.path
        else {
            climbing[peer] = nil
            return
        }
        offerWays(peer)
        climbing[peer] = peers[peer].selector.betterAtNs(than: path, nowNs: nowNs)
    }

    /// Tries better ways whose time has come, beside the reads that go on.
    func climb() {
        for (peer, atNs) in climbing where atNs <= nowNs {
            climbing[peer] = nil
            guard case .up(let number) = peers[peer].state, peers[peer].probe == nil, !peers[peer].users.isEmpty,
                let path = links[number]?.path
            else { continue }
            guard let better = peers[peer].selector.better(than: path, nowNs: nowNs) else {
                lookUp(peer)
                continue
            }
            peers[peer].probe = (ask(for: better, to: peer), better)
        }
    }

    /// New wants go over a new link from now on; what was asked over the old one ends there.
    private func moveReads(of peer: PeerNumber, to number: LinkNumber) {
        guard case .up(let old) = peers[peer].state else {
            preconditionFailure("reads of \(peers[peer].host) move though it has no link")
        }
        peers[peer].state = .up(number)
        peers[peer].draining.append(old)
        drainingLinks.insert(old)
        links[old]?.drainUntilNs = nowNs + configuration.drainLimitNs
        for place in (links[old]?.sessions ?? [:]).sorted(by: { $0.key < $1.key }).map(\.value) {
            open(place, on: number)
        }
    }

    /// Closes the links that reads have moved away from and that nothing is expected over any more.
    func closeDrained() {
        for number in drainingLinks {
            guard let link = links[number], let peer = link.peer, case .up(let active) = peers[peer].state else {
                continue
            }
            let mapped = links[active]?.mapped ?? []
            let isBusy =
                link.meter.reads > 0 || !link.wants.isEmpty || grants.values.contains { $0.link == number }
                || link.mapped.contains { links[active]?.sessionNumbers[$0] != nil && !mapped.contains($0) }
            if !isBusy || (link.drainUntilNs ?? 0) <= nowNs { closeDraining(number) }
        }
    }

    private func closeDraining(_ number: LinkNumber) {
        drainingLinks.remove(number)
        guard let link = links[number], let peer = link.peer else { return }
        peers[peer].draining.removeAll { $0 == number }
        command(.close(link.id), on: link.rail)
    }

    // MARK: what people are told

    private func noteLoss(of peer: PeerNumber, _ kind: TransportKind, _ error: TransportError) {
        guard error.code != .linkClosed else { return }
        log("link to \(peers[peer].host) over \(kind) is down: \(error)")
        peers[peer].lost = peers[peer].lost ?? (kind, error.description)
    }

    /// Reads of a peer go over a link that is up: a change of transport is said once, and counted.
    private func noteTurn(of peer: PeerNumber) {
        guard case .up(let number) = peers[peer].state, let path = links[number]?.path else { return }
        let entry = peers[peer]
        peers[peer].lastKind = path.kind
        peers[peer].lost = nil
        guard let from = entry.lastKind ?? entry.lost?.kind, from != path.kind else { return }
        let why = entry.lost?.why ?? entry.selector.passedOver(for: path.kind, nowNs: nowNs)?.why
        log("reads from \(entry.host): \(from) → \(path.kind): \(why ?? "it answers again")")
        ended.transportChanges[TransportChange(from: from, to: path.kind), default: 0] += 1
    }
}
