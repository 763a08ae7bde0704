import CLinux

extension Errno {
    /// What a failed file call means to those who have to suggest a remedy.
    public enum FileReason: Sendable, Hashable {
        /// The disk or the quota is full.
        case diskFull
        /// Permissions, or a read-only file system.
        case forbidden
        /// Nothing is there.
        case missing
        /// The name is taken.
        case taken
        /// Something of another kind is there, or too many symbolic links, or too long a name.
        case badPath
        /// Two file systems, or one that cannot do this at all.
        case unsupported
        /// Too many open files.
        case tooManyOpen
        /// Anything else.
        case other
    }

    /// What the error number means for a file call.
    public var fileReason: FileReason {
        switch code {
        case ENOSPC, EDQUOT: .diskFull
        case EACCES, EPERM, EROFS: .forbidden
        case ENOENT: .missing
        case EEXIST: .taken
        case ENOTDIR, EISDIR, ELOOP, ENAMETOOLONG: .badPath
        case EXDEV, EOPNOTSUPP, EMLINK, ENOSYS: .unsupported
        case EMFILE, ENFILE: .tooManyOpen
        default: .other
        }
    }

    /// The disk is full because a test wants it so.
    public static let injectedDiskFull = Errno(ENOSPC, "injected")
    /// A file ended before the size it is known to have.
    public static let shortFile = Errno(EIO, "pread (the file is shorter than its size)")
    /// The file system does not share blocks between these two files.
    public static let cannotReflink = Errno(EOPNOTSUPP, "ioctl(FICLONE)")
    /// The file was closed meanwhile.
    public static let notOpen = Errno(EBADF, "pwrite (closed meanwhile)")
}
