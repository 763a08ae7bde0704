import Artifacts

/// Sessions and piece maps: which files are open where, and which pieces are there.
extension Download {
    /// A map, or news of one: a union with what was known. For a file that is not open there it is late, and dropped.
    mutating func takeMap(_ peer: PeerNumber, _ file: FileIndex, _ pieces: [PieceIndex], capacity: Int?) {
        guard let place = place(of: peer), parents[place].isUp, !parents[place].departing, ending == nil,
            let session = parents[place].sessions[file], session.isOnLink
        else { return }
        let range = numbering.range(of: file)
        // What a remote peer says cannot trap: a map of another size is that of a broken peer.
        guard capacity == nil || capacity == range.count,
            !pieces.contains(where: { Int($0.value) >= range.count })
        else { return drop(place, reason: "its piece map of \(path(file)) does not fit the file") }
        if capacity != nil { parents[place].sessions[file] = Parent.Session(state: .open) }
        for piece in pieces {
            let number = range.lowerBound + Int(piece.value)
            if parents[place].has.insert(number) { availability[number] += 1 }
        }
    }

    /// The parent does not hold the file: asked again later, as it may come to.
    mutating func sessionUnknown(_ peer: PeerNumber, _ file: FileIndex, _ nowNs: UInt64) {
        guard let place = place(of: peer), parents[place].isUp, ending == nil,
            var session = parents[place].sessions[file], session.isOnLink
        else { return }
        forgetMap(place, file)
        for number in flightNumbers(with: peer)
        where numbering.range(of: file).contains(number)
            && flights[number]!.copies.contains(where: { $0.peer == peer && $0.state == .wanted })
        {
            removeCopy(number, peer)
        }
        let retryAtNs = nowNs + backoff(settings.unknownRetryNs, doublings: session.unknowns)
        session.state = .unknown(retryAtNs: retryAtNs)
        noteDue(retryAtNs)
        session.unknowns += 1
        parents[place].sessions[file] = session
        parents[place].sessionsDirty = true
    }

    /// Opens files with missing pieces where there is room: those something can be asked of first, small before large.
    mutating func openSessions(_ nowNs: UInt64) {
        for place in parents.indices
        where parents[place].sessionsDirty && parents[place].isUp && !parents[place].departing {
            parents[place].sessionsDirty = false
            var open = parents[place].sessions.values.reduce(0) { $0 + ($1.isOnLink ? 1 : 0) }
            for hasDigests in [true, false] {
                for file in fileOrder
                where files[Int(file.value)].phase == .fetching && files[Int(file.value)].missing > 0
                    && files[Int(file.value)].hasDigests == hasDigests && mayOpen(place, file)
                {
                    if open >= settings.sessionsPerLinkMax {
                        guard hasDigests, let idle = idleSession(place) else { break }
                        closeSession(place, idle)
                        open -= 1
                    }
                    let unknowns = parents[place].sessions[file]?.unknowns ?? 0
                    parents[place].sessions[file] = Parent.Session(
                        state: .opening(deadlineNs: nowNs + settings.mapTimeoutNs), unknowns: unknowns)
                    noteDue(nowNs + settings.mapTimeoutNs)
                    actions.append(.open(parents[place].peer, file))
                    open += 1
                }
            }
        }
    }

    private func mayOpen(_ place: Int, _ file: FileIndex) -> Bool {
        guard let session = parents[place].sessions[file] else { return true }
        return session.state == .again
    }

    /// An open file of which nothing can be asked yet, to make room for one of which something can.
    private func idleSession(_ place: Int) -> FileIndex? {
        fileOrder.last {
            parents[place].sessions[$0]?.isOnLink == true && !files[Int($0.value)].hasDigests
        }
    }

    /// Whether a file is open there.
    func hasSession(_ place: Int, _ file: FileIndex) -> Bool {
        parents[place].sessions[file]?.isOnLink == true
    }

    /// Ends our session on a file, with its wants and what it told us.
    mutating func closeSession(_ place: Int, _ file: FileIndex) {
        let peer = parents[place].peer
        let range = numbering.range(of: file)
        for number in flightNumbers(with: peer)
        where range.contains(number)
            && flights[number]!.copies.contains(where: { $0.peer == peer && $0.state == .wanted })
        {
            actions.append(.withdraw(peer, numbering.address(number)))
            removeCopy(number, peer)
        }
        if hasSession(place, file) { actions.append(.close(peer, file)) }
        parents[place].sessions[file] = nil
        parents[place].sessionsDirty = true
        forgetMap(place, file)
    }

    /// Ends our sessions on a file everywhere.
    mutating func closeSessions(_ file: FileIndex) {
        for place in parents.indices where parents[place].sessions[file] != nil { closeSession(place, file) }
    }

    /// Forgets what a parent has of one file.
    private mutating func forgetMap(_ place: Int, _ file: FileIndex) {
        for number in numbering.range(of: file) where parents[place].has.remove(number) {
            availability[number] -= 1
        }
    }

    /// A parent that departed and came back without losing its link: its maps are asked for afresh.
    mutating func forgetMap(_ place: Int) {
        for file in parents[place].sessions.keys.sorted() { closeSession(place, file) }
        parents[place].sessionsDirty = true
    }

    /// Forgets all that a parent has.
    mutating func dropAvailability(_ place: Int) {
        let words = parents[place].has.words
        for (index, word) in words.enumerated() {
            var rest = word
            while rest != 0 {
                availability[index * 64 + rest.trailingZeroBitCount] -= 1
                rest &= rest - 1
            }
        }
        parents[place].has = PieceBits(capacity: numbering.count)
    }

    /// A piece that a parent's map names is not there after all.
    mutating func denyPiece(_ place: Int, _ number: Int) {
        if parents[place].has.remove(number) { availability[number] -= 1 }
    }

    /// Asks those that denied a piece what they have, after a while: one that goes on lying is dropped and told of. What
    /// only liars have would be waited for without end.
    mutating func reopenAfterDenials(_ nowNs: UInt64) {
        guard hasDenials else { return }
        hasDenials = false
        for place in parents.indices where parents[place].hasDenied {
            guard parents[place].outstanding == 0 else {
                hasDenials = true
                continue
            }
            parents[place].hasDenied = false
            guard parents[place].isUp, !parents[place].departing else { continue }
            for (file, session) in parents[place].sessions.sorted(by: { $0.key < $1.key })
            where session.state == .open && files[Int(file.value)].missing > 0 {
                closeSession(place, file)
                let waitNs = backoff(settings.unknownRetryNs, doublings: parents[place].lies)
                parents[place].sessions[file] = Parent.Session(state: .unknown(retryAtNs: nowNs + waitNs))
                noteDue(nowNs + waitNs)
            }
        }
    }
}
