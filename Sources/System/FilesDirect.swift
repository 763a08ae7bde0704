import CLinux

extension FileDescriptor {
    /// Reads past the page cache, from the device straight into memory: the processor copies nothing.
    ///
    /// Offset, address and room must be multiples of 4 KiB, as devices want it; the room must reach to the multiple after
    /// the range. May block on the disk. See open(2), O_DIRECT.
    /// - Returns: how many bytes of the range are there, fewer than asked only at the end of the file; nil where it
    ///   cannot be done (alignment, file system): read as usual then.
    public func readDirect(
        at offset: UInt64, lengthBytes: Int, into buffer: UnsafeMutableRawBufferPointer
    ) throws(Errno) -> Int? {
        let block = 4096
        let rounded = (lengthBytes + block - 1) / block * block
        guard let base = buffer.baseAddress, rounded <= buffer.count, offset % UInt64(block) == 0,
            UInt(bitPattern: base) % UInt(block) == 0
        else { return nil }
        // A second open file: the flag belongs to it, and others read through this one as usual.
        let opened = martlet_openat(AT_FDCWD, "/proc/self/fd/\(raw)", O_RDONLY | O_DIRECT, 0)
        guard opened >= 0 else { return nil }
        let direct = FileDescriptor(owning: opened)
        var done = 0
        while done < lengthBytes {
            let count = pread(direct.raw, base + done, rounded - done, off_t(offset) + off_t(done))
            if count < 0 {
                let code = martlet_errno()
                if code == EINTR { continue }
                if code == EINVAL || code == EOPNOTSUPP { return nil }
                throw Errno(code, "pread")
            }
            done += count
            // The end of the file; another read there would not be aligned.
            if count == 0 || count % block != 0 { break }
        }
        return min(done, lengthBytes)
    }
}
