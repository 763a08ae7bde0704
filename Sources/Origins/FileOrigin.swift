import Artifacts
import Glibc
import HTTP
import Synchronization

/// Files of this machine: one file, or a directory with all below it. Read by a thread of their own.
///
/// Nothing publishes a digest for them, so a task is path, time of change and length: a file that is rewritten is
/// another task, and the same path on another machine is the same task only if it has the same time of change (a shared
/// file system).
public final class FileOrigin: Origin {
    private let thread: FileThread
    private let meter = OriginMeter()
    private let running = RunningFetches()
    private let roots: [String]

    /// Starts the thread; throws `.unreadable` when the system gives none.
    ///
    /// Nothing is read outside `roots`, links resolved: whoever names a reference need not be who may read this machine's
    /// files.
    public init(roots: [String] = ["/"]) throws(OriginError) {
        self.roots = roots
        thread = FileThread()
        guard thread.start() else {
            throw OriginError(
                .unreadable, "cannot start a thread to read files; raise the process's thread limit")
        }
    }

    deinit { shutdown() }

    /// Ends the thread once every fetch has been told `.cancelled`.
    public func shutdown() {
        for fetch in running.all { fetch.cancel() }
        thread.stop()
    }

    /// What was read so far.
    public var counters: OriginCounters { meter.snapshot }

    /// Lists a file or a directory. Links that lead out of the directory, links to directories and special files are
    /// refused.
    public func resolve(_ reference: ModelReference) async throws(OriginError) -> ResolvedModel {
        guard case .file(let path) = reference.source else {
            throw OriginError(.invalidSetting, "\(reference) is no path; write file:///srv/models/name")
        }
        let result: Result<[FoundFile], OriginError> = await withCheckedContinuation { continuation in
            let taken = thread.post { [roots] in
                continuation.resume(returning: FoundFile.list(path, roots: roots))
            }
            if !taken {
                continuation.resume(
                    returning: .failure(OriginError(.cancelled, "the origins were shut down")))
            }
        }
        let found = try result.get()
        guard
            let newest = found.map(\.stamp).max(by: {
                ($0.seconds, $0.nanoseconds) < ($1.seconds, $1.nanoseconds)
            })
        else {
            throw OriginError(
                .notFoundFile, "there is no file below \(path); name a directory that holds a model")
        }
        var byPath: [String: FoundFile] = [:]
        for file in found { byPath[file.name] = file }
        let files = found.map { file in
            ManifestFile(
                path: file.name, sizeBytes: file.stamp.sizeBytes, publishedDigest: nil,
                task: originTask(
                    url: "file://\(file.path)", validator: file.stamp.text, sizeBytes: file.stamp.sizeBytes))
        }
        return try ResolvedModel(reference, revision: newest.text, files: files) { file in
            let found = byPath[file.path]
            return OriginLocation(
                kind: .file, url: "file://\(found?.path ?? "")", sizeBytes: file.sizeBytes,
                validator: found?.stamp.text, acceptsRanges: true)
        }
    }

    /// Reads a range of one file; see `Origin`.
    public func fetch(
        _ location: OriginLocation, range: ByteRange, pieceBytes: UInt32, sink: any OriginSink
    ) -> OriginFetchHandle {
        let number = running.nextNumber()
        let fetch = FileFetch(
            thread: thread, location: location, range: range, pieceBytes: pieceBytes, sink: sink,
            meter: meter,
            onEnd: { [running] in running.remove(number) })
        running.add(fetch, number)
        return fetch.start()
    }
}

/// The fetches that have not ended, so that a shutdown can tell the paused ones too.
private final class RunningFetches: Sendable {
    private let fetches = Mutex<(lastNumber: UInt64, byNumber: [UInt64: FileFetch])>((0, [:]))

    var all: [FileFetch] { fetches.withLock { Array($0.byNumber.values) } }
    func nextNumber() -> UInt64 {
        fetches.withLock {
            $0.lastNumber += 1
            return $0.lastNumber
        }
    }
    func add(_ fetch: FileFetch, _ number: UInt64) { fetches.withLock { $0.byNumber[number] = fetch } }
    func remove(_ number: UInt64) { fetches.withLock { _ = $0.byNumber.removeValue(forKey: number) } }
}

/// What tells whether a file changed.
struct FileStamp: Hashable, Sendable {
    let sizeBytes: UInt64
    let seconds: Int
    let nanoseconds: Int

    init(_ status: stat) {
        sizeBytes = UInt64(max(0, status.st_size))
        seconds = status.st_mtim.tv_sec
        nanoseconds = status.st_mtim.tv_nsec
    }

    /// `mtime seconds.nanoseconds`.
    var text: String {
        let fraction = String(nanoseconds)
        return "mtime \(seconds).\(String(repeating: "0", count: max(0, 9 - fraction.count)))\(fraction)"
    }
}

/// A file that was found below a reference's path. Listing blocks: on the origin's thread only.
struct FoundFile: Sendable {
    private static let depthMax = 64

    /// Its name relative to the reference's path.
    let name: String
    /// Where it really is, links resolved.
    let path: String
    let stamp: FileStamp

    static func list(_ path: String, roots: [String]) -> Result<[FoundFile], OriginError> {
        Result { () throws(OriginError) in
            // Before anything is looked at: what is outside is not told from what is not there.
            guard roots.contains(where: { isInside($0, path) }) else { throw outside(path) }
            guard let root = realPath(path) else { throw fault(path) }
            guard roots.contains(where: { realPath($0).map { isInside($0, root) } ?? false }) else {
                throw outside(path)
            }
            var status = stat()
            guard lstat(root, &status) == 0 else { throw fault(path) }
            if status.st_mode & S_IFMT == S_IFREG {
                let name = path.split(separator: "/").last.map(String.init) ?? "file"
                if let fault = Manifest.pathFault(name) { throw refused("\(path): \(fault)") }
                return [FoundFile(name: name, path: root, stamp: FileStamp(status))]
            }
            guard status.st_mode & S_IFMT == S_IFDIR else {
                throw refused("\(path) is neither a file nor a directory")
            }
            var found: [FoundFile] = []
            try walk(root, root, "", 0, &found)
            return found
        }
    }

    private static func walk(
        _ root: String, _ directory: String, _ prefix: String, _ depth: Int, _ found: inout [FoundFile]
    ) throws(OriginError) {
        guard depth < depthMax else { throw refused("\(directory) lies deeper than \(depthMax) levels") }
        for entry in try entries(of: directory) {
            let name = prefix + entry
            let path = "\(directory)/\(entry)"
            if let fault = Manifest.pathFault(name) { throw refused(fault) }
            var status = stat()
            guard lstat(path, &status) == 0 else { throw fault(path) }
            switch status.st_mode & S_IFMT {
            case S_IFDIR:
                try walk(root, path, name + "/", depth + 1, &found)
            case S_IFREG:
                found.append(FoundFile(name: name, path: path, stamp: FileStamp(status)))
            case S_IFLNK:
                guard let target = realPath(path) else { throw fault(path) }
                guard target.hasPrefix(root + "/") else {
                    throw refused("\(path) is a link out of the directory")
                }
                guard lstat(target, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
                    throw refused("\(path) is a link to something that is not a file")
                }
                found.append(FoundFile(name: name, path: target, stamp: FileStamp(status)))
            default: throw refused("\(path) is neither a file nor a directory")
            }
            guard found.count <= Limits.manifestFilesMax else {
                throw OriginError(
                    .refusedName,
                    "\(root) holds more than \(Limits.manifestFilesMax) files; name a directory with one model"
                )
            }
        }
    }

    private static func entries(of directory: String) throws(OriginError) -> [String] {
        guard let stream = opendir(directory) else { throw fault(directory) }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let bytes = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
            guard let name = String(validating: bytes, as: UTF8.self) else {
                throw refused("\(directory) holds a name that is not UTF-8")
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    private static func realPath(_ path: String) -> String? {
        guard let resolved = realpath(path, nil) else { return nil }
        defer { free(resolved) }
        return String(cString: resolved)
    }

    private static func isInside(_ directory: String, _ path: String) -> Bool {
        path == directory || path.hasPrefix(directory.hasSuffix("/") ? directory : directory + "/")
    }

    private static func outside(_ path: String) -> OriginError {
        OriginError(
            .forbidden,
            "\(path) may not be read here: it lies in no directory of origin.file_roots; add its directory there if it is meant"
        )
    }

    private static func refused(_ why: String) -> OriginError {
        OriginError(.refusedName, "\(why), which is refused; give a directory that holds plain files only")
    }

    /// The error for the thread's `errno`.
    static func fault(_ path: String) -> OriginError {
        let code = errno
        return switch code {
        case ENOENT, ENOTDIR:
            OriginError(
                .notFoundFile, "there is no file or directory \(path); check the path on this machine")
        case EACCES, EPERM:
            OriginError(.unreadable, "\(path) may not be read by this user; check its permissions")
        default:
            OriginError(
                .unreadable, "cannot read \(path): \(String(cString: strerror(code))) [errno \(code)]")
        }
    }
}
