import CLinux

/// An open directory: names are looked up relative to it, so a renamed or replaced parent cannot lead astray.
///
/// Names given to it may contain `/` unless said otherwise; `openBeneath` is for names that others chose.
public struct Directory: ~Copyable, Sendable {
    /// How a file is opened.
    public enum Access: Sendable {
        /// For reading; the last part may not be a symbolic link.
        case read
        /// For reading and writing; must exist; the last part may not be a symbolic link.
        case write
        /// For reading and writing; created if missing.
        case createOrOpen
        /// For reading and writing; must not exist yet.
        case createNew

        fileprivate var flags: CInt {
            switch self {
            case .read: O_RDONLY | O_NOFOLLOW
            case .write: O_RDWR | O_NOFOLLOW
            case .createOrOpen: O_RDWR | O_CREAT | O_NOFOLLOW
            case .createNew: O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW
            }
        }
    }

    private let descriptor: FileDescriptor

    /// Opens a directory by path, following symbolic links.
    public init(path: String) throws(Errno) {
        descriptor = try opened(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0)
    }

    private init(owning descriptor: consuming FileDescriptor) { self.descriptor = descriptor }

    /// Creates every missing part of a path with these permission bits.
    public static func create(path: String, permissions: UInt32) throws(Errno) {
        var made = path.hasPrefix("/") ? "/" : ""
        for part in path.split(separator: "/") {
            made += made.isEmpty || made == "/" ? String(part) : "/" + part
            if mkdir(made, permissions) == 0 { continue }
            let code = martlet_errno()
            // An existing part is told from a forbidden one below, by opening the whole.
            if code != EEXIST { throw Errno(code, "mkdir \(made)") }
        }
    }

    /// Creates every missing part of the path that leads to a file: its directory.
    public static func createParent(of path: String, permissions: UInt32) throws(Errno) {
        guard let slash = path.lastIndex(of: "/"), slash != path.startIndex else { return }
        try create(path: String(path[..<slash]), permissions: permissions)
    }

    /// Opens a file in this directory, close-on-exec.
    public func open(_ name: String, _ access: Access, permissions: UInt32 = 0o600) throws(Errno)
        -> FileDescriptor
    {
        try opened(descriptor.raw, name, access.flags, permissions)
    }

    /// Opens a directory in this directory; the last part may not be a symbolic link.
    public func openDirectory(_ name: String) throws(Errno) -> Directory {
        Directory(owning: try opened(descriptor.raw, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0))
    }

    /// Opens the directory of this one-part name beneath this one, creating it if missing; never through a symbolic
    /// link.
    public func openBeneath(creating part: String, permissions: UInt32) throws(Errno) -> Directory {
        precondition(!part.contains("/"), "one part at a time")
        guard !part.isEmpty, part != ".", part != ".." else { throw Errno(EINVAL, "openat2") }
        if mkdirat(descriptor.raw, part, permissions) != 0 {
            let code = martlet_errno()
            if code != EEXIST { throw Errno(code, "mkdirat") }
        }
        let flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW
        let result = martlet_open_beneath(descriptor.raw, part, flags, 0)
        if result >= 0 { return Directory(owning: FileDescriptor(owning: result)) }
        // Without openat2 the same promise holds for a single part that is followed nowhere.
        guard -result == ENOSYS || -result == EPERM else { throw Errno(-result, "openat2") }
        return Directory(owning: try opened(descriptor.raw, part, flags, 0))
    }

    /// Opens this directory a second time.
    public func duplicate() throws(Errno) -> Directory { Directory(owning: try descriptor.duplicate()) }

    /// Makes a directory; false when the name is taken.
    @discardableResult
    public func makeDirectory(_ name: String, permissions: UInt32) throws(Errno) -> Bool {
        if mkdirat(descriptor.raw, name, permissions) == 0 { return true }
        let code = martlet_errno()
        if code == EEXIST { return false }
        throw Errno(code, "mkdirat")
    }

    /// Identity, size and times of a name, not following a symbolic link; nil when nothing is there.
    public func status(_ name: String) throws(Errno) -> FileStatus? {
        var raw = stat()
        if fstatat(descriptor.raw, name, &raw, AT_SYMLINK_NOFOLLOW) == 0 { return FileStatus(raw) }
        let code = martlet_errno()
        if code == ENOENT || code == ENOTDIR { return nil }
        throw Errno(code, "fstatat")
    }

    /// Identity of this directory itself.
    public func status() throws(Errno) -> FileStatus { try descriptor.status() }

    /// Renames, atomically replacing a file at the new name.
    public func rename(_ name: String, to other: borrowing Directory, _ newName: String) throws(Errno) {
        try retrying("renameat") { renameat(descriptor.raw, name, other.descriptor.raw, newName) }
    }

    /// Gives a file a second name (a hard link), which must be free.
    public func link(_ name: String, to other: borrowing Directory, _ newName: String) throws(Errno) {
        try retrying("linkat") { linkat(descriptor.raw, name, other.descriptor.raw, newName, 0) }
    }

    /// Removes a name; a missing one is no error.
    public func unlink(_ name: String) throws(Errno) {
        if unlinkat(descriptor.raw, name, 0) == 0 { return }
        let code = martlet_errno()
        if code != ENOENT { throw Errno(code, "unlinkat") }
    }

    /// Removes whatever has this name, with all that is in it; never follows a symbolic link. Missing is no error.
    public func removeTree(_ name: String) throws(Errno) {
        guard let status = try status(name) else { return }
        guard status.kind == .directory else { return try unlink(name) }
        let inner = try openDirectory(name)
        for entry in try inner.names() { try inner.removeTree(entry) }
        if unlinkat(descriptor.raw, name, AT_REMOVEDIR) == 0 { return }
        let code = martlet_errno()
        if code != ENOENT { throw Errno(code, "unlinkat") }
    }

    /// The names in it, sorted, without `.` and `..`.
    public func names() throws(Errno) -> [String] {
        // A descriptor of its own: fdopendir takes it over, and reading moves its position.
        let own = try opened(descriptor.raw, ".", O_RDONLY | O_DIRECTORY, 0).release()
        guard let stream = fdopendir(own) else {
            let failure = Errno.last("fdopendir")
            _ = CLinux.close(own)
            throw failure
        }
        defer { closedir(stream) }
        var found: [String] = []
        while true {
            martlet_clear_errno()
            guard let entry = readdir(stream) else {
                let code = martlet_errno()
                if code != 0 { throw Errno(code, "readdir") }
                return found.sorted()
            }
            let name = withUnsafeBytes(of: &entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { found.append(name) }
        }
    }

    /// Returns once the directory's names are on the device.
    public func sync() throws(Errno) { try descriptor.syncAll() }

    /// How full the file system is.
    public func space() throws(Errno) -> FileSystemSpace {
        var raw = statvfs()
        try retrying("fstatvfs") { fstatvfs(descriptor.raw, &raw) }
        let unit = UInt64(raw.f_frsize)
        return FileSystemSpace(
            availableBytes: UInt64(raw.f_bavail) * unit, totalBytes: UInt64(raw.f_blocks) * unit)
    }
}

private func opened(_ directory: CInt, _ path: String, _ flags: CInt, _ mode: UInt32) throws(Errno)
    -> FileDescriptor
{
    while true {
        let result = martlet_openat(directory, path, flags, mode)
        if result >= 0 { return FileDescriptor(owning: result) }
        if -result != EINTR { throw Errno(-result, "openat") }
    }
}
