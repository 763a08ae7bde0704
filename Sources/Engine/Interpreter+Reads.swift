import Artifacts
import Memory
import Rails
import Swarm
import Transport

extension Interpreter {
    /// Reads a granted piece into a fresh slot, or as soon as one is free.
    func read(_ peer: PeerNumber, _ address: PieceAddress, _ grant: GrantID, for download: DownloadNumber) {
        let waiting = WaitingRead(download: download, peer: peer, address: address, grant: grant)
        if !readsWaiting.isEmpty || !start(waiting) { readsWaiting.append(waiting) }
    }

    /// Starts reads that waited for a slot, in order.
    func startWaitingReads() {
        while let first = readsWaiting.first, start(first) { readsWaiting.removeFirst() }
    }

    /// The link is gone, or the download over: reads of it that wait for a slot end unread.
    func dropWaitingReads(on link: LinkNumber? = nil, download: DownloadNumber? = nil) {
        let isDropped = { [grants] (read: WaitingRead) in
            (link == nil || grants[read.grant]?.link == link) && (download == nil || read.download == download)
        }
        let dropped = readsWaiting.filter(isDropped)
        guard !dropped.isEmpty else { return }
        readsWaiting.removeAll(where: isDropped)
        for read in dropped {
            grants[read.grant] = nil
            machineEvents.append((read.download, .readEnded(read.peer, read.address, ok: false)))
        }
    }

    /// - Returns: false when there is no slot now.
    private func start(_ read: WaitingRead) -> Bool {
        guard let grant = grants[read.grant], let link = links[grant.link] else {
            grants[read.grant] = nil
            machineEvents.append((read.download, .readEnded(read.peer, read.address, ok: false)))
            return true
        }
        guard let slot = takeSlot(lengthBytes: Int(grant.lengthBytes)) else { return false }
        grants[read.grant] = nil
        let tag = number()
        reads[tag] = Read(
            download: read.download, peer: read.peer, address: read.address, slot: slot, link: grant.link,
            session: grant.session, lengthBytes: grant.lengthBytes)
        links[grant.link]!.meter.began(nowNs: nowNs)
        downloads[read.download]?.slotsOut += 1
        let request = PieceRead(
            link: link.id, key: grant.key, region: rails[link.rail].regions[0], localOffset: UInt64(slot.offset),
            lengthBytes: UInt64(grant.lengthBytes), tag: tag)
        command(.read(request), on: link.rail)
        return true
    }

    /// The machine has looked at a grant: what it does not read is no use to anybody.
    func forgetUnread(_ grant: GrantID) {
        guard grants[grant] != nil, !readsWaiting.contains(where: { $0.grant == grant }) else { return }
        grants[grant] = nil
    }

    /// A read ended; only now is its slot ours again.
    func readCompleted(_ tag: UInt64, _ failure: TransportError.Code?) {
        guard let read = reads.removeValue(forKey: tag) else { return }
        measure(read, failure)
        if links[read.link]?.sessions[read.session] != nil {
            say(.release(session: read.session, piece: read.address.piece), on: read.link)
        }
        guard let task = downloads[read.download], task.outcome == nil, failure == nil else {
            downloads[read.download]?.slotsOut -= 1
            free(read.slot)
            let isCut = links[read.link]?.drainUntilNs != nil
            machineEvents.append(
                (
                    read.download,
                    isCut ? .readCut(read.peer, read.address) : .readEnded(read.peer, read.address, ok: false)
                ))
            return
        }
        let kind = links[read.link].map { rails[$0.rail].capabilities.kind } ?? .tcp
        let piece = ArrivedPiece(address: read.address, source: .peer(read.peer))
        task.arrived[piece] = Arrival(slot: read.slot, kind: kind)
        machineEvents.append((read.download, .readEnded(read.peer, read.address, ok: true)))
    }

    /// Takes a want back, or gives a grant up unread.
    func withdraw(_ peer: PeerNumber, _ address: PieceAddress, for download: DownloadNumber) {
        let place = DownloadFile(download: download, file: address.file)
        if let index = readsWaiting.firstIndex(where: {
            $0.download == download && $0.peer == peer && $0.address == address
        }) {
            grants[readsWaiting.remove(at: index).grant] = nil
            machineEvents.append((download, .readEnded(peer, address, ok: false)))
        }
        // A want may have been asked over a link that reads have moved away from; a release of nothing is ignored.
        for link in linksRead(of: peer) {
            guard let session = links[link]?.sessionNumbers[place] else { continue }
            links[link]!.wants.remove(Want(session: session, piece: address.piece))
            say(.release(session: session, piece: address.piece), on: link)
        }
    }

    /// Lets the selector know how the read's way does.
    private func measure(_ read: Read, _ failure: TransportError.Code?) {
        let bytes = failure == nil ? UInt64(read.lengthBytes) : 0
        guard let path = links[read.link]?.path,
            let window = links[read.link]!.meter.ended(bytes, nowNs: nowNs), window.bytes > 0
        else { return }
        peers[read.peer].selector.carried(path, bytes: window.bytes, busyNs: window.busyNs, nowNs: nowNs)
        lookUp(read.peer)
    }
}
