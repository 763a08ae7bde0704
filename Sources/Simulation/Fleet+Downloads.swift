import Artifacts
import Scheduling
import Swarm

/// The thin node's downloading side.
extension Fleet {
    func deliver(_ host: Host, _ life: UInt32, _ model: Int, _ event: DownloadEvent) {
        guard host.isAlive, host.life == life, let running = host.running[model] else { return }
        perform(host, running, running.seat.place.pointee.handle(event, nowNs: nowNs + host.aheadNs))
    }

    func send(_ host: Host, _ model: Int, _ event: DownloadEvent, afterNs: UInt64) {
        after(afterNs, .download(host: host.number, life: host.life, model: model, event))
    }

    func join(_ host: Host) {
        host.hasJoined = true
        host.joinedNs = nowNs
        guard host.isAlive, let model = host.wants, host.running[model] == nil else { return }
        startDownload(host, model)
    }

    /// Begins a download with what is kept already, and joins the model at the scheduler.
    func startDownload(_ host: Host, _ model: Int) {
        let held = Array(host.kept[model * filesPerModel..<(model + 1) * filesPerModel])
        let known = held.enumerated().map { file, set in
            Dictionary(uniqueKeysWithValues: set.members.map { ($0, models[model].digests[file][Int($0.value)]) })
        }
        let running = Running(
            model: model,
            Download(
                manifest: models[model].manifest, held: held, published: [], knownDigests: known,
                settings: scenario.download, role: host.isSeed ? .seed : .peer,
                seed: scenario.seed &* 0x9E37_79B9 &+ UInt64(host.number) << 8 &+ UInt64(host.life)
                    &+ UInt64(model) << 40))
        host.running[model] = running
        trace(host, "begins, with \(held.reduce(0) { $0 + $1.count }) pieces")
        tellScheduler(host) { .join($0, self.models[model].id, self.models[model].manifest) }
        perform(host, running, running.seat.place.pointee.start(nowNs: nowNs + host.aheadNs))
    }

    func wakeDownload(_ host: Host, _ model: Int, _ life: UInt32) {
        guard host.life == life, let running = host.running[model], running.wakeNs <= nowNs else { return }
        running.wakeNs = .max
        guard let wakeNs = running.seat.nextWakeNs() else { return }
        if wakeNs <= nowNs + host.aheadNs { deliver(host, life, model, .tick) } else { scheduleWake(host, running) }
    }

    private func scheduleWake(_ host: Host, _ running: Running) {
        guard let itsNs = running.seat.nextWakeNs() else { return }
        let wakeNs = max(itsNs - min(host.aheadNs, itsNs), nowNs)
        guard wakeNs < running.wakeNs else { return }
        running.wakeNs = wakeNs
        queue.push(.wakeDownload, atNs: wakeNs, host.number, running.model, UInt64(host.life))
    }

    private func perform(_ host: Host, _ running: Running, _ actions: [DownloadAction]) {
        for action in actions { perform(host, running, action) }
        running.slotsMax = max(running.slotsMax, running.slots.count)
        scheduleWake(host, running)
    }

    @inline(__always)
    private func fileNumber(_ running: Running, _ file: FileIndex) -> Int {
        running.model * filesPerModel + Int(file.value)
    }

    private func perform(_ host: Host, _ running: Running, _ action: DownloadAction) {
        switch action {
        case .want(let peer, let address):
            toParent(running, peer, .wanted, address.piece.value, fileNumber(running, address.file))
        case .withdraw(let peer, let address):
            toParent(running, peer, .released, address.piece.value, fileNumber(running, address.file))
        case .read(let peer, let address, _): read(host, running, peer, address)
        case .keep(let address, let expected, let source): keep(host, running, address, expected, source)
        case .announce(let address, let digest):
            announce(host, fileNumber(running, address.file), address.piece, isReader: digest != nil)
        case .have(let address):
            let task = models[running.model].manifest.files[Int(address.file.value)].task
            deliverUpload(host, host.life, .kept(task, address.piece))
        case .discard(let address, let source): discard(host, running, address, source)
        case .connect(let peer): connect(host, running, hosts[Int(peer.value)])
        case .leave(let peer): if let link = running.link(to: peer) { cut(link, tellsChild: false) }
        case .drop(let peer, let reason):
            trace(host, "drops \(hosts[Int(peer.value)].id): \(reason)")
            if let link = running.link(to: peer) {
                cut(link)
            } else {
                send(host, running.model, .linkDown(peer), afterNs: 1)
            }
        case .open(let peer, let file): toParent(running, peer, .open, 0, fileNumber(running, file))
        case .close(let peer, let file): toParent(running, peer, .closed, 0, fileNumber(running, file))
        case .fetchOrigin(let lease, let file, let pieces, _): readOrigin(host, running, lease, file, pieces)
        case .stopOrigin(let lease):
            running.originRuns.removeAll { $0 == lease.value }
            running.originReads.removeAll { transfer in
                guard network.transfers[Int(transfer)].lease == lease.value else { return false }
                network.cancel(Int(transfer))
                return true
            }
            send(host, running.model, .originEnded(lease, failure: nil, retryable: true), afterNs: 1)
        case .returnLease(let lease, let failure): returnLease(host, lease, failure)
        case .blame(let peer, let address):
            trace(host, "blames \(hosts[Int(peer.value)].id) for \(address)")
            accuse(host, running, peer, address)
        case .complain(let peer, let address):
            trace(host, "complains of \(hosts[Int(peer.value)].id)")
            accuse(host, running, peer, address)
        case .publish(let file):
            if !host.kept[fileNumber(running, file)].isFull {
                checker.object("\(host.id) publishes a file it has not", nowNs)
            }
            send(host, running.model, .filePublished(file), afterNs: scenario.storageLatencyNs)
        case .forget(let file): forget(host, running, file)
        case .finished: finished(host, running)
        case .failed(let reason): failed(host, running, reason)
        }
    }

    private func accuse(_ host: Host, _ running: Running, _ peer: PeerNumber, _ address: PieceAddress) {
        let task = models[running.model].manifest.files[Int(address.file.value)].task
        outcome.blames += 1
        tellScheduler(host) { .blame($0, parent: self.hosts[Int(peer.value)].id, task, address.piece) }
    }

    private func forget(_ host: Host, _ running: Running, _ file: FileIndex) {
        let number = fileNumber(running, file)
        let task = models[running.model].manifest.files[Int(file.value)].task
        host.kept[number] = PieceSet(capacity: host.kept[number].capacity)
        deliverUpload(host, host.life, .forgot(task))
        tellNews(host)
        tellScheduler(host) { .forgot($0, task) }
    }

    private func finished(_ host: Host, _ running: Running) {
        trace(host, "has finished")
        tellNews(host)
        tellScheduler(host) { .leave($0, self.models[running.model].id, finished: true, failure: nil) }
        if host.finishedNs == nil, host.wants == running.model {
            host.finishedNs = nowNs
            if host.mustEnd { remaining -= 1 }
        }
    }

    private func failed(_ host: Host, _ running: Running, _ reason: String) {
        trace(host, "fails: \(reason)")
        tellNews(host)
        let isFull = host.roomPieces != .max
        let failure = Failure(code: isFull ? "disk_full" : "failed", sentence: reason, retryable: false)
        tellScheduler(host) { .leave($0, self.models[running.model].id, finished: false, failure: failure) }
        guard host.failure == nil else { return }
        host.failure = reason
        if !isFull { checker.object("\(host.id) failed: \(reason)", nowNs) }
        if host.wants == running.model, host.finishedNs == nil, host.mustEnd { remaining -= 1 }
    }

    private func connect(_ host: Host, _ running: Running, _ parent: Host) {
        guard parent.isAlive, parent.isCutOff == host.isCutOff else {
            let waitNs = parent.isAlive ? 1_000_000_000 : scenario.latencyNs * 2
            return send(host, running.model, .linkDown(parent.peer), afterNs: waitNs)
        }
        let link = UInt32(links.count)
        links.append(Link(child: Int32(host.number), parent: Int32(parent.number), model: Int32(running.model)))
        running.ties.append(Running.Tie(peer: parent.peer, link: link))
        parent.childLinks.insert(link)
        queue.push(.linkUp, atNs: nowNs + 3 * scenario.latencyNs, link)
    }

    /// Sends something to a parent, in order.
    private func toParent(_ running: Running, _ peer: PeerNumber, _ kind: Event.Kind, _ piece: UInt32, _ file: Int) {
        guard let link = running.link(to: peer) else { return }
        tellParent(link, kind, piece, file)
    }

    private func tellParent(_ link: UInt32, _ kind: Event.Kind, _ piece: UInt32, _ file: some BinaryInteger) {
        guard links[Int(link)].isAlive else { return }
        let atNs = max(nowNs + delayNs(), links[Int(link)].toParentNs)
        links[Int(link)].toParentNs = atNs
        queue.push(kind, atNs: atNs, link, piece, halves(file, 0))
    }

    private func sizeBytes(_ file: Int, _ piece: PieceIndex) -> UInt64 {
        models[file / filesPerModel].manifest.files[file % filesPerModel].layout.range(of: piece).length
    }

    private func read(_ host: Host, _ running: Running, _ peer: PeerNumber, _ address: PieceAddress) {
        guard let link = running.link(to: peer) else {
            return send(host, running.model, .readEnded(peer, address, ok: false), afterNs: 1)
        }
        let file = fileNumber(running, address.file)
        let transfer = network.begin(
            Network.Transfer(
                child: Int32(host.number), parent: Int32(peer.value), sizeBytes: UInt32(sizeBytes(file, address.piece)),
                file: UInt32(file), piece: address.piece.value, link: link, lease: 0))
        running.reads.append(UInt32(transfer))
        // The receiver reads: its request crosses the network first.
        advance(transfer, atNs: nowNs + scenario.latencyNs)
    }

    private func readOrigin(
        _ host: Host, _ running: Running, _ lease: Swarm.LeaseID, _ file: FileIndex, _ pieces: Range<UInt32>
    ) {
        trace(host, "reads \(pieces) of \(file) at the origin")
        let number = fileNumber(running, file)
        running.originRuns.append(lease.value)
        for piece in pieces {
            var transfer = Network.Transfer(
                child: Int32(host.number), parent: -1, sizeBytes: UInt32(sizeBytes(number, PieceIndex(piece))),
                file: UInt32(number), piece: piece, link: 0, lease: lease.value)
            transfer.isLast = piece + 1 == pieces.upperBound
            let id = network.begin(transfer)
            running.originReads.append(UInt32(id))
            queue.push(.advance, atNs: nowNs + originLatencyNs, id)
        }
    }

    /// A piece goes on to the next queue, unless nobody waits for it any more.
    func advance(_ id: Int, atNs: UInt64) {
        if network.transfers[id].isCancelled {
            _ = network.end(id)
            return
        }
        let (nextNs, isWhole) = network.advance(id, atNs: atNs)
        queue.push(isWhole ? .whole : .advance, atNs: isWhole ? nextNs + scenario.latencyNs : nextNs, id)
    }

    func arrived(_ id: Int) {
        let transfer = network.end(id)
        guard !transfer.isCancelled else { return }
        let host = hosts[Int(transfer.child)]
        let model = Int(transfer.file) / filesPerModel
        guard let running = host.running[model] else { preconditionFailure("a read outlived its download") }
        let address = PieceAddress(
            file: FileIndex(Int(transfer.file) % filesPerModel), piece: PieceIndex(transfer.piece))
        guard transfer.parent >= 0 else { return arrivedFromOrigin(host, running, id, transfer, address) }
        let parent = hosts[Int(transfer.parent)]
        running.reads.removeFirst(UInt32(id))
        let export = Host.Export(link: transfer.link, file: transfer.file, piece: transfer.piece)
        let isGranted = parent.exports.contains(export)
        if isGranted {
            running.slots.append(
                Running.Slot(
                    file: transfer.file, piece: transfer.piece, source: .peer(parent.peer),
                    isRight: parent.conduct != .corrupting))
            if parent.isSeed {
                outcome.seedBytes += UInt64(transfer.sizeBytes)
            } else {
                outcome.peerBytes += UInt64(transfer.sizeBytes)
            }
            outcome.timeline.add(.read, UInt64(transfer.sizeBytes), nowNs)
            if network.crossesRacks(parent.number, host.number) {
                outcome.timeline.add(.uplink, UInt64(transfer.sizeBytes), nowNs)
            }
        }
        tellParent(transfer.link, .released, transfer.piece, transfer.file)
        deliver(host, host.life, model, .readEnded(parent.peer, address, ok: isGranted))
    }

    private func arrivedFromOrigin(
        _ host: Host, _ running: Running, _ id: Int, _ transfer: Network.Transfer, _ address: PieceAddress
    ) {
        let lease = Swarm.LeaseID(transfer.lease)
        running.originReads.removeFirst(UInt32(id))
        running.slots.append(
            Running.Slot(file: transfer.file, piece: transfer.piece, source: .origin(lease), isRight: true))
        outcome.originBytes += UInt64(transfer.sizeBytes)
        outcome.originDoneNs = nowNs
        outcome.timeline.add(.origin, UInt64(transfer.sizeBytes), nowNs)
        outcome.timeline.add(.read, UInt64(transfer.sizeBytes), nowNs)
        host.originPieces += 1
        checker.readAtOrigin(Int(transfer.file), Int(transfer.piece), by: host, nowNs)
        deliver(host, host.life, running.model, .originPiece(lease, address))
        guard transfer.isLast, running.originRuns.contains(transfer.lease) else { return }
        running.originRuns.removeAll { $0 == transfer.lease }
        send(host, running.model, .originEnded(lease, failure: nil, retryable: true), afterNs: 1)
    }
}

extension Array where Element: Equatable {
    /// Takes the first that is equal out, wherever it lies; the order of the rest is not kept.
    mutating func removeFirst(_ element: Element) {
        guard let place = firstIndex(of: element) else { preconditionFailure("\(element) is not there") }
        swapAt(place, count - 1)
        removeLast()
    }
}
