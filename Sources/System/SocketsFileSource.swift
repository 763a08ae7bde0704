import CLinux

/// Reading a file that is being sent: by offset, or mapped.
public enum FileSource {
    /// The file's length now.
    public static func lengthBytes(of descriptor: CInt) throws(Errno) -> UInt64 {
        var status = stat()
        try retrying("fstat") { fstat(descriptor, &status) }
        return UInt64(status.st_size)
    }

    /// Reads at an offset into memory; how many bytes came, 0 at the file's end. May wait for the disk.
    public static func read(
        _ descriptor: CInt, offset: UInt64, into memory: UnsafeMutableRawBufferPointer
    ) throws(Errno) -> Int {
        try retrying("pread") { pread(descriptor, memory.baseAddress!, memory.count, off_t(offset)) }
    }
}

/// A range of a file mapped for reading, to be handed to `send` without passing through user space.
///
/// The bytes must only be given to the kernel: should the file shrink, `send` fails with `EFAULT`, whereas touching
/// them would kill the process.
public struct FileMapping: ~Copyable, Sendable {
    // Safety: the mapping is read-only and owned by this noncopyable value.
    private nonisolated(unsafe) let start: UnsafeMutableRawPointer
    private let mappedBytes: Int
    private let lead: Int
    /// How many bytes of the file.
    public let lengthBytes: Int

    /// Maps `offset ..< offset + lengthBytes`; the offset needs no alignment.
    ///
    /// `isPopulated`: its pages are read and mapped at once, which may wait for the disk.
    public init(_ descriptor: CInt, offset: UInt64, lengthBytes: Int, isPopulated: Bool = false) throws(Errno) {
        let pageBytes: UInt64 = 4096
        let aligned = offset / pageBytes * pageBytes
        lead = Int(offset - aligned)
        mappedBytes = lengthBytes + lead
        self.lengthBytes = lengthBytes
        let flags = MAP_SHARED | (isPopulated ? CInt(MAP_POPULATE) : 0)
        let mapped = mmap(nil, mappedBytes, PROT_READ, flags, descriptor, off_t(aligned))
        guard let mapped, mapped != UnsafeMutableRawPointer(bitPattern: -1) else { throw Errno.last("mmap") }
        start = mapped
    }

    /// The first byte of the range.
    public var base: UnsafeRawPointer { UnsafeRawPointer(start + lead) }

    deinit { munmap(start, mappedBytes) }
}

extension FileDescriptor {
    /// A descriptor of our own for an open file whose descriptor is only lent.
    public static func duplicate(of lent: CInt) throws(Errno) -> FileDescriptor {
        try FileDescriptor(martlet_dup_cloexec(lent), "fcntl(F_DUPFD_CLOEXEC)")
    }
}
