import Artifacts

/// Pieces: which next, from whom, and how it goes with the asking and reading.
extension Download {
    /// Sets whether a piece could be wanted now. Called after every change of what that depends on.
    mutating func refresh(_ number: Int) {
        let isWantable =
            !held.contains(number) && digests[number] != nil && !originPending.contains(number)
            && flights[number]?.isBusy != true
            && files[Int(numbering.file(of: number).value)].phase == .fetching
        if isWantable { wantable.insert(number) } else { wantable.remove(number) }
    }

    /// Pieces with a copy from this parent, ascending.
    func flightNumbers(with peer: PeerNumber) -> [Int] {
        flights.compactMap { number, flight in flight.copies.contains { $0.peer == peer } ? number : nil }
            .sorted()
    }

    /// Asks until budget, parents or pieces run out: the rarest piece first, then a parent for it.
    ///
    /// What near parents have comes before what only far ones have, and only a few pieces come from afar at a time: a
    /// rack's uplink is shared by all in it, and what one has brought in the others take from it.
    mutating func askForPieces(_ nowNs: UInt64) {
        guard wantable.count > 0, inFlightBytes + leastPieceBytes <= goalBytes else { return }
        var near: [Int] = []
        var far: [Int] = []
        var farAsked = 0
        var nearUp = 0
        let isWaiting = isWaitingForNeighbour(nowNs)
        let wantsMax = wantsPerParent
        for place in parents.indices {
            let isFar = parents[place].isFar
            if isFar { farAsked += parents[place].outstanding }
            if !isFar, !parents[place].isSeed, parents[place].isUp { nearUp += 1 }
            guard parents[place].mayBeAsked(settings, wantsMax: wantsMax), !isWaiting || parents[place].isNeighbour
            else { continue }
            if isFar { far.append(place) } else { near.append(place) }
        }
        let farMax = nearUp == 0 ? Int.max : max(settings.farWantsMin, settings.farWantsMax / (1 + nearUp))
        while true {
            var usable = near
            var number = near.isEmpty ? nil : rarestPiece(at: near)
            if number == nil, farAsked < farMax, !far.isEmpty {
                usable = far
                number = rarestPiece(at: far)
            }
            guard let number else { return }
            guard inFlightBytes + numbering.sizeBytes(number) <= goalBytes else { return }
            guard let place = bestParent(for: number, among: usable) else {
                preconditionFailure("\(numbering.address(number)) was picked though no parent has it")
            }
            want(number, place, nowNs)
            if parents[place].isFar { farAsked += 1 }
            if !parents[place].mayBeAsked(settings, wantsMax: wantsMax) {
                near.removeAll { $0 == place }
                far.removeAll { $0 == place }
            }
        }
    }

    /// How many bytes may be on their way: the budget, or less where links are slow.
    var goalBytes: Int {
        let least = settings.inFlightPiecesMin * mostPieceBytes
        guard let receiveRate else { return min(budgetBytes, least) }
        let inTime = receiveRate * Double(settings.inFlightNs) / 1e9
        return min(budgetBytes, max(least, Int(min(inTime, 1e15))))
    }

    /// How many wants one parent has of us: what may be on its way, shared out among those that are up.
    ///
    /// Few for each of many: what waits at one busy parent could have come from another.
    var wantsPerParent: Int {
        let up = parents.reduce(0) { $0 + ($1.isUp ? 1 : 0) }
        let share = goalBytes / max(1, mostPieceBytes) / max(1, up)
        return min(max(share, settings.wantsPerParentMin), settings.wantsPerParentMax)
    }

    /// Measures how fast pieces come in from parents.
    mutating func noteReceived(_ bytes: Int, _ nowNs: UInt64) {
        if receiveMarkNs == 0 || nowNs > receiveMarkNs + 5_000_000_000 {
            (receiveMarkNs, receiveMarkBytes) = (nowNs, 0)
            return
        }
        receiveMarkBytes += bytes
        let sinceNs = nowNs - receiveMarkNs
        guard sinceNs >= 20_000_000, receiveMarkBytes >= 4 * leastPieceBytes else { return }
        let rate = Double(receiveMarkBytes) * 1e9 / Double(sinceNs)
        receiveRate = max(rate, ((receiveRate ?? rate) * 3 + rate) / 4)
        (receiveMarkNs, receiveMarkBytes) = (nowNs, 0)
    }

    /// Whether a parent on our own machine is about to say what it has: then the network is not asked for it yet.
    private func isWaitingForNeighbour(_ nowNs: UInt64) -> Bool {
        nowNs < neighbourUntilNs && parents.contains { $0.isNeighbour && !$0.departing && $0.isArriving }
    }

    /// The wantable piece that the fewest linked neighbours have, among those that a usable parent has.
    ///
    /// Ties fall at random, so that peers which start together ask for different pieces. The search begins at a random
    /// piece and is bounded: it stops after `rarestExaminedMax` pieces, and after `rarestSinglesMax` that only one
    /// neighbour has.
    private mutating func rarestPiece(at usable: [Int]) -> Int? {
        let wordCount = wantable.words.count
        let start = Int.random(in: 0..<numbering.count, using: &random)
        var (best, fewest, ties, examined) = (-1, UInt16.max, 0, 0)
        // The first word is visited twice: its high part first, its low part last.
        for step in 0...wordCount {
            let index = (start >> 6 + step) % wordCount
            var candidates = wantable.words[index]
            if candidates == 0 { continue }
            let low = (UInt64(1) << UInt64(start & 63)) - 1
            if step == 0 { candidates &= ~low }
            if step == wordCount { candidates &= low }
            candidates &= usable.reduce(UInt64(0)) { $0 | parents[$1].has.words[index] }
            while candidates != 0 {
                let number = index * 64 + candidates.trailingZeroBitCount
                candidates &= candidates - 1
                examined += 1
                let holders = availability[number]
                if holders < fewest { (fewest, ties) = (holders, 0) }
                guard holders == fewest else { continue }
                ties += 1
                if ties == 1 || random.next() % UInt64(ties) == 0 { best = number }
            }
            if examined >= Self.rarestExaminedMax || fewest == 1 && ties >= Self.rarestSinglesMax { break }
        }
        return best < 0 ? nil : best
    }

    private static var rarestExaminedMax: Int { 4096 }
    private static var rarestSinglesMax: Int { 64 }

    /// Who is asked: fewest of our reads, then the fastest, then the nearest; a few in a hundred at random.
    ///
    /// A parent on our own machine comes before all others: its bytes cross no cable. And a peer leaves seeds to pieces that
    /// only they have: a seed is asked when no other parent with the piece can be.
    func isBetter(_ left: Parent, than right: Parent) -> Bool {
        if left.isNeighbour != right.isNeighbour { return left.isNeighbour }
        if role == .peer, left.isSeed != right.isSeed { return right.isSeed }
        let (leftNs, rightNs) = (left.turnNs, right.turnNs)
        if leftNs != rightNs { return leftNs < rightNs }
        if left.outstanding != right.outstanding { return left.outstanding < right.outstanding }
        return left.distance < right.distance
    }

    /// The best of the usable parents that have the piece.
    mutating func bestParent(for number: Int, among usable: [Int]) -> Int? {
        let holders = usable.filter { parents[$0].has.contains(number) }
        guard !holders.isEmpty else { return nil }
        if Int.random(in: 0..<1000, using: &random) < settings.probesPerMille {
            return holders.randomElement(using: &random)
        }
        let start = Int.random(in: 0..<holders.count, using: &random)
        var best = holders[start]
        for step in 1..<max(holders.count, 1) {
            let place = holders[(start + step) % holders.count]
            if isBetter(parents[place], than: parents[best]) { best = place }
        }
        return best
    }

    /// Asks a parent for a piece; its slot counts from here.
    mutating func want(_ number: Int, _ place: Int, _ nowNs: UInt64) {
        let peer = parents[place].peer
        flights[number, default: Flight()].copies.append(
            Flight.Copy(
                peer: peer, state: .wanted, sinceNs: nowNs, wantedNs: nowNs,
                deadlineNs: nowNs + settings.wantTimeoutNs))
        copyDeadlineNs = min(copyDeadlineNs, nowNs + settings.wantTimeoutNs)
        parents[place].wants += 1
        inFlightBytes += numbering.sizeBytes(number)
        precondition(
            inFlightBytes <= budgetBytes, "\(numbering.address(number)) was wanted beyond the budget")
        refresh(number)
        actions.append(.want(peer, numbering.address(number)))
    }

    /// Ends one copy of a piece, and frees its share of the budget.
    mutating func removeCopy(_ number: Int, _ peer: PeerNumber) {
        guard let index = flights[number]?.copies.firstIndex(where: { $0.peer == peer }) else {
            preconditionFailure("\(numbering.address(number)) is not on its way from \(peer)")
        }
        let copy = flights[number]!.copies.remove(at: index)
        if let place = place(of: peer) {
            switch copy.state {
            case .wanted: parents[place].wants -= 1
            case .reading: parents[place].reads -= 1
            }
            if copy.isAbandoned { parents[place].staleReads -= 1 }
        }
        inFlightBytes -= numbering.sizeBytes(number)
        if flights[number]!.isEmpty { flights[number] = nil }
        refresh(number)
    }

    /// Where a want that this parent has not answered is, or nil: its answer crossed our taking it back.
    private func wanted(_ peer: PeerNumber, _ address: PieceAddress) -> (place: Int, number: Int, copy: Int)? {
        guard let place = place(of: peer), numbering.contains(address) else { return nil }
        let number = numbering.number(address)
        guard let copy = flights[number]?.copies.firstIndex(where: { $0.peer == peer }),
            flights[number]!.copies[copy].state == .wanted
        else { return nil }
        return (place, number, copy)
    }

    /// A grant is read at once. One for a want taken back is given up unread; a second one for the same read is
    /// ignored.
    mutating func granted(
        _ peer: PeerNumber, _ address: PieceAddress, _ grant: GrantID, leaseUntilNs: UInt64, _ nowNs: UInt64
    ) {
        guard let (place, number, copy) = wanted(peer, address) else {
            if let place = place(of: peer), parents[place].isUp, numbering.contains(address),
                flights[numbering.number(address)]?.copies.contains(where: { $0.peer == peer }) != true
            {
                actions.append(.withdraw(peer, address))
            }
            return
        }
        parents[place].wantTimeouts = 0
        guard leaseUntilNs > nowNs else {
            actions.append(.withdraw(peer, address))
            removeCopy(number, peer)
            pause(place, untilNs: nowNs + settings.busyRetryMinNs)
            return
        }
        parents[place].wants -= 1
        parents[place].reads += 1
        flights[number]!.copies[copy].state = .reading
        flights[number]!.copies[copy].sinceNs = nowNs
        let deadlineNs = min(nowNs + settings.readTimeoutNs, leaseUntilNs)
        flights[number]!.copies[copy].deadlineNs = deadlineNs
        copyDeadlineNs = min(copyDeadlineNs, deadlineNs)
        actions.append(.read(peer, address, grant))
    }

    /// No upload slot is free there: nothing is asked of it for as long as it says, within our bounds.
    mutating func busy(_ peer: PeerNumber, _ address: PieceAddress, retryAfterNs: UInt64, _ nowNs: UInt64) {
        guard let (place, number, _) = wanted(peer, address) else { return }
        removeCopy(number, peer)
        parents[place].wantTimeouts = 0
        let wait = min(max(retryAfterNs, settings.busyRetryMinNs), settings.busyRetryMaxNs)
        pause(place, untilNs: nowNs + wait)
    }

    /// The parent denies a piece that its map names; after a few such lies its link is dropped.
    mutating func absent(_ peer: PeerNumber, _ address: PieceAddress) {
        guard let (place, number, _) = wanted(peer, address) else { return }
        denyPiece(place, number)
        removeCopy(number, peer)
        parents[place].wantTimeouts = 0
        parents[place].lies += 1
        parents[place].hasDenied = true
        hasDenials = true
        if parents[place].lies >= settings.absentLiesMax {
            complain(of: parents[place].peer)
            drop(place, reason: "its piece map names pieces it denies to have")
        }
    }

    /// Asks nothing of a parent before a time.
    mutating func pause(_ place: Int, untilNs: UInt64) {
        let latestNs = max(parents[place].pausedUntilNs ?? 0, untilNs)
        parents[place].pausedUntilNs = latestNs
        noteDue(latestNs)
    }

    /// A read ended. Whole, it goes to a worker, unless another copy was first or nobody waits for it any more.
    mutating func readEnded(_ peer: PeerNumber, _ address: PieceAddress, ok: Bool, _ nowNs: UInt64) {
        let number = numbering.number(address)
        guard let copy = flights[number]?.copies.first(where: { $0.peer == peer && $0.state == .reading })
        else {
            preconditionFailure("readEnded of \(address) from \(peer) though none runs")
        }
        removeCopy(number, peer)
        guard let place = place(of: peer) else {
            preconditionFailure("readEnded of \(address) from \(peer), which was left while it ran")
        }
        guard ok else {
            readFailed(place, nowNs)
            return
        }
        parents[place].readFailures = 0
        noteReceived(numbering.sizeBytes(number), nowNs)
        // From the want on: a parent that lets us wait is as slow for us as one that sends slowly.
        let seconds = Double(max(nowNs - min(copy.wantedNs, nowNs), 1)) / 1e9
        let rate = Double(numbering.sizeBytes(number)) / seconds
        parents[place].rate = parents[place].rate.map { $0 * 0.75 + rate * 0.25 } ?? rate
        if parents[place].state == .excluded || digests[number] == nil {
            discard(number, from: .peer(peer))
        } else {
            arrive(number, from: .peer(peer))
        }
    }

    /// A read was cut off: its piece can be asked for again, there or elsewhere.
    mutating func readCut(_ peer: PeerNumber, _ address: PieceAddress) {
        let number = numbering.number(address)
        guard flights[number]?.copies.contains(where: { $0.peer == peer && $0.state == .reading }) == true else {
            preconditionFailure("readCut of \(address) from \(peer) though none runs")
        }
        removeCopy(number, peer)
    }

    /// A read fell short: the piece goes elsewhere while the parent pauses; a few in a row and its link is dropped.
    private mutating func readFailed(_ place: Int, _ nowNs: UInt64) {
        guard parents[place].isUp else { return }
        parents[place].readFailures += 1
        if parents[place].readFailures >= settings.readFailuresMax {
            drop(place, reason: "\(parents[place].readFailures) reads in a row fell short", blamesWay: true)
        } else {
            pause(
                place,
                untilNs: nowNs + backoff(settings.backoffNs, doublings: parents[place].readFailures - 1))
        }
    }
}
