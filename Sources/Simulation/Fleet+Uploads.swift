import Artifacts
import Swarm

/// The thin node's serving side, and links.
extension Fleet {
    func deliverUpload(_ host: Host, _ life: UInt32, _ event: UploadEvent) {
        guard host.isAlive, host.life == life, host.conduct != .silent else { return }
        perform(host, host.upload.place.pointee.handle(event, nowNs: nowNs + host.aheadNs))
    }

    /// What a child says over a link, or what was asked for it.
    func hearChild(_ event: Event) {
        let link = links[Int(event.a)]
        let parent = hosts[Int(link.parent)]
        let session = UploadSessionID(link: UInt64(event.a), session: event.low)
        let piece = PieceIndex(event.b)
        if event.kind == .exported {
            let isHeld = parent.exports.contains(Host.Export(link: event.a, file: event.low, piece: event.b))
            return deliverUpload(parent, event.high, .exported(session, piece, ok: isHeld))
        }
        guard link.isAlive else { return }
        switch event.kind {
        case .wanted: deliverUpload(parent, parent.life, .wanted(session, piece))
        case .released: deliverUpload(parent, parent.life, .released(session, piece))
        case .closed: deliverUpload(parent, parent.life, .closed(session))
        default: open(parent, session)
        }
    }

    /// A child tells a parent of its interest: the parent looks up what it holds.
    private func open(_ parent: Host, _ session: UploadSessionID) {
        let file = Int(session.session)
        let model = file / filesPerModel
        var held = parent.kept[file]
        if parent.conduct == .lying { held = .full(capacity: held.capacity) }
        let isHere = !held.isEmpty || parent.isDownloading(model)
        let task = models[model].manifest.files[file % filesPerModel].task
        deliverUpload(parent, parent.life, .opened(session, task, held: isHere ? held : nil))
    }

    /// What a parent says over a link.
    func hearParent(_ event: Event) {
        let link = links[Int(event.a)]
        let payload: Parcel? = event.kind == .map || event.kind == .haveMany ? parcels.take(event.high) : nil
        guard link.isAlive else { return }
        let peer = PeerNumber(link.parent)
        let file = FileIndex(Int(event.low) % filesPerModel)
        let address = PieceAddress(file: file, piece: PieceIndex(event.b))
        let host = hosts[Int(link.child)]
        let made: DownloadEvent
        switch event.kind {
        case .have: made = .have(peer, file, [address.piece])
        case .granted:
            nextGrant += 1
            let untilNs = nowNs + host.aheadNs + UInt64(event.high) * 1000
            made = .granted(peer, address, GrantID(nextGrant), leaseUntilNs: untilNs)
        case .busy: made = .busy(peer, address, retryAfterNs: UInt64(event.high) * 1000)
        case .absent: made = .absent(peer, address)
        case .unknown: made = .unknown(peer, file)
        case .linkUp: made = .linkUp(peer)
        default:
            switch payload {
            case .map(let set): made = .map(peer, file, set)
            case .have(let pieces): made = .have(peer, file, pieces)
            default: preconditionFailure("a link carried another's parcel")
            }
        }
        deliver(host, host.life, Int(link.model), made)
    }

    func wakeUpload(_ host: Host, _ life: UInt32) {
        guard host.life == life, host.uploadWakeNs <= nowNs else { return }
        host.uploadWakeNs = .max
        guard let wakeNs = host.upload.nextWakeNs() else { return }
        if wakeNs <= nowNs + host.aheadNs { deliverUpload(host, life, .tick) } else { scheduleUploadWake(host) }
    }

    private func scheduleUploadWake(_ host: Host) {
        guard let itsNs = host.upload.nextWakeNs() else { return }
        let wakeNs = max(itsNs - min(host.aheadNs, itsNs), nowNs)
        guard wakeNs < host.uploadWakeNs else { return }
        host.uploadWakeNs = wakeNs
        queue.push(.wakeUpload, atNs: wakeNs, host.number, 0, UInt64(host.life))
    }

    /// Sends something to a child, in order.
    private func toChild(_ session: UploadSessionID, _ kind: Event.Kind, _ piece: UInt32 = 0, _ high: UInt64 = 0) {
        let link = Int(session.link)
        guard links[link].isAlive else { return }
        let atNs = max(nowNs + delayNs(), links[link].toChildNs)
        links[link].toChildNs = atNs
        queue.push(kind, atNs: atNs, link, piece, halves(session.session, min(high, UInt64(UInt32.max))))
    }

    private func perform(_ host: Host, _ actions: [UploadAction]) {
        for action in actions { perform(host, action) }
        scheduleUploadWake(host)
    }

    private func perform(_ host: Host, _ action: UploadAction) {
        switch action {
        case .sendHave(let session, let pieces):
            if pieces.count == 1 {
                toChild(session, .have, pieces[0].value)
            } else if links[Int(session.link)].isAlive {
                toChild(session, .haveMany, 0, UInt64(parcels.put(.have(pieces))))
            }
        case .export(let session, _, let piece):
            if host.kept[Int(session.session)].contains(piece) {
                host.exports.append(
                    Host.Export(link: UInt32(session.link), file: session.session, piece: piece.value))
                let exportsMax = host.isSeed ? scenario.seedUpload.slotsMax : scenario.peerUpload.slotsMax
                if host.exports.count > exportsMax {
                    checker.object("\(host.id) has \(host.exports.count) exports", nowNs)
                }
            }
            queue.push(
                .exported, atNs: nowNs + scenario.storageLatencyNs, session.link, piece.value,
                halves(session.session, host.life))
        case .grant(let session, let piece, let leaseNs): toChild(session, .granted, piece.value, leaseNs / 1000)
        case .revoke(let session, let piece):
            let export = Host.Export(link: UInt32(session.link), file: session.session, piece: piece.value)
            if let place = host.exports.firstIndex(of: export) {
                host.exports.swapAt(place, host.exports.count - 1)
                host.exports.removeLast()
            } else {
                checker.object("\(host.id) revokes what it never granted", nowNs)
            }
        case .sendBusy(let session, let piece, let retryNs):
            outcome.busy += 1
            toChild(session, .busy, piece.value, retryNs / 1000)
        case .sendAbsent(let session, let piece): toChild(session, .absent, piece.value)
        case .sendMap(let session, let set):
            if links[Int(session.link)].isAlive { toChild(session, .map, 0, UInt64(parcels.put(.map(set)))) }
        case .sendUnknown(let session): toChild(session, .unknown)
        case .dropLink(let link, _): cut(UInt32(link))
        }
    }

    /// Closes a link: its reads end, then both ends hear of it.
    func cut(_ number: UInt32, tellsChild: Bool = true) {
        let link = links[Int(number)]
        guard link.isAlive else { return }
        links[Int(number)].isAlive = false
        let (child, parent) = (hosts[Int(link.child)], hosts[Int(link.parent)])
        parent.childLinks.remove(number)
        if let running = child.running[Int(link.model)] {
            running.ties.removeAll { $0.link == number }
            for transfer in running.reads where network.transfers[Int(transfer)].link == number {
                let its = network.transfers[Int(transfer)]
                let address = PieceAddress(file: FileIndex(Int(its.file) % filesPerModel), piece: PieceIndex(its.piece))
                network.cancel(Int(transfer))
                send(child, running.model, .readEnded(parent.peer, address, ok: false), afterNs: scenario.latencyNs)
            }
            running.reads.removeAll { network.transfers[Int($0)].link == number }
        }
        if tellsChild {
            send(child, Int(link.model), .linkDown(parent.peer), afterNs: scenario.latencyNs + 1)
        }
        after(scenario.latencyNs, .upload(host: parent.number, life: parent.life, .linkDown(link: UInt64(number))))
    }
}
