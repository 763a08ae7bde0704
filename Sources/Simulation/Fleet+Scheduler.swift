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
        queue.push(.wakeScheduler(life: schedulerLife), atNs: schedulerWakeNs)
    }

    func wakeScheduler(_ life: UInt32) {
        guard life == schedulerLife, schedulerWakeNs <= nowNs else { return }
        schedulerWakeNs = .max
        tellSchedulerSelf(.tick)
    }

    private func sendFromScheduler(_ session: SessionID, _ message: SchedulerMessage) {
        guard let number = sessions[session] else { return }
        outcome.messagesFromScheduler += 1
        let host = hosts[number]
        host.fromSchedulerNs = max(nowNs + delayNs(), host.fromSchedulerNs)
        queue.push(.fromScheduler(host: number, session, message), atNs: host.fromSchedulerNs)
    }

    // MARK: a host's side

    /// Begins a stream: hello, everything it holds, and the model it downloads.
    func attach(_ host: Host) {
        guard host.isAlive, host.session == nil, !host.isCutOff else { return }
        let session = SessionID(nextSession)
        nextSession += 1
        host.session = session
        sessions[session] = host.number
        host.news = [:]
        let rack = scenario.rackHosts > 0 ? "rack-\(network.rack(of: host.number))" : ""
        let info = HostInfo(
            host: host.id, incarnation: UInt64(host.life), role: host.isSeed ? .seed : .peer,
            addresses: ["tcp:\(host.id):1"], zone: "zone", rack: rack, machine: host.id.name)
        let leases = host.leases.values.sorted { $0.lease < $1.lease }
        tellScheduler(host) { .attached($0, info, leases: leases) }
        let tasks = host.kept.enumerated().filter { !$1.isEmpty }.map { file, set in
            HeldTask(
                task: manifest.files[file].task, sizeBytes: manifest.files[file].sizeBytes, pieces: set,
                digests: set.members.map { digests[file][Int($0.value)] })
        }
        let isComplete = host.kept.allSatisfy { $0.isFull } && host.finishedNs != nil
        let models = tasks.isEmpty ? [] : [HeldModel(model: model, manifest: manifest, complete: isComplete)]
        tellScheduler(host) { .inventory($0, models: models, tasks: tasks, last: true) }
        if host.isDownloading { tellScheduler(host) { .join($0, self.model, self.manifest) } }
    }

    func tellScheduler(_ host: Host, _ event: (SessionID) -> SchedulerEvent) {
        guard let session = host.session else { return }
        host.toSchedulerNs = max(nowNs + delayNs(), host.toSchedulerNs)
        queue.push(.toScheduler(life: schedulerLife, event(session)), atNs: host.toSchedulerNs)
    }

    /// A stream is lost: it is begun anew after a while.
    func loseSession(_ host: Host, _ session: SessionID) {
        guard host.session == session else { return }
        host.session = nil
        let waitNs = 200_000_000 + random.next() % 800_000_000
        after(waitNs, .attach(host: host.number, life: host.life))
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
        case .fetchOrder:
            if host.download == nil {
                startDownload(host)
            } else if host.isDownloading {
                tellScheduler(host) { .join($0, self.model, self.manifest) }
            } else {
                tellScheduler(host) { .leave($0, self.model, finished: true, failure: nil) }
            }
        case .neighbourhood(_, let parents):
            let offers = parents.map {
                ParentOffer(peer: PeerNumber(numbers[$0.host]!), isSeed: $0.isSeed, distance: $0.distance)
            }
            trace(host, "is offered \(parents.map { "\($0.host)" }.joined(separator: " "))")
            deliver(host, host.life, .neighbourhood(offers))
        case .digests(let task, let pieces, let found):
            outcome.digestsTold += UInt64(pieces.count)
            let map = Dictionary(zip(pieces, found)) { first, _ in first }
            deliver(host, host.life, .digests(files[task]!, map))
        case .digestsWithdrawn(let task): deliver(host, host.life, .digestsWithdrawn(files[task]!))
        case .lease(let lease, _, let task, let pieces, let whole):
            host.leases[lease] = HeldLease(lease: lease, task: task, pieces: pieces, whole: whole)
            guard host.isDownloading else {
                return returnLease(host, Swarm.LeaseID(lease.value), "the download is over")
            }
            deliver(
                host, host.life, .originLease(Swarm.LeaseID(lease.value), files[task]!, pieces, whole: whole))
        case .leaseEnded(let lease):
            host.leases[lease] = nil
            deliver(host, host.life, .leaseEnded(Swarm.LeaseID(lease.value)))
        case .refused(_, let failure): deliver(host, host.life, .refused(reason: failure.sentence))
        case .welcome, .resolveOrder, .resolveReply, .originShare: break
        }
    }

    func returnLease(_ host: Host, _ lease: Swarm.LeaseID, _ failure: String?) {
        tellNews(host)
        host.leases[Scheduling.LeaseID(lease.value)] = nil
        let reason = failure.map { Failure(code: "cancelled", sentence: $0, retryable: true) }
        tellScheduler(host) {
            .leaseReturned($0, Scheduling.LeaseID(lease.value), failure: reason, needsWhole: false)
        }
    }

    func announce(_ host: Host, _ address: PieceAddress, isReader: Bool) {
        guard host.session != nil else { return }
        host.news[isReader, default: [:]][address.file.value, default: []].append(address.piece)
        guard !host.isTelling else { return }
        host.isTelling = true
        after(scenario.newsNs, .tellScheduler(host: host.number, life: host.life))
    }

    func tellNews(_ host: Host) {
        host.isTelling = false
        let news = host.news
        host.news = [:]
        for isReader in [true, false] {
            for (file, pieces) in (news[isReader] ?? [:]).sorted(by: { $0.key < $1.key }) {
                let task = manifest.files[Int(file)].task
                let own = isReader ? pieces.map { digests[Int(file)][Int($0.value)] } : []
                tellScheduler(host) { .kept($0, task, pieces: pieces, digests: own) }
            }
        }
    }
}
