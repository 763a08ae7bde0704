import Artifacts

/// News: telling children of pieces kept meanwhile, many at a time, and where set one child before the others.
extension Upload {
    /// Another piece is here. A piece told already, or of a task nobody is interested in, is no news.
    mutating func kept(_ task: TaskID, _ piece: PieceIndex, _ nowNs: UInt64) {
        guard let sessions = tasks[task]?.sessions, tasks[task]!.held.insert(piece) else { return }
        if settings.firstChildWaitNs != nil, sessions.count > 1 {
            let first = sessions[tasks[task]!.nextFirst % sessions.count]
            tasks[task]!.nextFirst += 1
            tasks[task]!.firsts.append(First(piece: piece, session: first, dueNs: nowNs + firstChildWaitNs))
            addNews(task, News(piece: piece, audience: .only(first)), nowNs)
        } else {
            addNews(task, News(piece: piece, audience: .all), nowNs)
        }
    }

    /// How long the first child has to ask: a few pieces' time where links are slow.
    var firstChildWaitNs: UInt64 { max(settings.firstChildWaitNs ?? 0, settings.firstChildTurns * serviceNs) }

    /// How long the first child, and those it tells, have a piece to themselves.
    var firstChildMarginNs: UInt64 { max(settings.firstChildMarginNs, settings.firstChildTurns * serviceNs) }

    private mutating func addNews(_ task: TaskID, _ news: News, _ nowNs: UInt64) {
        if tasks[task]!.news.isEmpty { tasks[task]!.newsDueNs = nowNs + settings.haveWaitNs }
        if !tasksWithNews.contains(task) { tasksWithNews.append(task) }
        tasks[task]!.news.append(news)
        if tasks[task]!.news.count >= settings.haveBatchMax { tellNews(task) }
    }

    /// Tells the children of a task what was kept since the last time.
    private mutating func tellNews(_ task: TaskID) {
        let news = tasks[task]!.news
        tasks[task]!.news = []
        for session in tasks[task]!.sessions {
            let pieces = news.compactMap { item -> PieceIndex? in
                switch item.audience {
                case .all: item.piece
                case .only(let only): only == session ? item.piece : nil
                case .others(let first): first == session ? nil : item.piece
                }
            }
            if !pieces.isEmpty { actions.append(.sendHave(session, pieces)) }
        }
    }

    /// The first child of a piece began to read it (the others go on waiting), or has read it (they hear soon).
    mutating func firstChildReads(
        _ task: TaskID, _ piece: PieceIndex, _ session: UploadSessionID, dueNs: UInt64
    ) {
        guard
            let index = tasks[task]?.firsts.firstIndex(where: { $0.piece == piece && $0.session == session })
        else { return }
        tasks[task]!.firsts[index].dueNs = dueNs
    }

    /// Acts on news that is due, and on first children that had their time.
    mutating func expireNews(_ nowNs: UInt64) {
        for task in tasksWithNews {
            var due: [First] = []
            if tasks[task]!.firsts.contains(where: { $0.dueNs <= nowNs }) {
                for index in tasks[task]!.firsts.indices where tasks[task]!.firsts[index].dueNs <= nowNs {
                    let first = tasks[task]!.firsts[index]
                    guard first.dueNs > 0, isActive(first.session, first.piece) else { continue }
                    // It waits for us, or reads: no reason to let others ask.
                    tasks[task]!.firsts[index].dueNs = nowNs + firstChildWaitNs
                }
                due = tasks[task]!.firsts.filter { $0.dueNs <= nowNs }
                tasks[task]!.firsts.removeAll { $0.dueNs <= nowNs }
            }
            for first in due {
                addNews(task, News(piece: first.piece, audience: .others(first.session)), nowNs)
            }
            if !tasks[task]!.news.isEmpty, tasks[task]!.newsDueNs <= nowNs { tellNews(task) }
        }
        tasksWithNews.removeAll { tasks[$0]!.news.isEmpty && tasks[$0]!.firsts.isEmpty }
    }
}
