import Artifacts
import Rails
import Storage
import Swarm
import Transport

extension Interpreter {
    /// What a child says.
    func childMessage(_ message: PeerMessage<RemoteKey>, on link: LinkNumber) {
        switch message {
        case .open(let session, let task, let pieceCount):
            opened(UploadSessionID(link: link, session: session), task, pieceCount: pieceCount)
        case .want(let session, let piece):
            uploadEvent(.wanted(UploadSessionID(link: link, session: session), piece))
        case .release(let session, let piece):
            uploadEvent(.released(UploadSessionID(link: link, session: session), piece))
        case .close(let session):
            let id = UploadSessionID(link: link, session: session)
            uploadEvent(.closed(id))
            uploadTasks[id] = nil
            closeUnusedSources()
        case .ping(let nonce):
            say(.pong(nonce: nonce), on: link)
        default:
            break
        }
    }

    /// A child is interested in a task: a worker opens it, unless it is open already.
    private func opened(_ session: UploadSessionID, _ task: TaskID, pieceCount: UInt32) {
        guard uploadTasks[session] == nil else {
            drop(session.link, reason: "session \(session.session) was opened twice")
            return
        }
        uploadTasks[session] = task
        if sources[task] != nil {
            answerOpen(session, task)
            return
        }
        opening[task, default: []].append(session)
        guard opening[task]?.count == 1 else { return }
        let (store, post) = (store, post)
        work { post(.sourceOpened(task, try? store.task(task)?.use())) }
    }

    func sourceOpened(_ task: TaskID, _ source: TaskSource?) {
        let waiting = opening.removeValue(forKey: task) ?? []
        if openingForgotten.remove(task) != nil {
            if let source { work { source.unuse() } }
        } else {
            sources[task] = source
        }
        for session in waiting where uploadTasks[session] == task { answerOpen(session, task) }
        closeUnusedSources()
    }

    private func answerOpen(_ session: UploadSessionID, _ task: TaskID) {
        let held = sources[task] == nil ? nil : store.task(task)?.held
        if held == nil { uploadTasks[session] = nil }
        uploadEvent(.opened(session, task, held: held))
    }

    /// Gives one event to the upload machine and does what it wants.
    func uploadEvent(_ event: UploadEvent) {
        for action in upload.handle(event, nowNs: nowNs) { perform(action) }
    }

    private func perform(_ action: UploadAction) {
        switch action {
        case .sendMap(let session, let set): sendMap(set, to: session)
        case .sendHave(let session, let pieces):
            for start in stride(from: 0, to: pieces.count, by: PeerMessageCodec.havePiecesMax) {
                let part = Array(pieces[start..<min(start + PeerMessageCodec.havePiecesMax, pieces.count)])
                say(.have(session: session.session, pieces: part), on: session.link)
            }
        case .sendUnknown(let session):
            say(.unknown(session: session.session), on: session.link)
            uploadTasks[session] = nil
        case .export(let session, let task, let piece): export(session, task, piece)
        case .grant(let session, let piece, let leaseNs): grant(session, piece, leaseNs: leaseNs)
        case .sendBusy(let session, let piece, let retryAfterNs):
            let message = PeerMessage<RemoteKey>.busy(
                session: session.session, piece: piece, retryAfterMs: UInt32(clamping: retryAfterNs / 1_000_000))
            say(message, on: session.link)
        case .sendAbsent(let session, let piece):
            say(.absent(session: session.session, piece: piece), on: session.link)
        case .revoke(let session, let piece): revoke(UploadKey(session: session, piece: piece))
        case .dropLink(let link, let reason): drop(link, reason: reason)
        }
    }

    private func drop(_ number: LinkNumber, reason: String) {
        guard let link = links[number] else { return }
        log("closing the link of \(link.identity.host): \(reason)")
        command(.close(link.id), on: link.rail)
    }

    private func sendMap(_ set: PieceSet, to session: UploadSessionID) {
        let bits = set.bytes
        var start = 0
        repeat {
            let end = min(start + PeerMessageCodec.mapBitsBytesMax, bits.count)
            let message = PeerMessage<RemoteKey>.map(
                session: session.session, base: UInt32(start * 8), bits: Array(bits[start..<end]),
                last: end == bits.count)
            say(message, on: session.link)
            start = end
        } while start < bits.count
    }

    private func export(_ session: UploadSessionID, _ task: TaskID, _ piece: PieceIndex) {
        guard let link = links[session.link], let source = sources[task] else {
            uploadEvent(.exported(session, piece, ok: false))
            return
        }
        let token = number()
        exporting[token] = PendingExport(key: UploadKey(session: session, piece: piece), task: task)
        let range = PieceLayout(fileBytes: source.sizeBytes).range(of: piece)
        command(
            .export(token: token, .file(descriptor: source.descriptor, range: range), to: link.id), on: link.rail)
    }

    /// A rail made an export, or could not.
    func exported(_ token: UInt64, _ result: Result<Export, TransportError>, rail: RailNumber) {
        guard let key = exporting.removeValue(forKey: token)?.key else { return }
        defer { closeUnusedSources() }
        switch result {
        case .failure:
            exportsUnwanted.remove(token)
            uploadEvent(.exported(key.session, key.piece, ok: false))
        case .success(let export):
            guard exportsUnwanted.remove(token) == nil, links[key.session.link] != nil else {
                command(.revoke(export.id), on: rail)
                return
            }
            exports[key] = export
            uploadEvent(.exported(key.session, key.piece, ok: true))
        }
    }

    private func grant(_ session: UploadSessionID, _ piece: PieceIndex, leaseNs: UInt64) {
        guard let export = exports[UploadKey(session: session, piece: piece)], let task = uploadTasks[session],
            let source = sources[task]
        else { return }
        let range = PieceLayout(fileBytes: source.sizeBytes).range(of: piece)
        let message = PeerMessage.grant(
            session: session.session, piece: piece, key: export.key, lengthBytes: UInt32(range.length),
            leaseMs: UInt32(clamping: leaseNs / 1_000_000))
        say(message, on: session.link)
    }

    private func revoke(_ key: UploadKey) {
        if let export = exports.removeValue(forKey: key) {
            guard let link = links[key.session.link] else { return }
            command(.revoke(export.id), on: link.rail)
        } else if let token = exporting.first(where: { $0.value.key == key })?.key {
            exportsUnwanted.insert(token)
        }
    }

    /// The store forgot a task: what is open of it is the old file, which no child may be given any more.
    func forgetSource(of task: TaskID) {
        if opening[task] != nil { openingForgotten.insert(task) }
        if let source = sources.removeValue(forKey: task) { retiredSources.append((task, source)) }
        closeUnusedSources()
    }

    /// Lets go of tasks no child is interested in any more, so that they can be evicted.
    ///
    /// A task with an export under way stays: a rail still holds its descriptor's number.
    func closeUnusedSources() {
        let exported = Set(exporting.values.map { $0.task })
        let used = exported.union(uploadTasks.values)
        for task in sources.keys where !used.contains(task) {
            guard let source = sources.removeValue(forKey: task) else { continue }
            work { source.unuse() }
        }
        for (_, source) in retiredSources.filter({ !exported.contains($0.task) }) { work { source.unuse() } }
        retiredSources.removeAll { !exported.contains($0.task) }
    }
}
