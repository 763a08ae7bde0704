import Artifacts
import Scheduling
import Swarm

/// The thin node's downloading side.
extension Fleet {
    func deliver(_ host: Host, _ life: UInt32, _ event: DownloadEvent) {
        guard host.isAlive, host.life == life, host.download != nil else { return }
        perform(host, host.download!.handle(event, nowNs: nowNs))
    }

    func send(_ host: Host, _ event: DownloadEvent, afterNs: UInt64) {
        after(afterNs, .toDownload(host: host.number, life: host.life, event))
    }

    func join(_ host: Host) {
        host.hasJoined = true
        host.joinedNs = nowNs
        guard host.isAlive, host.download == nil else { return }
        startDownload(host)
    }

    /// Begins a download with what is kept already, and joins the model at the scheduler.
    func startDownload(_ host: Host) {
        let known = host.kept.enumerated().map { file, set in
            Dictionary(uniqueKeysWithValues: set.members.map { ($0, digests[file][Int($0.value)]) })
        }
        host.download = Download(
            manifest: manifest, held: host.kept, published: [], knownDigests: known,
            settings: scenario.download, role: host.isSeed ? .seed : .peer,
            seed: scenario.seed &* 0x9E37_79B9 &+ UInt64(host.number) << 8 &+ UInt64(host.life))
        trace(host, "begins, with \(host.kept.reduce(0) { $0 + $1.count }) pieces")
        tellScheduler(host) { .join($0, self.model, self.manifest) }
        perform(host, host.download!.start(nowNs: nowNs))
    }

    func wakeDownload(_ host: Host, _ life: UInt32) {
        guard host.life == life, host.downloadWakeNs <= nowNs else { return }
        host.downloadWakeNs = .max
        guard let wakeNs = host.download?.wakeAtNs else { return }
        if wakeNs <= nowNs { deliver(host, life, .tick) } else { scheduleWake(host) }
    }

    private func scheduleWake(_ host: Host) {
        guard let wakeNs = host.download?.wakeAtNs, max(wakeNs, nowNs) < host.downloadWakeNs else { return }
        host.downloadWakeNs = max(wakeNs, nowNs)
        queue.push(.wakeDownload(host: host.number, life: host.life), atNs: host.downloadWakeNs)
    }

    private func perform(_ host: Host, _ actions: [DownloadAction]) {
        for action in actions { perform(host, action) }
        host.slotsMax = max(host.slotsMax, host.slots.count)
        scheduleWake(host)
    }

    private func perform(_ host: Host, _ action: DownloadAction) {
        switch action {
        case .connect(let peer): connect(host, hosts[Int(peer.value)])
        case .leave(let peer): if let link = host.links[peer] { cut(link, tellsChild: false) }
        case .drop(let peer, let reason):
            trace(host, "drops \(hosts[Int(peer.value)].id): \(reason)")
            if let link = host.links[peer] { cut(link) } else { send(host, .linkDown(peer), afterNs: 1) }
        case .open(let peer, let file): toParent(host, peer) { .open(link: $0, file) }
        case .close(let peer, let file):
            toParent(host, peer) { .toParent(link: $0, .closed(UploadSessionID(link: $0, session: file.value))) }
        case .want(let peer, let address): say(host, peer, address) { .wanted($0, $1) }
        case .withdraw(let peer, let address): say(host, peer, address) { .released($0, $1) }
        case .read(let peer, let address, _): read(host, peer, address)
        case .fetchOrigin(let lease, let file, let pieces, _): readOrigin(host, lease, file, pieces)
        case .stopOrigin(let lease):
            for transfer in (host.originReads.removeValue(forKey: lease) ?? []).sorted() { network.cancel(transfer) }
            send(host, .originEnded(lease, failure: nil, retryable: true), afterNs: 1)
        case .keep(let address, let expected, let source): keep(host, address, expected, source)
        case .discard(let address, let source): takeSlot(host, address, source)
        case .announce(let address, let digest): announce(host, address, isReader: digest != nil)
        case .have(let address):
            let task = manifest.files[Int(address.file.value)].task
            after(0, .toUpload(host: host.number, life: host.life, .kept(task, address.piece)))
        case .returnLease(let lease, let failure): returnLease(host, lease, failure)
        case .blame(let peer, let address):
            let task = manifest.files[Int(address.file.value)].task
            trace(host, "blames \(hosts[Int(peer.value)].id) for \(address)")
            tellScheduler(host) { .blame($0, parent: self.hosts[Int(peer.value)].id, task, address.piece) }
        case .publish(let file):
            let isWhole = host.kept[Int(file.value)].isFull
            if !isWhole { checker.object("\(host.id) publishes a file it has not", nowNs) }
            send(host, .filePublished(file), afterNs: scenario.storageLatencyNs)
        case .forget(let file): forget(host, file)
        case .finished: finished(host)
        case .failed(let reason):
            host.failure = reason
            trace(host, "fails: \(reason)")
        }
    }

    private func forget(_ host: Host, _ file: FileIndex) {
        let task = manifest.files[Int(file.value)].task
        host.kept[Int(file.value)] = PieceSet(capacity: host.kept[Int(file.value)].capacity)
        after(0, .toUpload(host: host.number, life: host.life, .forgot(task)))
        tellNews(host)
        tellScheduler(host) { .forgot($0, task) }
    }

    private func finished(_ host: Host) {
        trace(host, "has finished")
        tellNews(host)
        tellScheduler(host) { .leave($0, self.model, finished: true, failure: nil) }
        if host.finishedNs == nil {
            host.finishedNs = nowNs
            if !host.isSeed { remaining -= 1 }
        }
    }

    private func connect(_ host: Host, _ parent: Host) {
        guard parent.isAlive, parent.isCutOff == host.isCutOff else {
            return send(host, .linkDown(parent.peer), afterNs: parent.isAlive ? 1_000_000_000 : scenario.latencyNs * 2)
        }
        let link = nextLink
        nextLink += 1
        host.links[parent.peer] = link
        parent.childLinks.insert(link)
        links[link] = Ends(child: host.number, parent: parent.number)
        after(3 * scenario.latencyNs, .toChild(link: link, .linkUp(parent.peer)))
    }

    /// Sends something to a parent, in order.
    private func toParent(_ host: Host, _ peer: PeerNumber, _ make: (UInt64) -> Happening) {
        guard let link = host.links[peer], links[link] != nil else { return }
        let atNs = max(nowNs + delayNs(), links[link]!.toParentNs)
        links[link]!.toParentNs = atNs
        queue.push(make(link), atNs: atNs)
    }

    private func say(
        _ host: Host, _ peer: PeerNumber, _ address: PieceAddress,
        _ event: (UploadSessionID, PieceIndex) -> UploadEvent
    ) {
        toParent(host, peer) {
            .toParent(
                link: $0, event(UploadSessionID(link: $0, session: address.file.value), address.piece))
        }
    }

    private func sizeBytes(_ address: PieceAddress) -> UInt64 {
        manifest.files[Int(address.file.value)].layout.range(of: address.piece).length
    }

    private func read(_ host: Host, _ peer: PeerNumber, _ address: PieceAddress) {
        guard let link = host.links[peer], links[link] != nil else {
            return send(host, .readEnded(peer, address, ok: false), afterNs: 1)
        }
        let parent = Int(peer.value)
        let transfer = network.begin(
            Network.Transfer(
                child: host.number, parent: parent, sizeBytes: sizeBytes(address),
                route: network.route(from: parent, to: host.number), purpose: .read(address, link: link)))
        host.reads[Host.ReadKey(parent: peer, address: address)] = transfer
        // The receiver reads: its request crosses the network first.
        after(scenario.latencyNs, .advance(transfer: transfer))
    }

    private func readOrigin(
        _ host: Host, _ lease: Swarm.LeaseID, _ file: FileIndex, _ pieces: Range<UInt32>
    ) {
        trace(host, "reads \(pieces) of \(file) at the origin")
        host.originReads[lease] = []
        for piece in pieces {
            let address = PieceAddress(file: file, piece: PieceIndex(piece))
            let transfer = network.begin(
                Network.Transfer(
                    child: host.number, parent: nil, sizeBytes: sizeBytes(address),
                    route: network.route(from: nil, to: host.number),
                    purpose: .origin(lease, address, isLast: piece + 1 == pieces.upperBound)))
            host.originReads[lease]!.insert(transfer)
            after(scenario.originLatencyNs, .advance(transfer: transfer))
        }
    }

    /// A piece goes on to the next queue, unless nobody waits for it any more.
    func advance(_ id: Int) {
        if network.isCancelled(id) {
            _ = network.end(id)
            return
        }
        let (atNs, isWhole) = network.advance(id, nowNs: nowNs)
        if isWhole {
            queue.push(.whole(transfer: id), atNs: atNs + scenario.latencyNs)
        } else {
            queue.push(.advance(transfer: id), atNs: atNs)
        }
    }

    func arrived(_ id: Int) {
        let transfer = network.end(id)
        guard !transfer.isCancelled else { return }
        let host = hosts[transfer.child]
        switch transfer.purpose {
        case .read(let address, let link):
            let parent = hosts[transfer.parent!]
            host.reads[Host.ReadKey(parent: parent.peer, address: address)] = nil
            let session = UploadSessionID(link: link, session: address.file.value)
            let isGranted = parent.exports.contains(Host.ExportKey(session: session, piece: address.piece))
            if isGranted {
                host.slots[Host.SlotKey(address: address, source: .peer(parent.peer))] = parent.conduct != .corrupting
                outcome.sent[parent.isSeed ? .seed : .peer, default: 0] += transfer.sizeBytes
            }
            say(host, parent.peer, address) { .released($0, $1) }
            deliver(host, host.life, .readEnded(parent.peer, address, ok: isGranted))
        case .origin(let lease, let address, let isLast):
            host.originReads[lease]?.remove(id)
            host.slots[Host.SlotKey(address: address, source: .origin(lease))] = true
            outcome.originBytes += transfer.sizeBytes
            outcome.originDoneNs = nowNs
            outcome.timeline.add(.origin, transfer.sizeBytes, nowNs)
            checker.readAtOrigin(address, by: host, nowNs)
            deliver(host, host.life, .originPiece(lease, address))
            guard isLast, host.originReads[lease] != nil else { return }
            host.originReads[lease] = nil
            send(host, .originEnded(lease, failure: nil, retryable: true), afterNs: 1)
        }
    }

    private func keep(_ host: Host, _ address: PieceAddress, _ expected: Digest?, _ source: PieceSource) {
        let busyNs = nanoseconds(sizeBytes(address), at: scenario.verifyBytesPerSecond)
        host.workersFreeNs = max(nowNs, host.workersFreeNs) + busyNs
        queue.push(
            .verified(host: host.number, life: host.life, address, expected: expected, source),
            atNs: host.workersFreeNs + scenario.storageLatencyNs)
    }

    @discardableResult
    private func takeSlot(_ host: Host, _ address: PieceAddress, _ source: PieceSource) -> Bool {
        guard let isRight = host.slots.removeValue(forKey: Host.SlotKey(address: address, source: source)) else {
            checker.object("\(host.id) frees a slot it has not: \(address)", nowNs)
            return true
        }
        return isRight
    }

    func verified(
        _ host: Host, _ life: UInt32, _ address: PieceAddress, _ expected: Digest?, _ source: PieceSource
    ) {
        guard host.isAlive, host.life == life else { return }
        checker.slots(host, nowNs)
        let isRight = takeSlot(host, address, source)
        let digest = isRight ? digests[Int(address.file.value)][Int(address.piece.value)] : wrongDigest
        if let expected, expected != digest { return deliver(host, life, .mismatched(address)) }
        checker.kept(host, address, isRight: isRight, nowNs)
        host.kept[Int(address.file.value)].insert(address.piece)
        outcome.timeline.add(.kept, sizeBytes(address), nowNs)
        trace(host, "keeps \(address) of \(source)")
        deliver(host, life, .kept(address, digest: digest))
    }
}
