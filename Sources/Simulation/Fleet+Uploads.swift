import Artifacts
import Swarm

/// The thin node's serving side, and links.
extension Fleet {
    /// A seed's upload slots, the most that any host has.
    private static var exportsMax: Int { UploadSettings.seed.slotsMax }

    func deliverUpload(_ host: Host, _ life: UInt32, _ event: UploadEvent) {
        guard host.isAlive, host.life == life, host.conduct != .silent else { return }
        perform(host, host.upload.handle(event, nowNs: nowNs))
    }

    func open(_ link: UInt64, _ file: FileIndex) {
        guard let ends = links[link] else { return }
        let parent = hosts[ends.parent]
        let held = parent.kept[Int(file.value)]
        let isHere = !held.isEmpty || parent.isDownloading
        let session = UploadSessionID(link: link, session: file.value)
        let task = manifest.files[Int(file.value)].task
        deliverUpload(parent, parent.life, .opened(session, task, held: isHere ? held : nil))
    }

    func wakeUpload(_ host: Host, _ life: UInt32) {
        guard host.life == life, host.uploadWakeNs <= nowNs else { return }
        host.uploadWakeNs = .max
        guard let wakeNs = host.upload.wakeAtNs else { return }
        if wakeNs <= nowNs { deliverUpload(host, life, .tick) } else { scheduleUploadWake(host) }
    }

    private func scheduleUploadWake(_ host: Host) {
        guard let wakeNs = host.upload.wakeAtNs, max(wakeNs, nowNs) < host.uploadWakeNs else { return }
        host.uploadWakeNs = max(wakeNs, nowNs)
        queue.push(.wakeUpload(host: host.number, life: host.life), atNs: host.uploadWakeNs)
    }

    private func toChild(_ session: UploadSessionID, _ event: (PeerNumber, FileIndex) -> DownloadEvent) {
        guard let ends = links[session.link] else { return }
        let atNs = max(nowNs + delayNs(), ends.toChildNs)
        links[session.link]!.toChildNs = atNs
        let made = event(PeerNumber(ends.parent), FileIndex(session.session))
        queue.push(.toChild(link: session.link, made), atNs: atNs)
    }

    private func perform(_ host: Host, _ actions: [UploadAction]) {
        for action in actions { perform(host, action) }
        scheduleUploadWake(host)
        if host.exports.count > Self.exportsMax {
            checker.object("\(host.id) has \(host.exports.count) exports", nowNs)
        }
    }

    private func perform(_ host: Host, _ action: UploadAction) {
        switch action {
        case .sendMap(let session, let set): toChild(session) { .map($0, $1, set) }
        case .sendHave(let session, let pieces): toChild(session) { .have($0, $1, pieces) }
        case .sendUnknown(let session): toChild(session) { .unknown($0, $1) }
        case .export(let session, _, let piece):
            let address = PieceAddress(file: FileIndex(session.session), piece: piece)
            let isHeld = host.holds(address)
            if isHeld { host.exports.insert(Host.ExportKey(session: session, piece: piece)) }
            after(
                scenario.storageLatencyNs,
                .toUpload(host: host.number, life: host.life, .exported(session, piece, ok: isHeld)))
        case .grant(let session, let piece, let leaseNs):
            let grant = GrantID(nextGrant)
            nextGrant += 1
            let untilNs = nowNs + leaseNs
            toChild(session) {
                .granted($0, PieceAddress(file: $1, piece: piece), grant, leaseUntilNs: untilNs)
            }
        case .sendBusy(let session, let piece, let retryNs):
            outcome.busy += 1
            toChild(session) { .busy($0, PieceAddress(file: $1, piece: piece), retryAfterNs: retryNs) }
        case .sendAbsent(let session, let piece):
            toChild(session) { .absent($0, PieceAddress(file: $1, piece: piece)) }
        case .revoke(let session, let piece):
            if host.exports.remove(Host.ExportKey(session: session, piece: piece)) == nil {
                checker.object("\(host.id) revokes what it never granted", nowNs)
            }
        case .dropLink(let link, _): cut(link)
        }
    }

    /// Closes a link: its reads end, then both ends hear of it.
    func cut(_ link: UInt64, tellsChild: Bool = true) {
        guard let ends = links.removeValue(forKey: link) else { return }
        let (child, parent) = (hosts[ends.child], hosts[ends.parent])
        if child.links[parent.peer] == link { child.links[parent.peer] = nil }
        parent.childLinks.remove(link)
        let reads = child.reads.filter { $0.key.parent == parent.peer }.sorted { $0.value < $1.value }
        for (key, transfer) in reads {
            network.cancel(transfer)
            child.reads[key] = nil
            send(child, .readEnded(parent.peer, key.address, ok: false), afterNs: scenario.latencyNs)
        }
        if tellsChild { send(child, .linkDown(parent.peer), afterNs: scenario.latencyNs + 1) }
        after(scenario.latencyNs, .toUpload(host: parent.number, life: parent.life, .linkDown(link: link)))
    }
}
