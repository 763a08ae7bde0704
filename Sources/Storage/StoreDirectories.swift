import Artifacts
import Synchronization
import System

/// A store's open directories and what all its parts share: faults, boot, log.
final class StoreDirectories: Sendable {
    /// The data directory as it was given.
    let path: String
    let root: Directory
    let tasks: Directory
    let models: Directory
    let temporary: Directory
    let aside: Directory
    let faults: (any StorageFaults)?
    let boot: BootID
    let log: @Sendable (String) -> Void
    private let names = Atomic<UInt64>(0)

    init(_ configuration: StoreConfiguration, log: @escaping @Sendable (String) -> Void) throws(StorageError) {
        path = configuration.directory
        faults = configuration.faults
        boot = configuration.boot
        self.log = log
        let place = configuration.directory
        root = try storing("open the data directory \(place)") { () throws(Errno) -> Directory in
            try Directory.create(path: place, permissions: 0o700)
            return try Directory(path: place)
        }
        tasks = try StoreDirectories.inner("tasks", root, place)
        models = try StoreDirectories.inner("models", root, place)
        temporary = try StoreDirectories.inner("tmp", root, place)
        aside = try StoreDirectories.inner("aside", root, place)
    }

    private static func inner(
        _ name: String, _ root: borrowing Directory, _ place: String
    ) throws(StorageError) -> Directory {
        do {
            try root.makeDirectory(name, permissions: 0o700)
            return try root.openDirectory(name)
        } catch {
            throw StorageError(cannot: "make the directory \(place)/\(name)", error)
        }
    }

    /// A name nobody uses in `tmp`, which was emptied when the store was opened.
    func temporaryName() -> String {
        "\(names.add(1, ordering: .relaxed).newValue)"
    }

    /// Writes bytes at an offset, unless a test has the disk full.
    func write(
        _ bytes: UnsafeRawBufferPointer, at offset: UInt64, of file: borrowing FileDescriptor
    ) throws(Errno) {
        if let faults, faults.writeFails(sizeBytes: bytes.count) { throw .injectedDiskFull }
        try file.write(bytes, at: offset)
    }

    /// Writes an array at an offset, unless a test has the disk full.
    func write(_ bytes: [UInt8], at offset: UInt64, of file: borrowing FileDescriptor) throws(Errno) {
        var failure: Errno? = nil
        bytes.withUnsafeBytes { buffer in
            do throws(Errno) { try write(buffer, at: offset, of: file) } catch { failure = error }
        }
        if let failure { throw failure }
    }

    /// Reads a whole small file; nil when it is longer than `bytesMax`.
    func readAll(_ file: borrowing FileDescriptor, bytesMax: UInt64) throws(Errno) -> [UInt8]? {
        let size = try file.status().sizeBytes
        guard size <= bytesMax else { return nil }
        var bytes = [UInt8](repeating: 0, count: Int(size))
        var failure: Errno? = nil
        let count = bytes.withUnsafeMutableBytes { buffer in
            do throws(Errno) { return try file.read(at: 0, into: buffer) } catch {
                failure = error
                return 0
            }
        }
        if let failure { throw failure }
        return Array(bytes.prefix(count))
    }

    /// Moves something untrustworthy out of the way, keeping the newest few for people to look at, and says so.
    func setAside(_ name: String, from directory: borrowing Directory, because reason: String) throws(Errno) {
        let places = try aside.names().sorted {
            (UInt64($0.prefix { $0 != "-" }) ?? 0) < (UInt64($1.prefix { $0 != "-" }) ?? 0)
        }
        for old in places.dropLast(3) { try aside.removeTree(old) }
        let last = places.last.flatMap { UInt64($0.prefix { $0 != "-" }) } ?? 0
        let place = "\(last + 1)-\(name)"
        try directory.rename(name, to: aside, place)
        log("set aside \(path)/aside/\(place): \(reason); its content is not used and will be fetched again")
    }
}

extension TaskID {
    /// The name of the task's directory: `<algorithm>-<hex>`.
    var directoryName: String { "\(digest.algorithm.name)-\(digest.hex)" }

    /// Reads a directory name; nil unless it is exactly one that `directoryName` gives.
    init?(directoryName name: String) {
        guard let dash = name.firstIndex(of: "-"),
            let task = TaskID(text: "\(name[..<dash]):\(name[name.index(after: dash)...])"),
            task.directoryName == name
        else { return nil }
        self = task
    }
}
