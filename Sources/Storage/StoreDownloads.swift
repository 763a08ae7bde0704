import Artifacts

extension Store {
    /// Begins the download of a model: writes it down, holds it, makes room for what is not here yet, and opens its
    /// files.
    ///
    /// All or nothing: after a failure nothing is held or open (the model stays written down). One `endDownload` for
    /// each success.
    /// - Returns: the manifest's files, in its order.
    /// - Throws: as `record`, `makeRoom` and `open`.
    public func beginDownload(
        of manifest: Manifest, model: ModelID, nowSeconds: Int64
    ) throws(StorageError) -> [TaskFile] {
        try record(manifest, model: model, nowSeconds: nowSeconds)
        try hold(model)
        var opened: [TaskFile] = []
        do throws(StorageError) {
            var missing: [TaskID: UInt64] = [:]
            for file in manifest.files where task(file.task) == nil { missing[file.task] = file.sizeBytes }
            // At once, before anything is evicted for the first of them in vain.
            try makeRoom(for: missing.values.reduce(0, +))
            for file in manifest.files { opened.append(try open(file.task, sizeBytes: file.sizeBytes)) }
            return opened
        } catch {
            endDownload(of: model, opened)
            throw error
        }
    }

    /// Ends a download, finished or not: what is kept stays, and may be evicted.
    ///
    /// - Parameter files: what `beginDownload` returned.
    public func endDownload(of model: ModelID, _ files: [TaskFile]) {
        for file in files where !file.isPublished { file.pause() }
        release(model)
    }
}
