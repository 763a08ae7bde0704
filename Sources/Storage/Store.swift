import Artifacts
import Synchronization
import System

/// A host's store: tasks, models and their manifests in one data directory.
///
/// ```
/// <directory>/lock                        held by the one process that has the store
///             tasks/<algorithm>-<hex>/    data.partial or data, and journal: see TaskFile
///             models/<hex>.manifest       its modification time is when the model was last used
///             models/<hex>.pinned         there while the model is pinned
///             tmp/                        half-made things; emptied when the store is opened
///             aside/                      what could not be trusted; the last four are kept for people to look at
/// ```
/// Directories are 0700 and files 0600; published files are 0444. All calls are synchronous and thread-safe and may
/// block on the disk.
public final class Store: Sendable {
    let directories: StoreDirectories
    let configuration: StoreConfiguration
    let contents = Mutex(StoreContents())
    /// Held while room is made and a task created, so that two never count on the same room; before `contents`.
    let making = Mutex(())
    private let lock: Mutex<FileDescriptor?>
    /// Hears of tasks that were evicted or removed with their model, on the thread that did it.
    let gone: @Sendable ([TaskID]) -> Void

    /// Opens a data directory, takes its lock, and finds again everything that was kept there.
    ///
    /// - Parameter log: takes a sentence for people; called for what is set aside or was damaged.
    /// - Throws: `.locked` naming the process that has it; `.unwritable`, `.noSpace`, `.io`.
    public init(
        _ configuration: StoreConfiguration, log: @escaping @Sendable (String) -> Void = { _ in },
        gone: @escaping @Sendable ([TaskID]) -> Void = { _ in }
    ) throws(StorageError) {
        self.configuration = configuration
        self.gone = gone
        directories = try StoreDirectories(configuration, log: log)
        lock = Mutex(try takeStoreLock(directories))
        let found = try storing("read the data directory \(configuration.directory)") { () throws(Errno) in
            for name in try directories.temporary.names() { try directories.temporary.removeTree(name) }
            return StoreContents(
                tasks: try recoverTasks(directories), models: try recoverModels(directories))
        }
        contents.withLock { $0 = found }
    }

    /// Makes running downloads survive a crash of the machine, and gives the directory to others. Terminal.
    public func close() throws(StorageError) {
        try checkpoint()
        unlock()
    }

    /// Gives the directory to others as a process that dies does.
    func unlock() { lock.withLock { $0 = nil } }

    /// Makes what downloads have kept so far survive a crash of the machine (a crash of the process it survives
    /// anyway).
    public func checkpoint() throws(StorageError) {
        for file in contents.withLock({ Array($0.tasks.values) }) { try file.checkpoint() }
    }

    // MARK: Tasks

    /// Creates a task, or resumes it with the pieces that are provably there; a published one is returned as it is.
    ///
    /// Makes room first (see `makeRoom`) and gives the file its blocks, so that a full disk is known early. Until
    /// `pause`, publication or `forget` the task and its models are not evicted. After a crash of the machine this
    /// reads doubtful pieces back.
    /// - Returns: the same object for the same task.
    /// - Throws: `.noSpace`; `.conflict` when the task is known with another size; `.unwritable`, `.io`.
    public func open(_ task: TaskID, sizeBytes: UInt64) throws(StorageError) -> TaskFile {
        guard sizeBytes <= Limits.fileBytesMax else {
            throw StorageError(
                .invalid,
                "\(task) would have \(byteText(sizeBytes)); the limit is \(byteText(Limits.fileBytesMax))")
        }
        if let file = self.task(task) {
            try checkSize(file, sizeBytes)
            do {
                try file.openForDownload()
                return file
            } catch  where error.code == .unknownTask {
                // Evicted between finding and opening it: made anew below.
            }
        }
        return try making.withLock { (_) throws(StorageError) -> TaskFile in
            if let file = self.task(task) {
                try checkSize(file, sizeBytes)
                try file.openForDownload()
                return file
            }
            _ = try makeRoomLocked(for: sizeBytes)
            let file = try TaskFile.create(task, sizeBytes: sizeBytes, directories)
            // Open before it is listed: what is not running may be evicted.
            try file.openForDownload()
            contents.withLock { $0.tasks[task] = file }
            return file
        }
    }

    private func checkSize(_ file: TaskFile, _ sizeBytes: UInt64) throws(StorageError) {
        guard file.sizeBytes == sizeBytes else {
            throw StorageError(
                .conflict,
                "\(file.task) is stored with \(file.sizeBytes) bytes but asked for with \(sizeBytes); one of the manifests is wrong"
            )
        }
    }

    /// A task that is held here, in part or whole.
    public func task(_ task: TaskID) -> TaskFile? { contents.withLock { $0.tasks[task] } }

    /// Everything that can be served, for announcing it.
    public func tasks() -> [TaskInventory] {
        contents.withLock { Array($0.tasks.values) }.map { file in
            file.state.withLock { state in
                TaskInventory(
                    task: file.task, sizeBytes: file.sizeBytes, held: state.held,
                    isPublished: state.phase == .published)
            }
        }
    }

    /// Ends a download, one for each `open`, that is to be resumed some other time: its pieces stay and are served, but
    /// its model may be evicted.
    public func pause(_ task: TaskID) { self.task(task)?.pause() }

    /// Removes what is held of a task, whatever its state; sources in use go on reading what was there.
    ///
    /// While it is being downloaded it stays open and begins with an empty file.
    ///
    /// - Throws: `.conflict` while it is being published; `.io`. Unknown tasks are no error.
    public func forget(_ task: TaskID) throws(StorageError) {
        try making.withLock { (_) throws(StorageError) in
            guard let file = self.task(task) else { return }
            if file.isRunning {
                do throws(StorageError) { return try file.startOver() } catch {
                    if error.code == .conflict { throw error }
                    // There is nothing to go on with: whoever downloads it is told that it is unknown.
                    _ = file.retire(force: true)
                    contents.withLock { $0.tasks[task] = nil }
                    throw error
                }
            }
            guard file.retire(force: true) else {
                throw StorageError(
                    .conflict, "\(task) is being published; wait for that before forgetting it")
            }
            contents.withLock { $0.tasks[task] = nil }
            try storing("remove \(task) from \(directories.path)") { () throws(Errno) in
                try discard([file], directories)
            }
        }
    }
}

/// What a store knows; guarded by its lock.
struct StoreContents: Sendable {
    var tasks: [TaskID: TaskFile] = [:]
    var models: [ModelID: ModelEntry] = [:]
}

/// Takes away the directories of retired tasks: out of sight at once, then off the disk.
func discard(_ files: [TaskFile], _ directories: StoreDirectories) throws(Errno) {
    var names: [String] = []
    for file in files {
        let name = directories.temporaryName()
        do { try directories.tasks.rename(file.task.directoryName, to: directories.temporary, name) } catch {
            // Removed by hand: what was wanted is so.
            if error.fileReason == .missing { continue }
            throw error
        }
        names.append(name)
    }
    for name in names { try directories.temporary.removeTree(name) }
}

private func takeStoreLock(_ directories: StoreDirectories) throws(StorageError) -> FileDescriptor {
    let file = try storing("lock \(directories.path)/lock") { () throws(Errno) in
        try directories.root.open("lock", .createOrOpen)
    }
    let isOurs = try storing("lock \(directories.path)/lock") { () throws(Errno) in
        guard try file.lockExclusively() else { return false }
        try file.truncate(sizeBytes: 0)
        try directories.write(Array("\(CurrentProcess.id)\n".utf8), at: 0, of: file)
        return true
    }
    if isOurs { return file }
    let owner = (try? directories.readAll(file, bytesMax: 64)).flatMap { $0 }
        .map { String(decoding: $0.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self) }
    throw StorageError(
        .locked,
        "the data directory \(directories.path) is in use by process \(owner ?? "unknown"); stop it, or give this one a directory of its own"
    )
}

private func recoverTasks(_ directories: StoreDirectories) throws(Errno) -> [TaskID: TaskFile] {
    var tasks: [TaskID: TaskFile] = [:]
    for name in try directories.tasks.names() {
        do {
            let file = try TaskFile.recover(name, directories)
            tasks[file.task] = file
        } catch {
            try directories.setAside(name, from: directories.tasks, because: error.reason)
        }
    }
    return tasks
}
