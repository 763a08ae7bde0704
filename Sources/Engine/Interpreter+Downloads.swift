import Artifacts
import Memory
import Storage
import Swarm
import System
import Workers

extension Interpreter {
    /// Brings a model here for a caller, or joins the download of it that runs already.
    ///
    /// `done` is called once, on the engine's thread, when it is over: with the last look at it.
    public func start(
        _ model: ModelID, _ manifest: Manifest, done: @escaping @Sendable (DownloadSnapshot) -> Void
    ) -> DownloadTicket {
        let number = running(model) ?? begin(model, manifest)
        let caller = self.number()
        downloads[number]?.callers[caller] = done
        return DownloadTicket(download: number, caller: caller)
    }

    /// A seed's order from the scheduler: nobody here waits for it, and nobody's giving up ends it.
    func order(_ model: ModelID, _ manifest: Manifest) {
        let number = running(model) ?? begin(model, manifest)
        downloads[number]?.isOrdered = true
    }

    /// One caller gives up; when none is left and no scheduler ordered it, the download ends and keeps what is
    /// verified.
    public func abandon(_ ticket: DownloadTicket) {
        guard let task = downloads[ticket.download], task.outcome == nil else { return }
        guard let done = downloads[ticket.download]?.callers.removeValue(forKey: ticket.caller) else { return }
        done(look(at: task, as: .cancelled))
        guard downloads[ticket.download]?.callers.isEmpty == true, !task.isOrdered else { return }
        machineEvents.append((ticket.download, .cancel))
    }

    private func running(_ model: ModelID) -> DownloadNumber? {
        downloadOfModel[model].flatMap { downloads[$0]?.outcome == nil ? $0 : nil }
    }

    private func begin(_ model: ModelID, _ manifest: Manifest) -> DownloadNumber {
        let number = DownloadNumber(value: nextDownload)
        nextDownload += 1
        downloads[number] = DownloadTask(number: number, model: model, manifest: manifest, startedNs: nowNs)
        downloadOfModel[model] = number
        for (index, file) in manifest.files.enumerated() {
            filesOfTask[file.task, default: []].append(DownloadFile(download: number, file: FileIndex(index)))
        }
        scheduler.send(.join(model, manifest))
        let (store, post) = (store, post)
        work { post(.prepared(number, Interpreter.openFiles(of: manifest, model: model, in: store))) }
        return number
    }

    /// How far a download is; nil when it is long over.
    public func snapshot(_ number: DownloadNumber) -> DownloadSnapshot? {
        downloads[number].map { look(at: $0, as: $0.outcome) }
    }

    private func look(at task: DownloadTask, as outcome: DownloadOutcome?) -> DownloadSnapshot {
        DownloadSnapshot(
            progress: task.progressAtOutcome ?? task.machine?.progress ?? DownloadProgress(), traffic: task.traffic,
            outcome: outcome, seconds: Double(nowNs - task.startedNs) / 1e9)
    }

    /// On a worker: records the model, makes room and opens its files, or does nothing.
    private static func openFiles(
        of manifest: Manifest, model: ModelID, in store: Store
    ) -> Result<[TaskFile], StorageError> {
        Result { () throws(StorageError) in
            try store.beginDownload(of: manifest, model: model, nowSeconds: WallClock.nowSeconds())
        }
    }

    /// A worker has opened the files: the machine begins, with what is held already.
    func prepared(_ number: DownloadNumber, _ result: Result<[TaskFile], StorageError>) {
        guard var task = downloads[number] else { return }
        switch result {
        case .failure(let error):
            end(number, .failed(code: "\(error.code)", error.description))
        case .success(let files):
            let digests = files.map { $0.digests }
            var machine = Download(
                manifest: task.manifest, held: files.map { $0.held },
                published: Set(files.indices.filter { files[$0].isPublished }.map { FileIndex($0) }),
                knownDigests: digests, settings: configuration.download, role: configuration.isSeed ? .seed : .peer,
                seed: configuration.seed ^ UInt64(number.value))
            task.files = files
            machine.budgetBytes = budgetBytes
            let actions = machine.start(nowNs: nowNs)
            task.machine = machine
            let early = task.early
            task.early = []
            downloads[number] = task
            for action in actions { perform(action, for: number) }
            for event in early { machineEvents.append((number, event)) }
            shareBudget()
            for file in files.indices where files[file].isPublished == false { advanceHash(number, FileIndex(file)) }
        }
    }

    /// Each download's share of the slots. The arena holds at least two of the largest pieces for each.
    private var budgetBytes: Int {
        let running = max(1, downloads.values.filter { $0.outcome == nil }.count)
        return max(2 * Int(Limits.pieceBytesMax), arena.lengthBytes * 3 / 4 / running)
    }

    private func shareBudget() {
        let share = budgetBytes
        for number in downloads.keys { downloads[number]?.machine?.budgetBytes = share }
    }

    /// Gives one event to one machine and does what it wants.
    func step(_ number: DownloadNumber, _ event: DownloadEvent) {
        guard let task = downloads[number] else { return }
        guard task.machine != nil else {
            if task.outcome == nil { downloads[number]?.early.append(event) }
            return
        }
        let actions = downloads[number]!.machine!.handle(event, nowNs: nowNs)
        for action in actions { perform(action, for: number) }
        if downloads[number]?.machine?.isOver == true { end(number, .cancelled) }
    }

    private func perform(_ action: DownloadAction, for number: DownloadNumber) {
        guard let task = downloads[number] else { return }
        switch action {
        case .connect(let peer): connect(peer, for: number)
        case .leave(let peer): leave(peer, by: number)
        case .drop(let peer, let reason): drop(peer, reason: reason)
        case .open(let peer, let file): open(peer, DownloadFile(download: number, file: file))
        case .close(let peer, let file): close(peer, DownloadFile(download: number, file: file))
        case .want(let peer, let address):
            if let (link, session) = session(peer, DownloadFile(download: number, file: address.file)) {
                say(.want(session: session, piece: address.piece), on: link)
            }
        case .withdraw(let peer, let address): withdraw(peer, address, for: number)
        case .read(let peer, let address, let grant): read(peer, address, grant, for: number)
        case .fetchOrigin(let lease, let file, let pieces, let whole):
            downloads[number]?.fetching.insert(lease)
            origin.fetch(
                OriginFetch(
                    lease: lease, model: task.model, manifest: task.manifest, file: file, pieces: pieces, whole: whole))
        case .stopOrigin(let lease): origin.stop(lease)
        case .keep(let address, let expected, let source):
            keep(ArrivedPiece(address: address, source: source), expected: expected, for: number)
        case .discard(let address, let source): discard(ArrivedPiece(address: address, source: source), of: number)
        case .announce(let address, let digest):
            scheduler.send(.kept(task.manifest.files[Int(address.file.value)].task, address.piece, digest))
        case .have(let address):
            uploadEvent(.kept(task.manifest.files[Int(address.file.value)].task, address.piece))
        case .returnLease(let lease, let failure):
            returnLease(lease, failure, of: number)
        case .blame(let peer, let address):
            let file = task.manifest.files[Int(address.file.value)]
            log("\(peers[peer].host) sent wrong bytes for \(address.piece) of \(file.path)")
            scheduler.send(.blame(peers[peer].host, file.task, address.piece))
        case .publish(let file): publish(file, of: number)
        case .forget(let file): forget(file, of: number)
        case .finished: end(number, .finished)
        case .failed(let reason): end(number, .failed(code: task.failureCode ?? "failed", reason))
        }
    }

    /// The download is decided; it stays until its last slot is back.
    private func end(_ number: DownloadNumber, _ outcome: DownloadOutcome) {
        guard var task = downloads[number], task.outcome == nil else { return }
        task.outcome = outcome
        task.progressAtOutcome = task.machine?.progress
        let callers = task.callers.values
        let last = look(at: task, as: outcome)
        task.callers = [:]
        downloads[number] = task
        if downloadOfModel[task.model] == number { downloadOfModel[task.model] = nil }
        switch outcome {
        case .finished: scheduler.send(.leave(task.model, failure: nil))
        case .failed(_, let reason): scheduler.send(.leave(task.model, failure: reason))
        case .cancelled: scheduler.send(.leave(task.model, failure: "cancelled"))
        }
        for done in callers { done(last) }
        shareBudget()
    }

    /// Removes a download that is over once nothing of it is in anybody's hands.
    func retire(_ number: DownloadNumber) {
        guard let task = downloads[number], task.outcome != nil else { return }
        dropWaitingReads(download: number)
        for piece in task.arrived.keys { discard(piece, of: number) }
        for lease in task.fetching { origin.stop(lease) }
        // A finished machine may still have losers of its end game to see off.
        guard downloads[number]?.isIdle == true, task.machine?.isOver != false else { return }
        for peer in peers.entries.indices.map({ PeerNumber($0) }) where peers[peer].users.contains(number) {
            leave(peer, by: number)
        }
        for (index, file) in task.manifest.files.enumerated() {
            filesOfTask[file.task]?.removeAll { $0 == DownloadFile(download: number, file: FileIndex(index)) }
            if filesOfTask[file.task]?.isEmpty == true { filesOfTask[file.task] = nil }
        }
        for lease in task.leases.keys { downloadOfLease[lease] = nil }
        downloads[number] = nil
        ended.traffic.add(task.traffic)
        ended.wastedBytes += task.progressAtOutcome?.wastedBytes ?? 0
        switch task.outcome {
        case .finished: ended.downloadsFinished += 1
        case .failed: ended.downloadsFailed += 1
        case .cancelled, nil: break
        }
        guard task.machine != nil else { return }
        let (store, model, files) = (store, task.model, task.files)
        work { store.endDownload(of: model, files) }
    }

    // MARK: pieces

    private func keep(_ piece: ArrivedPiece, expected: Digest?, for number: DownloadNumber) {
        guard let task = downloads[number], let arrival = downloads[number]?.arrived.removeValue(forKey: piece) else {
            preconditionFailure("the machine keeps \(piece.address), which has not arrived")
        }
        let address = piece.address
        downloads[number]?.judging[address] = Judged(source: piece.source, kind: arrival.kind)
        let (arena, post, file) = (arena, post, task.files[Int(address.file.value)])
        let lengthBytes = Int(file.layout.range(of: address.piece).length)
        work {
            let bytes = UnsafeRawBufferPointer(rebasing: arena.bytes(of: arrival.slot)[..<lengthBytes])
            let outcome = keepPiece(bytes, expected: expected, task: file, piece: address.piece)
            post(.keepEnded(number, address, arrival.slot, outcome))
        }
    }

    private func discard(_ piece: ArrivedPiece, of number: DownloadNumber) {
        guard let arrival = downloads[number]?.arrived.removeValue(forKey: piece) else { return }
        downloads[number]?.slotsOut -= 1
        free(arrival.slot)
    }

    func keepEnded(_ number: DownloadNumber, _ address: PieceAddress, _ slot: Slot, _ outcome: KeepOutcome) {
        downloads[number]?.slotsOut -= 1
        free(slot)
        guard let task = downloads[number] else { return }
        let judged = downloads[number]?.judging.removeValue(forKey: address)
        switch outcome {
        case .kept(let digest):
            let bytes = task.files[Int(address.file.value)].layout.range(of: address.piece).length
            switch judged?.source {
            case .peer(let peer):
                let entry = peers[peer]
                downloads[number]?.traffic.count(
                    bytes, from: entry.host, isSeed: entry.isSeed, over: judged?.kind ?? .tcp)
            case .origin: downloads[number]?.traffic.originBytes += bytes
            case nil: break
            }
            machineEvents.append((number, .kept(address, digest: digest)))
            advanceHash(number, address.file)
        case .mismatch:
            machineEvents.append((number, .mismatched(address)))
        case .failed(let error):
            downloads[number]?.failureCode = "\(error.code)"
            machineEvents.append((number, .keepFailed(address, reason: error.description)))
        }
    }

    // MARK: whole files

    /// Lets a worker hash on along the kept prefix, so that publishing at the end does not stall.
    private func advanceHash(_ number: DownloadNumber, _ file: FileIndex) {
        guard let task = downloads[number], task.outcome == nil, !task.publishing.contains(file) else { return }
        let entry = task.manifest.files[Int(file.value)]
        guard entry.publishedDigest != nil, entry.layout.count > 1 else { return }
        guard task.hashing[file] == nil else {
            downloads[number]?.hashing[file] = true
            return
        }
        downloads[number]?.hashing[file] = false
        let (post, taskFile) = (post, task.files[Int(file.value)])
        work {
            // A failing read shows itself again when the file is published.
            try? taskFile.advanceHash(limitBytes: 64 << 20)
            post(.hashAdvanced(number, file))
        }
    }

    func hashAdvanced(_ number: DownloadNumber, _ file: FileIndex) {
        guard let again = downloads[number]?.hashing.removeValue(forKey: file) else { return }
        if again { advanceHash(number, file) }
    }

    private func publish(_ file: FileIndex, of number: DownloadNumber) {
        guard let task = downloads[number] else { return }
        downloads[number]?.publishing.insert(file)
        let (post, taskFile) = (post, task.files[Int(file.value)])
        let expected = task.manifest.files[Int(file.value)].publishedDigest
        work {
            do throws(StorageError) {
                post(.publishEnded(number, file, .success(try taskFile.publish(expected: expected))))
            } catch {
                post(.publishEnded(number, file, .failure(error)))
            }
        }
    }

    func publishEnded(_ number: DownloadNumber, _ file: FileIndex, _ result: Result<PublishOutcome, StorageError>) {
        guard let task = downloads[number] else { return }
        downloads[number]?.publishing.remove(file)
        switch result {
        case .success(.published):
            machineEvents.append((number, .filePublished(file)))
        case .success(.mismatched(let expected, let found)):
            let path = task.manifest.files[Int(file.value)].path
            log("\(path) does not match its published digest: expected \(expected), found \(found)")
            downloads[number]?.failureCode = "digest_mismatch"
            machineEvents.append((number, .fileMismatched(file)))
        case .failure(let error):
            downloads[number]?.failureCode = "\(error.code)"
            machineEvents.append((number, .publishFailed(file, reason: error.description)))
        }
    }

    private func forget(_ file: FileIndex, of number: DownloadNumber) {
        guard let task = downloads[number] else { return }
        let entry = task.manifest.files[Int(file.value)]
        uploadEvent(.forgot(entry.task))
        dropSource(of: entry.task)
        scheduler.send(.forgot(entry.task))
        let (store, log) = (store, log)
        work {
            do throws(StorageError) { try store.forget(entry.task) } catch {
                log("cannot forget \(entry.path): \(error)")
            }
        }
    }
}
