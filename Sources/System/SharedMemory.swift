import CLinux

/// Anonymous memory that has a descriptor: a memfd, mapped shared, so that it can be registered with a NIC, sent from
/// without a copy, and handed to another process read-only.
///
/// Once mapped, the memfd is sealed: its length is fixed and only this mapping can write; whoever else gets the
/// descriptor can read and map it read-only. Excluded from core dumps and from forked children.
public struct SharedMemory: ~Copyable, Sendable {
    /// The size of the pages asked for.
    public enum Pages: Sendable, Hashable {
        /// The system's own, 4 KiB on most machines, joined to transparent huge pages where the kernel agrees.
        case normal
        /// 2 MiB pages from the reserved pool (`vm.nr_hugepages`).
        case huge2MiB
    }

    /// A huge page's size.
    public static let hugePageBytes = 2 << 20

    // Safety: the mapping is owned by this noncopyable value; what is written in it is its user's to order.
    /// Where the memory begins.
    public nonisolated(unsafe) let base: UnsafeMutableRawPointer
    /// How long it is.
    public let lengthBytes: Int
    /// The memfd's descriptor, lent.
    public let descriptor: CInt

    /// Creates and maps memory. No page is touched yet, except that huge pages are reserved: without enough of them
    /// the call throws `ENOMEM`.
    public init(name: String, lengthBytes: Int, pages: Pages = .normal) throws(Errno) {
        precondition(lengthBytes > 0, "memory is not empty")
        let kind = pages == .huge2MiB ? UInt32(MFD_HUGETLB) : 0
        let file = try FileDescriptor(
            memfd_create(name, UInt32(MFD_CLOEXEC) | UInt32(MFD_ALLOW_SEALING) | kind), "memfd_create")
        try retrying("ftruncate") { ftruncate(file.raw, off_t(lengthBytes)) }
        let mapped = mmap(nil, lengthBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.raw, 0)
        guard let mapped, mapped != UnsafeMutableRawPointer(bitPattern: -1) else { throw Errno.last("mmap") }
        let sealed = martlet_seal_memory(file.raw)
        guard sealed >= 0 else {
            munmap(mapped, lengthBytes)
            throw Errno(-sealed, "fcntl(F_ADD_SEALS)")
        }
        // Convenience, not correctness: the result does not matter.
        _ = madvise(mapped, lengthBytes, MADV_DONTDUMP)
        _ = madvise(mapped, lengthBytes, MADV_DONTFORK)
        if pages == .normal { _ = madvise(mapped, lengthBytes, MADV_HUGEPAGE) }
        base = mapped
        self.lengthBytes = lengthBytes
        descriptor = file.release()
    }

    /// Binds pages not yet touched to a NUMA node, strictly: mbind(2), `MPOL_BIND`.
    public func bind(toNode node: Int) throws(Errno) {
        let result = martlet_bind_memory(base, lengthBytes, CInt(clamping: node))
        guard result >= 0 else { throw Errno(-result, "mbind") }
    }

    /// Keeps the memory from being swapped out: mlock(2). Touches every page that was not touched before.
    public func lock() throws(Errno) {
        try retrying("mlock") { mlock(base, lengthBytes) }
    }

    /// Touches all pages, in parallel on as many threads as there are CPUs given, pinned to these.
    ///
    /// A page costs its clearing, and a virtual machine's host the finding of it: on such a machine one thread took
    /// 3.3 s per GiB (1.1 s where transparent huge pages were joined), so a node's arena on one takes minutes. Throws
    /// when there is no memory for a page: `ENOMEM`, or `EFAULT` where huge pages of the bound node have run out.
    public func populate(on cpus: CPUSet) throws(Errno) {
        let threadsMax = 32
        let threads = max(1, min(cpus.count, threadsMax, lengthBytes / (64 << 20)))
        let granule = Self.hugePageBytes
        let granules = (lengthBytes + granule - 1) / granule
        let share = (granules + threads - 1) / threads * granule
        let address = UInt(bitPattern: base)
        let total = lengthBytes
        var workers: [PinnedThread<Errno?>] = []
        var failure: Errno? = nil
        for start in stride(from: 0, to: total, by: share) {
            let length = min(share, total - start)
            do throws(Errno) {
                workers.append(
                    try PinnedThread(name: "populate", cpus: cpus) {
                        populatePages(address + UInt(start), length)
                    })
            } catch {
                // No room for a thread: this one does it.
                failure = populatePages(address + UInt(start), length) ?? failure
            }
        }
        for worker in workers { failure = worker.join() ?? failure }
        if let failure { throw failure }
    }

    /// Unmaps and closes: no address in it is valid afterwards.
    public consuming func close() throws(Errno) {
        let (base, lengthBytes, descriptor) = (base, lengthBytes, descriptor)
        discard self
        let file = FileDescriptor(owning: descriptor)
        guard munmap(base, lengthBytes) == 0 else { throw Errno.last("munmap") }
        try file.close()
    }

    deinit {
        munmap(base, lengthBytes)
        _ = CLinux.close(descriptor)
    }
}

/// Touches pages for writing without changing their bytes; nil when all went well.
private func populatePages(_ address: UInt, _ length: Int) -> Errno? {
    // Safety: the caller keeps the mapping alive until this returns (it joins the thread that runs it).
    let start = UnsafeMutableRawPointer(bitPattern: address)!
    while madvise(start, length, MADV_POPULATE_WRITE) != 0 {
        let code = martlet_errno()
        if code == EINTR || code == EAGAIN { continue }
        guard code == EINVAL else { return Errno(code, "madvise(MADV_POPULATE_WRITE)") }
        // Kernels before 5.14: write each page's first byte back to itself; new memory is zero and nobody else has it.
        for offset in stride(from: 0, to: length, by: 4096) {
            start.storeBytes(
                of: start.load(fromByteOffset: offset, as: UInt8.self), toByteOffset: offset, as: UInt8.self)
        }
        break
    }
    return nil
}
