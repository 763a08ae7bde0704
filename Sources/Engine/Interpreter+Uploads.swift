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
            endChildSession(id)
        default:
            break
        }
    }

    /// A child is interested in a task: a worker opens it, unless it is open already.
    ///
    /// Its sessions are bounded here as well as in the machine: of those that wait for a worker the machine knows
    /// nothing.
    private func opened(_ session: UploadSessionID, _ task: TaskID, pieceCount: UInt32) {
        guard childTasks[session] == nil else {
            closeLink(session.link, reason: "it opened session \(session.session) twice")
            return
        }
        let bound = configuration.upload.sessionsPerLinkMax
        guard let link = links[session.link], stopAtNs == nil, forgetting[task] == nil,
            link.childSessions.count < bound, link.childOpenings < bound
        else {
            say(.unknown(session: session.session), on: session.link)
            return
        }
        childTasks[session] = task
        links[session.link]!.childSessions.insert(session.session)
        if served[task] != nil {
            answerOpen(session, task, pieceCount: pieceCount)
            return
        }
        links[session.link]!.childOpenings += 1
        opening[task, default: []].append(Opening(session: session, pieceCount: pieceCount))
        guard opening[task]?.count == 1 else { return }
        let (store, post) = (store, post)
        work {
            let served = store.task(task).flatMap { file in
                (try? file.use()).map { ServedFile(file: file, source: $0) }
            }
            post(.sourceOpened(task, served))
        }
    }

    func sourceOpened(_ task: TaskID, _ file: ServedFile?) {
        let waiting = opening.removeValue(forKey: task) ?? []
        for child in waiting { links[child.session.link]?.childOpenings -= 1 }
        let isStale = waiting.contains { $0.isStale } || forgetting[task] != nil || stopAtNs != nil
        // A session that ended meanwhile, or ended and began anew on another task, has had its answer.
        var unanswered: Set<UploadSessionID> = []
        for child in waiting where childTasks[child.session] == task { unanswered.insert(child.session) }
        guard let file, !isStale, !unanswered.isEmpty else {
            for child in unanswered {
                endChildSession(child)
                say(.unknown(session: child.session), on: child.link)
            }
            if let file { letGo(file) }
            return
        }
        // All of them first: the task is let go with its last session, and an answer may end one.
        served[task] = ServedTask(served: file, sessions: unanswered)
        for child in waiting where unanswered.remove(child.session) != nil {
            answerOpen(child.session, task, pieceCount: child.pieceCount)
        }
    }

    private func answerOpen(_ session: UploadSessionID, _ task: TaskID, pieceCount: UInt32) {
        guard let file = served[task]?.served.file else {
            preconditionFailure("\(task) is not open for \(session)")
        }
        served[task]?.sessions.insert(session)
        // Whoever cuts the file otherwise means another file.
        let held = file.layout.count == Int(pieceCount) ? file.held : nil
        uploadEvent(.opened(session, task, held: held))
    }

    /// Forgets a session; a task that no child is interested in any more is let go, so that it can be evicted.
    private func endChildSession(_ session: UploadSessionID) {
        guard let task = childTasks.removeValue(forKey: session) else { return }
        links[session.link]?.childSessions.remove(session.session)
        served[task]?.sessions.remove(session)
        if let open = served[task], open.sessions.isEmpty {
            served[task] = nil
            letGo(open.served)
        }
    }

    private func letGo(_ file: ServedFile) { work { file.source.unuse() } }

    /// A child's link is down. The rail has retired its exports.
    func childLinkDown(_ number: LinkNumber, _ link: EngineLink) {
        for session in link.childSessions {
            let id = UploadSessionID(link: number, session: session)
            endChildSession(id)
        }
        exports = exports.filter { $0.key.session.link != number }
        uploadEvent(.linkDown(link: number))
    }

    /// What is stored of a task is about to be thrown away: whoever opens it from now on must not get the old file.
    func stopServing(_ task: TaskID) {
        forgetResident(task)
        uploadEvent(.forgot(task))
        for index in opening[task]?.indices ?? 0..<0 { opening[task]![index].isStale = true }
        guard let open = served.removeValue(forKey: task) else { return }
        for session in open.sessions { endChildSession(session) }
        letGo(open.served)
    }

    /// Gives one event to the upload machine and does what it wants; what follows from that comes after it.
    func uploadEvent(_ event: UploadEvent) {
        uploadEvents.append(event)
        guard uploadEvents.count == 1 else { return }
        while let next = uploadEvents.first {
            for action in upload.handle(next, nowNs: nowNs) { perform(action) }
            uploadEvents.removeFirst()
        }
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
            endChildSession(session)
        case .export(let session, let task, let piece): export(session, task, piece)
        case .grant(let session, let piece, let leaseNs): grant(session, piece, leaseNs: leaseNs)
        case .sendBusy(let session, let piece, let retryAfterNs):
            let message = PeerMessage<RemoteKey>.busy(
                session: session.session, piece: piece, retryAfterMs: UInt32(clamping: retryAfterNs / 1_000_000))
            say(message, on: session.link)
        case .sendAbsent(let session, let piece):
            say(.absent(session: session.session, piece: piece), on: session.link)
        case .revoke(let session, let piece): revoke(UploadKey(session: session, piece: piece))
        case .dropLink(let link, let reason): closeLink(link, reason: reason)
        }
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
        guard let link = links[session.link], let file = served[task]?.served else {
            uploadEvent(.exported(session, piece, ok: false))
            return
        }
        let key = UploadKey(session: session, piece: piece)
        if rails[link.rail].capabilities.servesFrom == .memory {
            let untilNs = nowNs + configuration.exportWaitNs
            exportFromMemory(MemoryExport(key: key, task: task, served: file, untilNs: untilNs))
            return
        }
        let token = number()
        exporting[token] = PendingExport(key: key, served: file)
        let range = file.file.layout.range(of: piece)
        command(
            .export(token: token, .file(descriptor: file.source.descriptor, range: range), to: link.id), on: link.rail)
    }

    /// A rail made an export, or could not. The machine revokes it at once when nobody waits for it any more.
    func exported(_ token: UInt64, _ result: Result<Export, TransportError>, rail: RailNumber) {
        guard let pending = exporting.removeValue(forKey: token) else { return }
        let key = pending.key
        switch result {
        case .success(let export):
            exports[key] = export
            if let resident = pending.resident { residentExports[RailExport(rail: rail, id: export.id)] = resident }
            uploadEvent(.exported(key.session, key.piece, ok: true))
        case .failure:
            if let resident = pending.resident { releaseResident(resident) }
            uploadEvent(.exported(key.session, key.piece, ok: false))
        }
    }

    private func grant(_ session: UploadSessionID, _ piece: PieceIndex, leaseNs: UInt64) {
        guard let export = exports[UploadKey(session: session, piece: piece)], let task = childTasks[session],
            let layout = served[task]?.served.file.layout
        else { return }
        let message = PeerMessage.grant(
            session: session.session, piece: piece, key: export.key,
            lengthBytes: UInt32(layout.range(of: piece).length), leaseMs: UInt32(clamping: leaseNs / 1_000_000))
        say(message, on: session.link)
    }

    /// Ends an export; one whose link is down ended with it.
    private func revoke(_ key: UploadKey) {
        guard let export = exports.removeValue(forKey: key), let link = links[key.session.link] else { return }
        command(.revoke(export.id), on: link.rail)
    }
}
