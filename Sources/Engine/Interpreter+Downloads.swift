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
        if stopAtNs != nil { windDown(number) }
        return DownloadTicket(download: number, caller: caller)
    }

    /// A seed's order from the scheduler: nobody here waits for it, and nobody's giving up ends it.
    func order(_ model: ModelID, _ manifest: Manifest) {
        guard stopAtNs == nil else { return }
        let number = running(model) ?? begin(model, manifest)
        downloads[number]?.isOrdered = true
    }

    /// One caller gives up; when none is left and no scheduler ordered it, the download ends and keeps what is
    /// verified.
    public func abandon(_ ticket: DownloadTicket) {
        guard let task = downloads[ticket.download], task.outcome == nil,
            let done = task.callers.removeValue(forKey: ticket.caller)
        else { return }
        done(look(at: task, as: .cancelled))
        guard task.callers.isEmpty, !task.isOrdered else { return }
        windDown(ticket.download)
    }

    /// The engine is to stop: every download ends, resumable.
    func endDownloads() {
        for number in downloads.keys { windDown(number) }
        for file in served.values { work { file.served.source.unuse() } }
        served = [:]
    }

    /// Begins to end a download, as cancelled. Its callers hear at once; whoever asks for the model from now on begins
    /// anew.
    private func windDown(_ number: DownloadNumber) {
        guard let task = downloads[number], task.outcome == nil else { return }
        let last = look(at: task, as: .cancelled)
        for done in task.callers.values { done(last) }
        task.callers = [:]
        guard task.isLaunched else {
            end(number, .cancelled)
            return
        }
        guard !task.isEnding else { return }
        task.isEnding = true
        machineEvents.append((number, .cancel))
    }

    private func running(_ model: ModelID) -> DownloadNumber? {
        downloadOfModel[model].flatMap { number in
            downloads[number].flatMap { $0.outcome == nil && !$0.isEnding ? number : nil }
        }
    }

    private func begin(_ model: ModelID, _ manifest: Manifest) -> DownloadNumber {
        let number = DownloadNumber(value: nextDownload)
        nextDownload += 1
        downloads[number] = DownloadTask(number: number, model: model, manifest: manifest, startedNs: nowNs)
        downloadOfModel[model] = number
        launchUnblocked()
        return number
    }

    /// Begins the downloads that need not wait any more.
    ///
    /// Two downloads never bring one task at the same time: each would throw away or publish what the other counts on.
    /// The later one waits until the earlier has published what both want, or is over; then it finds it in the store.
    private func launchUnblocked() {
        guard downloads.values.contains(where: { !$0.isLaunched && $0.outcome == nil }) else { return }
        var taken: Set<TaskID> = []
        for (number, task) in downloads.sorted(by: { $0.key.value < $1.key.value }) {
            let wanted = task.wanted
            if !task.isLaunched, task.outcome == nil, stopAtNs == nil, taken.isDisjoint(with: wanted) {
                launch(number, task)
            }
            taken.formUnion(wanted)
        }
    }

    private func launch(_ number: DownloadNumber, _ task: DownloadTask) {
        task.isLaunched = true
        task.isPreparing = true
        for (index, file) in task.content.files.enumerated() {
            filesOfTask[file.task, default: []].append(DownloadFile(download: number, file: FileIndex(index)))
        }
        scheduler.send(.join(task.model, task.manifest))
        let (store, post, model, manifest) = (store, post, task.model, task.manifest)
        work { post(.prepared(number, Interpreter.openFiles(of: manifest, model: model, in: store))) }
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
        guard let task = downloads[number] else {
            preconditionFailure("download \(number.value) went while its files were being opened")
        }
        task.isPreparing = false
        switch result {
        case .failure(let error):
            end(number, .failed(code: "\(error.code)", error.description))
        case .success(let opened):
            let byTask = Dictionary(opened.map { ($0.task, $0) }, uniquingKeysWith: { first, _ in first })
            let files = task.content.files.map { byTask[$0.task]! }
            let published = files.indices.filter { files[$0].isPublished }
            var machine = Download(
                manifest: task.content, held: files.map { $0.held }, published: Set(published.map { FileIndex($0) }),
                knownDigests: files.map { $0.digests }, settings: configuration.download,
                role: configuration.isSeed ? .seed : .peer, seed: configuration.seed ^ UInt64(number.value))
            task.opened = opened
            task.files = files
            task.published = Set(published.map { files[$0].task })
            machine.budgetBytes = budgetBytes
            let actions = machine.start(nowNs: nowNs)
            task.machine = machine
            let early = task.early
            task.early = []
            for action in actions { perform(action, for: number) }
            for event in early { machineEvents.append((number, event)) }
            shareBudget()
            for file in files.indices where !files[file].isPublished { advanceHash(number, FileIndex(file)) }
            launchUnblocked()
        }
    }

    /// Each download's share of the slots. The arena holds at least two of the largest pieces for each.
    private var budgetBytes: Int {
        let running = max(1, downloads.values.count { $0.isRunning })
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
            if task.outcome == nil { task.early.append(event) }
            return
        }
        let actions = task.machine!.handle(event, nowNs: nowNs)
        for action in actions { perform(action, for: number) }
        if case .granted(_, _, let grant, _) = event { forgetUnread(grant) }
        if task.machine!.isOver { end(number, .cancelled) }
    }

    private func perform(_ action: DownloadAction, for number: DownloadNumber) {
        guard let task = downloads[number] else { return }
        switch action {
        case .connect(let peer): connect(peer, for: number)
        case .leave(let peer): leave(peer, by: number)
        case .drop(let peer, let reason): drop(peer, reason)
        case .open(let peer, let file): open(peer, DownloadFile(download: number, file: file))
        case .close(let peer, let file): close(peer, DownloadFile(download: number, file: file))
        case .want(let peer, let address):
            if let (link, session) = session(peer, DownloadFile(download: number, file: address.file)) {
                links[link]?.wants.insert(Want(session: session, piece: address.piece))
                say(.want(session: session, piece: address.piece), on: link)
            }
        case .withdraw(let peer, let address): withdraw(peer, address, for: number)
        case .read(let peer, let address, let grant): read(peer, address, grant, for: number)
        case .fetchOrigin(let lease, let file, let pieces, let whole):
            let fetch = OriginFetch(
                lease: lease, model: task.model, manifest: task.content, file: file, pieces: pieces, whole: whole)
            task.fetching[lease] = fetch
            // A lease that came and went before the machine was there is read for a moment all the same.
            downloadOfLease[lease] = number
            origin.fetch(fetch)
        case .stopOrigin(let lease): origin.stop(lease)
        case .keep(let address, let expected, let source):
            keep(ArrivedPiece(address: address, source: source), expected: expected, for: number)
        case .discard(let address, let source): discard(ArrivedPiece(address: address, source: source), of: number)
        case .announce(let address, let digest):
            scheduler.send(.kept(task.file(address.file).task, address.piece, digest))
        case .have(let address):
            uploadEvent(.kept(task.file(address.file).task, address.piece))
        case .returnLease(let lease, let failure):
            returnLease(lease, failure, of: number)
        case .blame(let peer, let address):
            let file = task.file(address.file)
            log("\(peers[peer].host) sent wrong bytes for \(address.piece) of \(file.path)")
            scheduler.send(.blame(peers[peer].host, file.task, address.piece))
            // The host is at fault, not this one link to it.
            for sibling in peers.siblings(of: peer) { machineEvents.append((number, .banned(sibling))) }
        case .complain(let peer, let address):
            scheduler.send(.blame(peers[peer].host, task.file(address.file).task, address.piece))
        case .publish(let file): publish(file, of: number)
        case .forget(let file): forget(file, of: number)
        case .finished: end(number, .finished)
        case .failed(let reason): end(number, .failed(code: task.failureCode ?? "failed", reason))
        }
    }

    /// The download is decided; it stays until its last slot is back.
    private func end(_ number: DownloadNumber, _ outcome: DownloadOutcome) {
        guard let task = downloads[number], task.outcome == nil else { return }
        task.outcome = outcome
        task.progressAtOutcome = task.machine?.progress
        let callers = task.callers.values
        task.callers = [:]
        let last = look(at: task, as: outcome)
        if downloadOfModel[task.model] == number { downloadOfModel[task.model] = nil }
        if task.isLaunched {
            switch outcome {
            case .finished: scheduler.send(.leave(task.model, failure: nil))
            case .failed(_, let reason): scheduler.send(.leave(task.model, failure: reason))
            case .cancelled: scheduler.send(.leave(task.model, failure: "cancelled"))
            }
        }
        for done in callers { done(last) }
        shareBudget()
    }

    /// Removes a download that is over once nothing of it is in anybody's hands.
    func retire(_ number: DownloadNumber) {
        guard let task = downloads[number], task.outcome != nil else { return }
        dropWaitingReads(download: number)
        for piece in task.arrived.keys { discard(piece, of: number) }
        for lease in task.fetching.keys { origin.stop(lease) }
        // A finished machine may still have losers of its end game to see off.
        guard task.isIdle, task.machine?.isOver != false else { return }
        for peer in peers.entries.indices.map({ PeerNumber($0) }) where peers[peer].users.contains(number) {
            leave(peer, by: number)
        }
        for file in task.content.files {
            filesOfTask[file.task]?.removeAll { $0.download == number }
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
        if task.machine != nil {
            let (store, model, files) = (store, task.model, task.opened)
            work { store.endDownload(of: model, files) }
        }
        launchUnblocked()
    }

    // MARK: pieces

    private func keep(_ piece: ArrivedPiece, expected: Digest?, for number: DownloadNumber) {
        guard let task = downloads[number], let arrival = task.arrived.removeValue(forKey: piece) else {
            preconditionFailure("the machine keeps \(piece.address), which has not arrived")
        }
        let address = piece.address
        task.judging[address] = Judged(source: piece.source, kind: arrival.kind)
        let (arena, post, file) = (arena, post, task.files[Int(address.file.value)])
        let lengthBytes = Int(file.layout.range(of: address.piece).length)
        work(on: file.task) {
            let bytes = UnsafeRawBufferPointer(rebasing: arena.bytes(of: arrival.slot)[..<lengthBytes])
            let outcome = keepPiece(bytes, expected: expected, task: file, piece: address.piece)
            post(.keepEnded(number, address, arrival.slot, outcome))
        }
    }

    private func discard(_ piece: ArrivedPiece, of number: DownloadNumber) {
        guard let task = downloads[number], let arrival = task.arrived.removeValue(forKey: piece) else { return }
        task.slotsOut -= 1
        free(arrival.slot)
    }

    func keepEnded(_ number: DownloadNumber, _ address: PieceAddress, _ slot: Slot, _ outcome: KeepOutcome) {
        guard let task = downloads[number] else {
            preconditionFailure("download \(number.value) went while a worker judged \(address)")
        }
        task.slotsOut -= 1
        if case .kept = outcome {
            keepResident(task.file(address.file).task, address.piece, slot)
        } else {
            free(slot)
        }
        let judged = task.judging.removeValue(forKey: address)
        switch outcome {
        case .kept(let digest):
            let bytes = task.files[Int(address.file.value)].layout.range(of: address.piece).length
            switch judged?.source {
            case .peer(let peer):
                let entry = peers[peer]
                task.traffic.count(
                    bytes, from: entry.host, isSeed: entry.isSeed, over: judged?.kind ?? .tcp)
                if let kind = judged?.kind, let (better, why) = entry.selector.passedOver(for: kind, nowNs: nowNs) {
                    task.traffic.count(bytes, over: TransportChange(from: better, to: kind), why: why)
                }
            case .origin: task.traffic.originBytes += bytes
            case nil: break
            }
            machineEvents.append((number, .kept(address, digest: digest)))
            advanceHash(number, address.file)
        case .mismatch:
            machineEvents.append((number, .mismatched(address)))
        case .failed(let error):
            task.failureCode = "\(error.code)"
            machineEvents.append((number, .keepFailed(address, reason: error.description)))
        }
    }

    // MARK: whole files

    /// Lets a worker hash on along the kept prefix, so that publishing at the end does not stall.
    private func advanceHash(_ number: DownloadNumber, _ file: FileIndex) {
        guard let task = downloads[number], task.outcome == nil, !task.publishing.contains(file) else { return }
        let entry = task.file(file)
        guard entry.publishedDigest != nil, entry.layout.count > 1 else { return }
        guard task.hashing[file] == nil else {
            task.hashing[file] = true
            return
        }
        task.hashing[file] = false
        let (post, taskFile) = (post, task.files[Int(file.value)])
        work(on: entry.task) {
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
        task.publishing.insert(file)
        let (post, taskFile) = (post, task.files[Int(file.value)])
        let expected = task.file(file).publishedDigest
        work(on: taskFile.task) {
            do throws(StorageError) {
                post(.publishEnded(number, file, .success(try taskFile.publish(expected: expected))))
            } catch {
                post(.publishEnded(number, file, .failure(error)))
            }
        }
    }

    func publishEnded(_ number: DownloadNumber, _ file: FileIndex, _ result: Result<PublishOutcome, StorageError>) {
        guard let task = downloads[number] else {
            preconditionFailure("download \(number.value) went while a worker published \(file)")
        }
        task.publishing.remove(file)
        switch result {
        case .success(.published):
            task.published.insert(task.file(file).task)
            machineEvents.append((number, .filePublished(file)))
            launchUnblocked()
        case .success(.mismatched(let expected, let found)):
            log("\(task.file(file).path) does not match its published digest: expected \(expected), found \(found)")
            task.failureCode = "digest_mismatch"
            machineEvents.append((number, .fileMismatched(file)))
        case .failure(let error):
            task.failureCode = "\(error.code)"
            machineEvents.append((number, .publishFailed(file, reason: error.description)))
        }
    }

    private func forget(_ file: FileIndex, of number: DownloadNumber) {
        guard let task = downloads[number] else { return }
        let entry = task.file(file)
        stopServing(entry.task)
        scheduler.send(.forgot(entry.task))
        let (store, log, post) = (store, log, post)
        work(on: entry.task, forgets: true) {
            do throws(StorageError) { try store.forget(entry.task) } catch {
                log("cannot forget \(entry.path): \(error)")
            }
            post(.forgotten(entry.task))
        }
    }
}
