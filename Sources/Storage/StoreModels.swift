import Artifacts
import System

/// A model in memory; guarded by the store's lock.
struct ModelEntry: Sendable {
    var manifest: Manifest
    var isPinned: Bool
    var lastUsedSeconds: Int64
    /// How many are fetching or exporting it.
    var holds = 0

    /// Its distinct tasks and their sizes.
    var tasks: [TaskID: UInt64] {
        Dictionary(manifest.files.map { ($0.task, $0.sizeBytes) }, uniquingKeysWith: { first, _ in first })
    }
}

extension Store {
    /// Writes down a model, so that its tasks are known to belong together; again with other words for the same content
    /// replaces it.
    ///
    /// - Throws: `.invalid` when `model` is not the manifest's identity or its words cannot be written; `.noSpace`,
    ///   `.io`.
    public func record(_ manifest: Manifest, model: ModelID, nowSeconds: Int64) throws(StorageError) {
        guard manifest.model == model else {
            throw StorageError(
                .invalid,
                "the manifest of \(manifest.reference) is that of \(manifest.model), not of \(model)")
        }
        guard let bytes = ManifestText.encode(manifest) else {
            throw StorageError(
                .invalid, "the reference or revision of \(model) is too long or has control characters")
        }
        try contents.withLock { (contents) throws(StorageError) in
            try storing("write the manifest of \(manifest.reference) in \(directories.path)") {
                () throws(Errno) in
                let temporary = directories.temporaryName()
                let file = try directories.temporary.open(temporary, .createNew)
                try directories.write(bytes, at: 0, of: file)
                try file.setModified(ns: nowSeconds * 1_000_000_000)
                try file.syncAll()
                try directories.temporary.rename(temporary, to: directories.models, model.manifestName)
                try directories.models.sync()
            }
            let old = contents.models[model]
            contents.models[model] = ModelEntry(
                manifest: manifest, isPinned: old?.isPinned ?? false, lastUsedSeconds: nowSeconds,
                holds: old?.holds ?? 0)
        }
    }

    /// All models, by reference.
    public func models() -> [StoredModel] {
        contents.withLock { contents in
            contents.models.map { describe($0.key, $0.value, contents) }
        }.sorted { ($0.manifest.reference, $0.id.digest.hex) < ($1.manifest.reference, $1.id.digest.hex) }
    }

    /// One model; nil when it is not recorded.
    public func model(_ id: ModelID) -> StoredModel? {
        contents.withLock { contents in contents.models[id].map { describe(id, $0, contents) } }
    }

    private func describe(_ id: ModelID, _ entry: ModelEntry, _ contents: StoreContents) -> StoredModel {
        var isComplete = true
        var isInUse = entry.holds > 0
        var heldBytes: UInt64 = 0
        var totalBytes: UInt64 = 0
        for (task, sizeBytes) in entry.tasks {
            totalBytes += sizeBytes
            guard let file = contents.tasks[task] else {
                isComplete = false
                continue
            }
            let (held, phase, isIdle) = file.state.withLock { ($0.held, $0.phase, $0.isIdle) }
            isComplete = isComplete && phase == .published
            isInUse = isInUse || !isIdle
            heldBytes += file.layout.bytes(of: held)
        }
        return StoredModel(
            id: id, manifest: entry.manifest, isComplete: isComplete, totalBytes: totalBytes,
            heldBytes: heldBytes,
            isPinned: entry.isPinned, isInUse: isInUse, lastUsedSeconds: entry.lastUsedSeconds)
    }

    /// Keeps a model from eviction for good.
    public func pin(_ id: ModelID) throws(StorageError) {
        try change(id, "pin") { (entry) throws(Errno) in
            _ = try directories.models.open(id.pinName, .createOrOpen)
            try directories.models.sync()
            entry.isPinned = true
        }
    }

    /// Lets a pinned model be evicted again.
    public func unpin(_ id: ModelID) throws(StorageError) {
        try change(id, "unpin") { (entry) throws(Errno) in
            try directories.models.unlink(id.pinName)
            entry.isPinned = false
        }
    }

    /// Says that a model was used now.
    public func touch(_ id: ModelID, nowSeconds: Int64) throws(StorageError) {
        try change(id, "touch") { (entry) throws(Errno) in
            try directories.models.open(id.manifestName, .write).setModified(ns: nowSeconds * 1_000_000_000)
            entry.lastUsedSeconds = nowSeconds
        }
    }

    /// Keeps a model from eviction and removal while it is fetched or exported: one `release` for each.
    public func hold(_ id: ModelID) throws(StorageError) {
        try change(id, "hold") { entry in entry.holds += 1 }
    }

    /// Ends a `hold`; traps without one.
    public func release(_ id: ModelID) {
        contents.withLock { contents in
            guard let holds = contents.models[id]?.holds, holds > 0 else {
                fatalError("\(id) was released without being held")
            }
            contents.models[id]?.holds = holds - 1
        }
    }

    private func change(
        _ id: ModelID, _ action: String, _ body: (inout ModelEntry) throws(Errno) -> Void
    ) throws(StorageError) {
        try contents.withLock { (contents) throws(StorageError) in
            guard var entry = contents.models[id] else { throw unknown(id) }
            do throws(Errno) { try body(&entry) } catch {
                throw StorageError(
                    cannot: "\(action) \(entry.manifest.reference) in \(directories.path)", error)
            }
            contents.models[id] = entry
        }
    }

    /// Removes a model and those of its tasks that no other model has.
    ///
    /// - Throws: `.unknownModel`; `.inUse` while it is downloaded, served or exported; `.io`.
    public func remove(_ id: ModelID) throws(StorageError) {
        try making.withLock { (_) throws(StorageError) in
            let files = try contents.withLock { (contents) throws(StorageError) -> [TaskFile] in
                guard let entry = contents.models[id] else { throw unknown(id) }
                guard let files = contents.takeOut(id) else {
                    throw StorageError(
                        .inUse,
                        "\(entry.manifest.reference) is being downloaded, served or exported; try again when it is not"
                    )
                }
                return files
            }
            gone(files.map(\.task))
            try storing("remove a model from \(directories.path)") { () throws(Errno) in
                try removeManifest(id)
                try discard(files, directories)
            }
        }
    }

    func removeManifest(_ id: ModelID) throws(Errno) {
        try directories.models.unlink(id.manifestName)
        try directories.models.unlink(id.pinName)
    }

    func unknown(_ id: ModelID) -> StorageError {
        StorageError(
            .unknownModel, "no model \(id) in \(directories.path); `martlet ls` shows those that are there")
    }
}

extension StoreContents {
    /// The tasks that go with a model: those here that no other model has.
    func exclusiveTasks(of id: ModelID) -> [TaskFile] {
        guard let entry = models[id] else { return [] }
        var mine = entry.tasks
        for (other, entry) in models where other != id {
            for file in entry.manifest.files { mine[file.task] = nil }
        }
        return mine.keys.compactMap { tasks[$0] }
    }

    /// Takes a model that nobody uses out of the lists and retires its tasks; nil, and nothing changed, when it is in
    /// use.
    mutating func takeOut(_ id: ModelID) -> [TaskFile]? {
        guard let entry = models[id], entry.holds == 0 else { return nil }
        let files = exclusiveTasks(of: id)
        guard files.allSatisfy({ file in file.state.withLock(\.isIdle) }) else { return nil }
        // One that is taken into use between the check and here stays, as a task without a model.
        let retired = files.filter { $0.retire(force: false) }
        for file in retired { tasks[file.task] = nil }
        models[id] = nil
        return retired
    }
}

func recoverModels(_ directories: StoreDirectories) throws(Errno) -> [ModelID: ModelEntry] {
    var models: [ModelID: ModelEntry] = [:]
    let names = try directories.models.names()
    for name in names where !name.hasSuffix(".pinned") {
        guard let status = try directories.models.status(name), status.kind == .regular,
            let bytes = try directories.readAll(
                try directories.models.open(name, .read), bytesMax: ManifestText.bytesMax),
            let manifest = ManifestText.decode(bytes), manifest.model.manifestName == name
        else {
            try directories.setAside(name, from: directories.models, because: "it is no intact manifest")
            continue
        }
        models[manifest.model] = ModelEntry(
            manifest: manifest, isPinned: names.contains(manifest.model.pinName),
            lastUsedSeconds: status.modifiedNs / 1_000_000_000)
    }
    for name in names where name.hasSuffix(".pinned") && !models.keys.contains(where: { $0.pinName == name }) {
        try directories.models.removeTree(name)
    }
    return models
}

extension ModelID {
    fileprivate var manifestName: String { "\(digest.hex).manifest" }
    fileprivate var pinName: String { "\(digest.hex).pinned" }
}

extension PieceLayout {
    /// How many bytes a set of pieces has.
    func bytes(of pieces: PieceSet) -> UInt64 {
        guard !pieces.isEmpty else { return 0 }
        let whole = UInt64(pieces.count) * UInt64(pieceBytes)
        let last = PieceIndex(count - 1)
        return pieces.contains(last) ? whole - UInt64(pieceBytes) + range(of: last).length : whole
    }
}
