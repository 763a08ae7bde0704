import Artifacts

/// Parents: who they are, their links, their back-off.
extension Download {
    /// The parent's place in `parents`, or nil when it is not (any more) one of ours.
    func place(of peer: PeerNumber) -> Int? {
        var low = 0
        var high = parents.count
        while low < high {
            let middle = (low + high) / 2
            if parents[middle].peer < peer { low = middle + 1 } else { high = middle }
        }
        return low < parents.count && parents[low].peer == peer ? low : nil
    }

    mutating func takeNeighbourhood(_ offers: [ParentOffer], _ nowNs: UInt64) {
        guard ending == nil else { return }
        var named: Set<PeerNumber> = []
        // A scheduler that offers it has forgotten (it is another, or its exclusion is over) what we cannot.
        for offer in offers where excluded.contains(offer.peer) || banned.contains(offer.peer) {
            complain(of: offer.peer)
        }
        for offer in offers where !excluded.contains(offer.peer) && !banned.contains(offer.peer) {
            named.insert(offer.peer)
            guard let place = place(of: offer.peer) else {
                let before = parents.firstIndex { $0.peer > offer.peer } ?? parents.count
                parents.insert(Parent(offer, pieceCount: numbering.count), at: before)
                if offer.distance == 0 { neighbourUntilNs = nowNs + settings.neighbourWaitNs }
                continue
            }
            parents[place].isSeed = offer.isSeed
            parents[place].distance = offer.distance
            if parents[place].departing {
                parents[place].departing = false
                if parents[place].isUp { forgetMap(place) }
            }
            if parents[place].state == .parked {
                // The scheduler believes in it: one more try, after the longest wait.
                parents[place].attempts = settings.connectAttemptsMax - 1
                let untilNs = nowNs + backoff(settings.backoffMaxNs, doublings: 0)
                parents[place].state = .waiting(untilNs: untilNs)
                noteDue(untilNs)
            }
        }
        for place in parents.indices where !named.contains(parents[place].peer) && !parents[place].departing {
            parents[place].departing = true
            withdrawWants(place)
            dropAvailability(place)
        }
    }

    /// Leaves parents that are no longer in the neighbourhood and read nothing any more.
    mutating func leaveDeparted() {
        parents.removeAll { parent in
            guard parent.departing, parent.reads == 0, parent.state != .dropping else { return false }
            if parent.hasLink { actions.append(.leave(parent.peer)) }
            return true
        }
    }

    /// A link came up. In states other than connecting it crossed our own decision: taken as good news, or ignored.
    mutating func linkUp(_ peer: PeerNumber) {
        guard ending == nil else { return }
        guard let place = place(of: peer) else {
            // It was brought up again for a parent that is not ours any more.
            actions.append(.leave(peer))
            return
        }
        switch parents[place].state {
        case .connecting, .idle, .waiting, .parked:
            parents[place].state = .up
            parents[place].sessionsDirty = true
            parents[place].wantTimeouts = 0
            parents[place].readFailures = 0
            parents[place].lies = 0
        case .excluded: actions.append(.leave(peer))
        case .up, .dropping: break
        }
    }

    /// A link is down, or did not come up. Reads of it still end with `readEnded`, before or after.
    mutating func linkDown(_ peer: PeerNumber, _ nowNs: UInt64) {
        guard let place = place(of: peer) else { return }
        switch parents[place].state {
        case .up, .connecting, .dropping:
            loseLink(place)
            parents[place].attempts += 1
            if parents[place].attempts >= settings.connectAttemptsMax {
                complain(of: parents[place].peer)
                parents[place].state = .parked
            } else {
                let wait = backoff(settings.backoffNs, doublings: parents[place].attempts - 1)
                parents[place].state = .waiting(untilNs: nowNs + wait)
                noteDue(nowNs + wait)
            }
        case .idle, .waiting, .parked, .excluded: break
        }
    }

    /// Has a useless link closed; its pieces are asked for elsewhere at once.
    mutating func drop(_ place: Int, reason: String, blamesWay: Bool = false, isSilent: Bool = false) {
        guard parents[place].hasLink else { return }
        if isSilent { complain(of: parents[place].peer) }
        actions.append(.drop(parents[place].peer, DropReason(reason, blamesWay: blamesWay)))
        loseLink(place)
        parents[place].state = .dropping
    }

    /// Tells the scheduler that a parent keeps what it has to itself: a piece that only such hosts hold must be had from
    /// elsewhere, and nobody but their children can tell. The piece named is one that is missing.
    mutating func complain(of peer: PeerNumber) {
        guard let number = digests.indices.first(where: { !held.contains($0) }) else { return }
        actions.append(.complain(peer, numbering.address(number)))
    }

    /// A parent sent wrong bytes: told to the scheduler, and nothing is taken from it again.
    mutating func exclude(_ place: Int, _ address: PieceAddress) {
        let peer = parents[place].peer
        actions.append(.blame(peer, address))
        drop(place, reason: "it sent wrong bytes for \(address)")
        parents[place].state = .excluded
        excluded.insert(peer)
    }

    /// Its host sent wrong bytes over another link: not blamed once more, but nothing is taken from it again.
    mutating func ban(_ peer: PeerNumber) {
        banned.insert(peer)
        guard let place = place(of: peer), parents[place].state != .excluded else { return }
        drop(place, reason: "its host sent wrong bytes over another link")
        parents[place].state = .excluded
    }

    /// Forgets what hangs on a link: wants end, reads are given up (their slots stay ours until `readEnded`).
    private mutating func loseLink(_ place: Int) {
        let peer = parents[place].peer
        dropAvailability(place)
        parents[place].sessions = [:]
        parents[place].pausedUntilNs = nil
        for number in flightNumbers(with: peer) {
            guard let copy = flights[number]?.copies.firstIndex(where: { $0.peer == peer }) else { continue }
            if flights[number]!.copies[copy].state == .wanted {
                removeCopy(number, peer)
            } else {
                if !flights[number]!.copies[copy].isAbandoned { parents[place].staleReads += 1 }
                flights[number]!.copies[copy].isAbandoned = true
                refresh(number)
            }
        }
    }

    /// Takes back every want that a parent has not answered.
    mutating func withdrawWants(_ place: Int) {
        let peer = parents[place].peer
        for number in flightNumbers(with: peer)
        where flights[number]!.copies.contains(where: { $0.peer == peer && $0.state == .wanted }) {
            actions.append(.withdraw(peer, numbering.address(number)))
            removeCopy(number, peer)
        }
    }

    /// Brings up links while pieces are missing, nearest first.
    mutating func connectParents(_ nowNs: UInt64) {
        guard missingPieces > 0 else { return }
        var links = 0
        var connecting = 0
        var idle: [Int] = []
        for place in parents.indices {
            if parents[place].hasLink { links += 1 }
            if case .connecting = parents[place].state { connecting += 1 }
            if parents[place].state == .idle && !parents[place].departing { idle.append(place) }
        }
        guard !idle.isEmpty else { return }
        idle.shuffle(using: &random)
        // The shuffle breaks ties; sorting by an explicit rank keeps it.
        let ranked = idle.enumerated().sorted {
            (parents[$0.element].distance, $0.offset) < (parents[$1.element].distance, $1.offset)
        }
        for (_, place) in ranked {
            guard links < settings.linksMax, connecting < settings.connectsMax else { return }
            parents[place].state = .connecting(deadlineNs: nowNs + settings.connectTimeoutNs)
            noteDue(nowNs + settings.connectTimeoutNs)
            actions.append(.connect(parents[place].peer))
            links += 1
            connecting += 1
        }
    }

    /// A wait that doubles up to the longest, between half and the whole of it at random.
    mutating func backoff(_ firstNs: UInt64, doublings: Int) -> UInt64 {
        let wait = min(firstNs << UInt64(min(max(doublings, 0), 20)), settings.backoffMaxNs)
        return wait / 2 + UInt64.random(in: 0...(wait / 2), using: &random)
    }
}
