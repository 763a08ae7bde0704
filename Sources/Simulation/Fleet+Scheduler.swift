import Artifacts
import Scheduling
import Swarm

/// The scheduler, and the streams to it.
extension Fleet {
    // MARK: the scheduler's side

    func tellSchedulerSelf(_ event: SchedulerEvent) {
        let startNs = processorNs?()
        let actions = scheduler.handle(event, nowNs: nowNs)
        if let startNs, let processorNs { outcome.schedulerProcessorNs += processorNs() - startNs }
        outcome.messagesToScheduler += 1
        outcome.bytesToScheduler += UInt64(WireSize.of(event))
        for action in actions {
            switch action {
            case .send(let session, let message): sendFromScheduler(session, message)
            case .close(let session, _):
                guard let number = sessions.removeValue(forKey: session) else { continue }
                loseSession(hosts[number], session)
            }
        }
        guard let wakeNs = scheduler.wakeAtNs, max(wakeNs, nowNs) < schedulerWakeNs else { return }
        schedulerWakeNs = max(wakeNs, nowNs)
        queue.push(.wakeScheduler, atNs: schedulerWakeNs, schedulerLife, 0, UInt64(schedulerLife))
    }

    func wakeScheduler(_ life: UInt32) {
        guard life == schedulerLife, schedulerWakeNs <= nowNs else { return }
        schedulerWakeNs = .max
        tellSchedulerSelf(.tick)
    }

    private func sendFromScheduler(_ session: SessionID, _ message: SchedulerMessage) {
        guard let number = sessions[session] else { return }
        outcome.messagesFromScheduler += 1
        outcome.bytesFromScheduler += UInt64(WireSize.of(message))
        let host = hosts[number]
        host.fromSchedulerNs = max(nowNs + delayNs(), host.fromSchedulerNs)
        at(host.fromSchedulerNs, .fromScheduler(host: number, session, message))
    }

    // MARK: a host's side

    /// Begins a stream: hello, everything it holds, and the models it downloads.
    func attach(_ host: Host) {
        guard host.isAlive, host.session == nil, !host.isCutOff else { return }
        let session = SessionID(nextSession)
        nextSession += 1
        host.session = session
        sessions[session] = host.number
        host.news = []
        let leases = host.leases.values.sorted { $0.lease < $1.lease }
        let info = info(host, life: host.life)
        tellScheduler(host) { .attached($0, info, leases: leases) }
        var tasks: [HeldTask] = []
        var held: Set<Int> = []
        for file in 0..<fileCount {
            let entry = models[file / filesPerModel].manifest.files[file % filesPerModel]
            // A liar says so to everyone, once it has a stake in the model.
            let isClaimed = host.conduct == .lying && host.hasJoined && host.wants == file / filesPerModel
            let set = isClaimed ? PieceSet.full(capacity: host.kept[file].capacity) : host.kept[file]
            guard !set.isEmpty else { continue }
            held.insert(file / filesPerModel)
            tasks.append(
                HeldTask(
                    task: entry.task, sizeBytes: entry.sizeBytes, pieces: set,
                    digests: set.members.map {
                        models[file / filesPerModel].digests[file % filesPerModel][Int($0.value)]
                    }))
        }
        let heldModels = held.sorted().map { model in
            let range = model * filesPerModel..<(model + 1) * filesPerModel
            return HeldModel(
                model: models[model].id, manifest: models[model].manifest,
                complete: host.kept[range].allSatisfy { $0.isFull } && !host.isDownloading(model))
        }
        tellScheduler(host) { .inventory($0, models: heldModels, tasks: tasks, last: true) }
        for model in models.indices where host.isDownloading(model) {
            tellScheduler(host) { .join($0, self.models[model].id, self.models[model].manifest) }
        }
    }

    /// What a life of a host says of itself.
    func info(_ host: Host, life: UInt32) -> HostInfo {
        HostInfo(
            host: host.id, incarnation: UInt64(life), role: host.isSeed ? .seed : .peer,
            addresses: ["tcp:\(host.id):1"], zone: "zone",
            rack: scenario.rackHosts > 0 ? "rack-\(network.rack(of: host.number))" : "", machine: host.id.name)
    }

    func tellScheduler(_ host: Host, _ event: (SessionID) -> SchedulerEvent) {
        guard let session = host.session else { return }
        host.toSchedulerNs = max(nowNs + delayNs(), host.toSchedulerNs)
        at(host.toSchedulerNs, .toScheduler(life: schedulerLife, event(session)))
    }

    /// A stream is lost: it is begun anew after a while.
    func loseSession(_ host: Host, _ session: SessionID) {
        guard host.session == session else { return }
        host.session = nil
        let waitNs = 200_000_000 + random.next() % 800_000_000
        queue.push(.attach, atNs: nowNs + waitNs, host.number, 0, UInt64(host.life))
    }

    /// A host's stream ends, and the scheduler sees it.
    func detach(_ host: Host) {
        guard let session = host.session else { return }
        host.session = nil
        sessions[session] = nil
        after(scenario.latencyNs, .toScheduler(life: schedulerLife, .detached(session)))
    }

    func hear(_ host: Host, _ session: SessionID, _ message: SchedulerMessage) {
        guard host.isAlive, host.session == session else { return }
        switch message {
        case .fetchOrder(let id, _):
            let model = numberOfModel[id]!
            if host.running[model] == nil {
                startDownload(host, model)
            } else if host.isDownloading(model) {
                tellScheduler(host) { .join($0, id, self.models[model].manifest) }
            } else {
                tellScheduler(host) { .leave($0, id, finished: host.failure == nil, failure: nil) }
            }
        case .neighbourhood(let id, let parents):
            let offers = parents.map {
                ParentOffer(peer: PeerNumber(numbers[$0.host]!), isSeed: $0.isSeed, distance: $0.distance)
            }
            trace(host, "is offered \(parents.map { "\($0.host)" }.joined(separator: " "))")
            deliver(host, host.life, numberOfModel[id]!, .neighbourhood(offers))
        case .digests(let task, let pieces, let found):
            outcome.digestsTold += UInt64(pieces.count)
            if lastDigests.pieces != pieces || lastDigests.digests != found {
                lastDigests = (pieces, found, Dictionary(zip(pieces, found)) { first, _ in first })
            }
            let file = numberOfTask[task]!
            deliver(
                host, host.life, file / filesPerModel,
                .digests(FileIndex(file % filesPerModel), lastDigests.map))
        case .digestsWithdrawn(let task):
            let file = numberOfTask[task]!
            deliver(host, host.life, file / filesPerModel, .digestsWithdrawn(FileIndex(file % filesPerModel)))
        case .lease(let lease, _, let task, let pieces, let whole):
            let file = numberOfTask[task]!
            host.leases[lease] = HeldLease(lease: lease, task: task, pieces: pieces, whole: whole)
            guard host.isDownloading(file / filesPerModel) else {
                return returnLease(host, Swarm.LeaseID(lease.value), "the download is over")
            }
            deliver(
                host, host.life, file / filesPerModel,
                .originLease(Swarm.LeaseID(lease.value), FileIndex(file % filesPerModel), pieces, whole: whole))
        case .leaseEnded(let lease):
            guard let held = host.leases.removeValue(forKey: lease), let file = numberOfTask[held.task] else { return }
            deliver(host, host.life, file / filesPerModel, .leaseEnded(Swarm.LeaseID(lease.value)))
        case .refused(let id, let failure):
            deliver(host, host.life, numberOfModel[id]!, .refused(reason: failure.sentence))
        case .welcome, .resolveOrder, .resolveReply, .originShare: break
        }
    }

    func returnLease(_ host: Host, _ lease: Swarm.LeaseID, _ failure: String?) {
        tellNews(host)
        host.leases[Scheduling.LeaseID(lease.value)] = nil
        let reason = failure.map {
            Failure(code: host.roomPieces == 0 ? "disk_full" : "cancelled", sentence: $0, retryable: true)
        }
        tellScheduler(host) {
            .leaseReturned($0, Scheduling.LeaseID(lease.value), failure: reason, needsWhole: false)
        }
    }

    func announce(_ host: Host, _ file: Int, _ piece: PieceIndex, isReader: Bool) {
        guard host.session != nil else { return }
        host.news.append(Host.News(file: UInt32(file), piece: piece.value, isReader: isReader))
        guard !host.isTelling else { return }
        host.isTelling = true
        queue.push(.tellScheduler, atNs: nowNs + scenario.newsNs, host.number, 0, UInt64(host.life))
    }

    /// Tells what was kept since the last time, a message for each file and for what was read at the origin.
    func tellNews(_ host: Host) {
        host.isTelling = false
        guard !host.news.isEmpty else { return }
        let news = host.news
        host.news.removeAll(keepingCapacity: true)
        var rest = news[...]
        var later: [Host.News] = []
        while let first = rest.first {
            var pieces: [PieceIndex] = []
            for item in rest {
                if item.file == first.file, item.isReader == first.isReader {
                    pieces.append(PieceIndex(item.piece))
                } else {
                    later.append(item)
                }
            }
            let (model, file) = (Int(first.file) / filesPerModel, Int(first.file) % filesPerModel)
            let own = first.isReader ? pieces.map { models[model].digests[file][Int($0.value)] } : []
            let task = models[model].manifest.files[file].task
            tellScheduler(host) { .kept($0, task, pieces: pieces, digests: own) }
            rest = later[...]
            later = []
        }
    }
}
