import CLinux

// Reading and writing a whole range, and what else is done to an open file. All of these may block on the disk.
extension FileDescriptor {
    /// Reads exactly `buffer.count` bytes at an offset.
    ///
    /// - Returns: how many bytes were read: fewer than asked only at the end of the file.
    public func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(Errno) -> Int {
        var done = 0
        while done < buffer.count, let base = buffer.baseAddress {
            let count = try retrying("pread") {
                pread(raw, base + done, buffer.count - done, off_t(offset) + off_t(done))
            }
            if count == 0 { break }
            done += count
        }
        return done
    }

    /// Writes all bytes at an offset; on a failure some of them may have been written.
    public func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(Errno) {
        var done = 0
        while done < bytes.count, let base = bytes.baseAddress {
            let count = try retrying("pwrite") {
                pwrite(raw, base + done, bytes.count - done, off_t(offset) + off_t(done))
            }
            // Linux does not answer 0 to a write of something; an endless loop would be the worse failure.
            guard count > 0 else { throw Errno(EIO, "pwrite") }
            done += count
        }
    }

    /// Gives the range `0 ..< sizeBytes` blocks, so that writing there cannot find the disk full, and sets the length.
    ///
    /// - Returns: false where the file system cannot; nothing was changed then.
    public func allocate(sizeBytes: UInt64) throws(Errno) -> Bool {
        guard sizeBytes > 0 else { return true }
        do {
            try retrying("fallocate") { fallocate(raw, 0, 0, off_t(sizeBytes)) }
            return true
        } catch {
            if error.code == EOPNOTSUPP || error.code == ENOSYS { return false }
            throw error
        }
    }

    /// Sets the length; new bytes read as zero and have no blocks.
    public func truncate(sizeBytes: UInt64) throws(Errno) {
        try retrying("ftruncate") { ftruncate(raw, off_t(sizeBytes)) }
    }

    /// Returns once content and length are on the device.
    public func syncData() throws(Errno) { try retrying("fdatasync") { fdatasync(raw) } }

    /// Returns once content and all attributes are on the device; for a directory, its names.
    public func syncAll() throws(Errno) { try retrying("fsync") { fsync(raw) } }

    /// Identity, size and times.
    public func status() throws(Errno) -> FileStatus {
        var raw = stat()
        try retrying("fstat") { fstat(self.raw, &raw) }
        return FileStatus(raw)
    }

    /// Sets the permission bits.
    public func setPermissions(_ bits: UInt32) throws(Errno) { try retrying("fchmod") { fchmod(raw, bits) } }

    /// Sets when the content last changed, in nanoseconds since 1970.
    public func setModified(ns: Int64) throws(Errno) {
        let stamp = timespec(tv_sec: Int(ns / 1_000_000_000), tv_nsec: Int(ns % 1_000_000_000))
        let times = [stamp, stamp]
        try retrying("futimens") { futimens(raw, times) }
    }

    /// Takes the file's exclusive lock without waiting; it goes with the open file, so also when the process dies.
    ///
    /// - Returns: false when another open file holds it.
    public func lockExclusively() throws(Errno) -> Bool {
        do {
            try retrying("flock") { flock(raw, LOCK_EX | LOCK_NB) }
            return true
        } catch {
            if error.code == EWOULDBLOCK { return false }
            throw error
        }
    }

    /// Makes this empty file share the blocks of another (reflink).
    ///
    /// - Returns: false where the file systems cannot; nothing was changed then.
    public func clone(from source: borrowing FileDescriptor) throws(Errno) -> Bool {
        let result = martlet_clone_file(raw, source.raw)
        switch -result {
        case 0: return true
        // ENOTTY and EINVAL come from file systems that do not know the request at all.
        case EOPNOTSUPP, EXDEV, EINVAL, ENOTTY, ENOSYS: return false
        default: throw Errno(-result, "ioctl(FICLONE)")
        }
    }

    /// Copies `0 ..< sizeBytes` of another file to the same place here, in the kernel where it can.
    public func copy(from source: borrowing FileDescriptor, sizeBytes: UInt64) throws(Errno) {
        var done: UInt64 = 0
        while done < sizeBytes {
            var from = off_t(done)
            var to = off_t(done)
            let count = copy_file_range(source.raw, &from, raw, &to, Int(min(sizeBytes - done, 1 << 30)), 0)
            if count > 0 {
                done += UInt64(count)
                continue
            }
            let code = martlet_errno()
            if count < 0, code == EINTR { continue }
            // Between some pairs of file systems the kernel refuses or, on older ones, copies nothing: go by way of
            // memory.
            if count == 0 || [EXDEV, EOPNOTSUPP, EINVAL, ENOSYS].contains(code) {
                return try copyThroughMemory(from: source, done, sizeBytes)
            }
            throw Errno(code, "copy_file_range")
        }
    }

    private func copyThroughMemory(
        from source: borrowing FileDescriptor, _ begin: UInt64, _ end: UInt64
    ) throws(Errno) {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
        defer { buffer.deallocate() }
        var done = begin
        while done < end {
            let wanted = Int(min(UInt64(buffer.count), end - done))
            let count = try source.read(
                at: done, into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<wanted]))
            guard count > 0 else { throw Errno(EIO, "pread (the file is shorter than expected)") }
            try write(UnsafeRawBufferPointer(rebasing: buffer[..<count]), at: done)
            done += UInt64(count)
        }
    }
}
