import Artifacts
import Rails
import Swarm
import Transport

extension Interpreter {
    /// What the far side of a link says.
    func message(_ message: PeerMessage<RemoteKey>, on number: LinkNumber) {
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
            links[number]?.wants.remove(Want(session: session, piece: piece))
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
            grants[grant] = Grant(key: key, link: number, session: session, lengthBytes: lengthBytes)
            let until = nowNs + UInt64(leaseMs) * 1_000_000
            machineEvents.append((place.download, .granted(peer, address, grant, leaseUntilNs: until)))
        case .busy(let session, let piece, let retryAfterMs):
            links[number]?.wants.remove(Want(session: session, piece: piece))
            guard let place = link.sessions[session], let count = pieceCount(place), piece.value < count else { return }
            let address = PieceAddress(file: place.file, piece: piece)
            let retry = UInt64(min(retryAfterMs, 60_000)) * 1_000_000
            machineEvents.append((place.download, .busy(peer, address, retryAfterNs: retry)))
        case .absent(let session, let piece):
            links[number]?.wants.remove(Want(session: session, piece: piece))
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
            drop(peer, DropReason("its piece map does not fit the file", blamesWay: false))
            return
        }
        guard last else {
            links[number]?.partialMaps[session] = whole
            return
        }
        links[number]?.partialMaps[session] = nil
        guard let set = PieceSet(capacity: Int(count), bytes: whole) else {
            drop(peer, DropReason("its piece map does not fit the file", blamesWay: false))
            return
        }
        links[number]?.mapped.insert(place)
        machineEvents.append((place.download, .map(peer, place.file, set)))
    }

    private func pieceCount(_ place: DownloadFile) -> UInt32? {
        downloads[place.download].map { UInt32($0.file(place.file).layout.count) }
    }

    func forgetSession(_ session: UInt32, on number: LinkNumber) {
        guard let place = links[number]?.sessions.removeValue(forKey: session) else { return }
        links[number]!.sessionNumbers[place] = nil
        links[number]!.partialMaps[session] = nil
        links[number]!.mapped.remove(place)
        links[number]!.wants = links[number]!.wants.filter { $0.session != session }
    }

    /// The link that pieces of a file are wanted over, and our session for the file on it.
    ///
    /// While reads move to a new link, a file moves once its piece map has come over the new one.
    func session(_ peer: PeerNumber, _ place: DownloadFile) -> (link: LinkNumber, session: UInt32)? {
        var found: (link: LinkNumber, session: UInt32)?
        for number in linksRead(of: peer) {
            guard let session = links[number]?.sessionNumbers[place] else { continue }
            if links[number]!.mapped.contains(place) { return (number, session) }
            found = found ?? (number, session)
        }
        return found
    }

    /// Tells a parent of a file's download.
    func open(_ peer: PeerNumber, _ place: DownloadFile) {
        guard case .up(let number) = peers[peer].state else { return }
        open(place, on: number)
    }

    /// Opens a session on one link. What was known there of the file is asked for afresh.
    func open(_ place: DownloadFile, on number: LinkNumber) {
        guard let file = downloads[place.download]?.file(place.file), let link = links[number] else { return }
        if let old = link.sessionNumbers[place] {
            say(.close(session: old), on: number)
            forgetSession(old, on: number)
        }
        let session = link.nextSession
        links[number]!.nextSession += 1
        links[number]!.sessions[session] = place
        links[number]!.sessionNumbers[place] = session
        say(.open(session: session, task: file.task, pieceCount: UInt32(file.layout.count)), on: number)
    }

    /// Ends our session for a file with a parent.
    func close(_ peer: PeerNumber, _ place: DownloadFile) {
        for number in linksRead(of: peer) {
            guard let session = links[number]?.sessionNumbers[place] else { continue }
            say(.close(session: session), on: number)
            forgetSession(session, on: number)
        }
    }
}
