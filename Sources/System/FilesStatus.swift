import CLinux

/// What the kernel knows of a file: identity, kind, size and times.
public struct FileStatus: Sendable, Hashable {
    /// What stands at a path.
    public enum Kind: Sendable, Hashable {
        case regular
        case directory
        case symbolicLink
        /// A socket, a pipe, a device.
        case other
    }

    /// What it is.
    public let kind: Kind
    /// The file system it lives on.
    public let device: UInt64
    /// Its number there: two paths with the same device and inode are hard links to one file.
    public let inode: UInt64
    /// Permission bits, e.g. `0o444`.
    public let permissions: UInt32
    /// Length in bytes.
    public let sizeBytes: UInt64
    /// Bytes that have blocks behind them; less than the length in a sparse file.
    public let allocatedBytes: UInt64
    /// When the content last changed: nanoseconds since 1970.
    public let modifiedNs: Int64
    /// How many names it has.
    public let linkCount: UInt64

    init(_ raw: stat) {
        switch CInt(raw.st_mode) & S_IFMT {
        case S_IFREG: kind = .regular
        case S_IFDIR: kind = .directory
        case S_IFLNK: kind = .symbolicLink
        default: kind = .other
        }
        device = UInt64(raw.st_dev)
        inode = UInt64(raw.st_ino)
        permissions = raw.st_mode & 0o7777
        sizeBytes = UInt64(max(0, raw.st_size))
        allocatedBytes = UInt64(max(0, raw.st_blocks)) * 512
        modifiedNs = Int64(raw.st_mtim.tv_sec) * 1_000_000_000 + Int64(raw.st_mtim.tv_nsec)
        linkCount = UInt64(raw.st_nlink)
    }
}

/// How full a file system is.
public struct FileSystemSpace: Sendable, Hashable {
    /// Bytes this user may still write.
    public let availableBytes: UInt64
    /// The file system's size.
    public let totalBytes: UInt64
}
