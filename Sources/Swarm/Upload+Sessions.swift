import Artifacts

/// Sessions and links: who is interested in what, and who breaks the rules.
extension Upload {
    /// The task of a session that is open, or nil: it ended, or never was.
    func openTask(of session: UploadSessionID) -> TaskID? { links[session.link]?.sessions[session.session] }

    /// A child is interested. Beyond its bound of sessions the answer is the same as for a task that is not here.
    mutating func opened(_ session: UploadSessionID, _ task: TaskID, _ held: PieceSet?, _ nowNs: UInt64) {
        guard links[session.link]?.isDropped != true else { return }
        guard openTask(of: session) == nil else {
            return offend(session.link, "it opened session \(session.session) twice", isLast: true)
        }
        guard let held, (links[session.link]?.sessions.count ?? 0) < settings.sessionsPerLinkMax else {
            actions.append(.sendUnknown(session))
            return
        }
        if tasks[task] == nil {
            tasks[task] = Task(held: held, served: Array(repeating: 0, count: held.capacity))
        } else {
            tasks[task]!.held.formUnion(held)
        }
        tasks[task]!.sessions.append(session)
        links[session.link, default: Link()].sessions[session.session] = task
        actions.append(.sendMap(session, tasks[task]!.held))
    }

    /// A session is over: its wants are forgotten, its exports revoked. One that is over already is late, and ignored.
    mutating func endSession(_ session: UploadSessionID) {
        guard let task = links[session.link]?.sessions.removeValue(forKey: session.session) else { return }
        queue.removeAll { $0.session == session }
        endSlots { $0.session == session }
        tasks[task]!.sessions.removeAll { $0 == session }
        for index in tasks[task]!.firsts.indices where tasks[task]!.firsts[index].session == session {
            tasks[task]!.firsts[index].dueNs = 0
        }
        if tasks[task]!.sessions.isEmpty {
            tasks[task] = nil
            tasksWithNews.removeAll { $0 == task }
        }
    }

    /// Everything of a link is over.
    mutating func endLink(_ link: UInt64) {
        for session in (links[link]?.sessions.keys.sorted() ?? []) {
            endSession(UploadSessionID(link: link, session: session))
        }
    }

    /// A task is gone from here: its sessions end.
    mutating func forgot(_ task: TaskID) {
        for session in tasks[task]?.sessions ?? [] {
            endSession(session)
            actions.append(.sendUnknown(session))
        }
    }

    /// A child broke a rule; after a few times, or a grave one, its link is dropped and all it has ends.
    mutating func offend(_ link: UInt64, _ what: String, isLast: Bool = false) {
        guard links[link] != nil, !links[link]!.isDropped else { return }
        links[link]!.offences += 1
        guard isLast || links[link]!.offences >= settings.offencesMax else { return }
        links[link]!.isDropped = true
        endLink(link)
        counted.linksDropped += 1
        actions.append(.dropLink(link: link, reason: what))
    }
}
