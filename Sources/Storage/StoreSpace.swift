import Artifacts
import System

extension Store {
    /// How full the store is.
    public var usage: StoreUsage {
        // A file system that does not even answer has nothing free.
        let free = (try? freeBytes()) ?? 0
        return contents.withLock { contents in
            StoreUsage(
                budgetBytes: configuration.budgetBytes, usedBytes: contents.usedBytes,
                pinnedBytes: contents.bytes { $0.isPinned }, freeBytes: free)
        }
    }

    /// Evicts until so many bytes more would fit both the budget and the disk.
    ///
    /// First what was set aside and tasks of no model; then whole models, least recently used first. Never one that is
    /// pinned, held, served, or being downloaded. When all that would not do, nothing is evicted.
    /// - Returns: the models evicted.
    /// - Throws: `.noSpace`, saying how much is needed, free and pinned; `.io`.
    @discardableResult
    public func makeRoom(for sizeBytes: UInt64) throws(StorageError) -> [ModelID] {
        try making.withLock { (_) throws(StorageError) -> [ModelID] in try makeRoomLocked(for: sizeBytes) }
    }

    /// The same, for callers that hold `making`.
    func makeRoomLocked(for sizeBytes: UInt64) throws(StorageError) -> [ModelID] {
        var evicted: [ModelID] = []
        guard try lackBytes(for: sizeBytes) > 0 else { return evicted }
        try storing("empty \(directories.path)/aside") { () throws(Errno) in
            for name in try directories.aside.names() { try directories.aside.removeTree(name) }
        }
        let lack = try lackBytes(for: sizeBytes)
        let evictable = contents.withLock { $0.evictableBytes }
        guard lack <= evictable else { throw noSpace(sizeBytes) }
        while try lackBytes(for: sizeBytes) > 0 {
            let (model, files) = contents.withLock { $0.takeOutLeastRecentlyUsed() }
            guard model != nil || !files.isEmpty else { throw noSpace(sizeBytes) }
            gone(files.map(\.task))
            try storing("evict a model from \(directories.path)") { () throws(Errno) in
                if let model { try removeManifest(model) }
                try discard(files, directories)
            }
            if let model { evicted.append(model) }
        }
        return evicted
    }

    /// How much is missing for so many bytes more.
    private func lackBytes(for sizeBytes: UInt64) throws(StorageError) -> UInt64 {
        let used = contents.withLock { $0.usedBytes }
        let overBudget = configuration.budgetBytes.map { subtract(sizeBytes + used, $0) } ?? 0
        return max(overBudget, subtract(sizeBytes + configuration.freeBytesMin, try freeBytes()))
    }

    /// Free on the file system, less what sparse files of downloads have still to fill.
    private func freeBytes() throws(StorageError) -> UInt64 {
        let promised = contents.withLock { contents in
            contents.tasks.values.reduce(UInt64(0)) { $0 + $1.promisedBytes }
        }
        let space = try storing("ask how full \(directories.path) is") { () throws(Errno) in
            try directories.root.space()
        }
        return subtract(space.availableBytes, promised)
    }

    private func noSpace(_ sizeBytes: UInt64) -> StorageError {
        let usage = usage
        let unpinned = contents.withLock { contents in
            contents.models.contains { !$0.value.isPinned && contents.isInUse($0.key) }
        }
        let room = subtract(usage.freeBytes, configuration.freeBytesMin)
        let budget =
            usage.budgetBytes.map {
                "\(byteText(subtract($0, usage.usedBytes))) of its budget of \(byteText($0)) and "
            } ?? ""
        let busy = unpinned ? ", the rest being in use" : ""
        return StorageError(
            .noSpace,
            "no space for \(byteText(sizeBytes)) in \(directories.path): \(budget)\(byteText(room)) of the disk are free, \(byteText(usage.pinnedBytes)) are pinned\(busy); unpin or remove models, raise the budget, or use a larger disk"
        )
    }
}

private func subtract(_ left: UInt64, _ right: UInt64) -> UInt64 { left > right ? left - right : 0 }

extension TaskFile {
    /// What the file has still to take from the disk: nothing where it was given its blocks at the start.
    fileprivate var promisedBytes: UInt64 {
        guard isRunning else { return 0 }
        let there = try? directories.tasks.status(name(TaskFile.partialName))
        return subtract(sizeBytes, there?.allocatedBytes ?? sizeBytes)
    }
}

extension StoreContents {
    /// What all tasks occupy, or will when they are complete.
    var usedBytes: UInt64 { tasks.values.reduce(0) { $0 + $1.sizeBytes } }

    /// What the distinct tasks of some models occupy.
    func bytes(ofModels isMeant: (ModelEntry) -> Bool) -> UInt64 {
        var counted: Set<TaskID> = []
        for entry in models.values where isMeant(entry) { counted.formUnion(entry.tasks.keys) }
        return counted.reduce(0) { $0 + (tasks[$1]?.sizeBytes ?? 0) }
    }

    /// Whether a model is held, or any task of it in use.
    func isInUse(_ id: ModelID) -> Bool {
        guard let entry = models[id] else { return false }
        return entry.holds > 0
            || entry.tasks.keys.contains { task in !(tasks[task]?.state.withLock(\.isIdle) ?? true) }
    }

    /// Tasks here that belong to no model and that nobody uses.
    private var orphans: [TaskFile] {
        let owned = Set(models.values.flatMap { $0.manifest.files.map(\.task) })
        return tasks.values.filter { !owned.contains($0.task) && $0.state.withLock(\.isIdle) }
    }

    private func isEvictable(_ id: ModelID, _ entry: ModelEntry) -> Bool {
        !entry.isPinned && entry.holds == 0
            && exclusiveTasks(of: id).allSatisfy { $0.state.withLock(\.isIdle) }
    }

    /// What evicting everything that may be evicted would give.
    var evictableBytes: UInt64 {
        let going = Set(models.filter { isEvictable($0.key, $0.value) }.keys)
        var staying: Set<TaskID> = []
        for (id, entry) in models where !going.contains(id) { staying.formUnion(entry.tasks.keys) }
        return tasks.values.reduce(0) { sum, file in
            staying.contains(file.task) || !file.state.withLock(\.isIdle) ? sum : sum + file.sizeBytes
        }
    }

    /// Takes out the tasks of no model if there are any, otherwise the model that was used longest ago.
    mutating func takeOutLeastRecentlyUsed() -> (ModelID?, [TaskFile]) {
        let loose = orphans.filter { $0.retire(force: false) }
        if !loose.isEmpty {
            for file in loose { tasks[file.task] = nil }
            return (nil, loose)
        }
        let candidates = models.filter { isEvictable($0.key, $0.value) }.sorted {
            ($0.value.lastUsedSeconds, $0.key.digest.hex) < ($1.value.lastUsedSeconds, $1.key.digest.hex)
        }
        for (id, _) in candidates {
            if let files = takeOut(id) { return (id, files) }
        }
        return (nil, [])
    }
}
