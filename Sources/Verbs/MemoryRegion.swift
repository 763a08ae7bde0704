import CVerbs

/// What may be done with registered memory, or through a queue pair.
public struct MemoryAccess: OptionSet, Hashable, Sendable {
    /// libibverbs' bits.
    public let rawValue: UInt32

    /// From libibverbs' bits.
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Our device may write: what READs land in needs it.
    public static let localWrite = MemoryAccess(rawValue: IBV_ACCESS_LOCAL_WRITE.rawValue)
    /// Others may write. Needs `localWrite`. Only tests grant this.
    public static let remoteWrite = MemoryAccess(rawValue: IBV_ACCESS_REMOTE_WRITE.rawValue)
    /// Others may read.
    public static let remoteRead = MemoryAccess(rawValue: IBV_ACCESS_REMOTE_READ.rawValue)
    /// Windows may be bound to parts of it.
    public static let windowBind = MemoryAccess(rawValue: IBV_ACCESS_MW_BIND.rawValue)
    /// Writes may become visible in any order before the completion: faster on some hosts. A wish: left out where the
    /// device refuses it.
    public static let relaxedOrdering = MemoryAccess(rawValue: IBV_ACCESS_RELAXED_ORDERING.rawValue)
}

/// Memory that a device may reach: pinned, with a key for our requests and one for those of others.
///
/// The memory must stay mapped while the region is open: the kernel keeps the pages, and unmapping frees nothing.
///
/// Nothing is made from a region, so it needs no shared handle: registering costs no allocation but the library's own.
public struct MemoryRegion: ~Copyable, @unchecked Sendable {
    // Safety: libibverbs' objects may be used from any thread; this value has one owner, who releases it.
    let raw: UnsafeMutablePointer<ibv_mr>
    /// Held, so that the domain is released after its regions.
    private let domain: Handle<ibv_pd>
    private let calls: VerbsCalls
    private let deviceName: String
    private var isOpen = true
    /// The key in our own requests.
    public var localKey: UInt32 { raw.pointee.lkey }
    /// The key in others' requests.
    public var remoteKey: UInt32 { raw.pointee.rkey }
    /// How long it is.
    public var lengthBytes: Int { length }
    private let length: Int
    /// What was granted: without `relaxedOrdering` where the device refused that.
    public var access: MemoryAccess { granted }
    private let granted: MemoryAccess

    /// The address requests name its first byte by.
    public var address: UInt64 { begin }
    private let begin: UInt64

    /// Registers mapped memory (ibv_reg_mr(3)). Pins it, and touches what is not touched yet: slow for fresh memory.
    ///
    /// Throws `memoryLock` where the limit on pinned memory is too low, `exhausted` where the device has no region
    /// left.
    public init(
        in domain: borrowing ProtectionDomain, base: UnsafeMutableRawPointer, lengthBytes: Int, access: MemoryAccess
    ) throws(VerbsError) {
        var granted = access
        let calls = domain.calls
        let address = UInt64(UInt(bitPattern: base))
        var raw: UnsafeMutablePointer<ibv_mr>?
        var call = "ibv_reg_mr"
        if access.contains(.relaxedOrdering) {
            call = "ibv_reg_mr_iova2"
            raw = calls.table.reg_mr_iova2(domain.handle.raw, base, lengthBytes, address, access.rawValue)
            let number = martlet_verbs_errno()
            if raw == nil, number == EINVAL || number == EOPNOTSUPP { granted.remove(.relaxedOrdering) }
        }
        if raw == nil, !granted.contains(.relaxedOrdering) {
            call = "ibv_reg_mr"
            raw = calls.table.reg_mr(domain.handle.raw, base, lengthBytes, CInt(bitPattern: granted.rawValue))
        }
        let number = martlet_verbs_errno()
        guard let raw else { throw Self.failure(number, call, bytes: lengthBytes, on: domain.deviceName) }
        self.init(raw, address: address, lengthBytes: lengthBytes, access: granted, in: domain)
    }

    /// Registers memory of another device, such as a GPU, by its DMA-buf (ibv_reg_dmabuf_mr(3)); `virtualAddress` is
    /// what requests name its first byte by. Throws `unsupported` where library, kernel, driver or either device
    /// cannot.
    public init(
        in domain: borrowing ProtectionDomain, dmaBuf descriptor: CInt, offsetBytes: UInt64, lengthBytes: Int,
        virtualAddress: UInt64, access: MemoryAccess
    ) throws(VerbsError) {
        guard let register = domain.calls.table.reg_dmabuf_mr else {
            throw VerbsError(
                .unsupported, "this libibverbs cannot register a DMA-buf; install rdma-core 34 or newer")
        }
        var granted = access
        func attempt() -> UnsafeMutablePointer<ibv_mr>? {
            register(
                domain.handle.raw, offsetBytes, lengthBytes, virtualAddress, descriptor,
                CInt(bitPattern: granted.rawValue))
        }
        var raw = attempt()
        if raw == nil, granted.contains(.relaxedOrdering), [EINVAL, EOPNOTSUPP].contains(martlet_verbs_errno()) {
            granted.remove(.relaxedOrdering)
            raw = attempt()
        }
        let number = martlet_verbs_errno()
        guard let raw else { throw Self.dmaBufFailure(number, bytes: lengthBytes, on: domain.deviceName) }
        self.init(raw, address: virtualAddress, lengthBytes: lengthBytes, access: granted, in: domain)
    }

    private init(
        _ raw: UnsafeMutablePointer<ibv_mr>, address: UInt64, lengthBytes: Int, access: MemoryAccess,
        in domain: borrowing ProtectionDomain
    ) {
        self.raw = raw
        self.domain = domain.handle
        calls = domain.calls
        deviceName = domain.deviceName
        begin = address
        length = lengthBytes
        granted = access
        domain.handle.childOpened()
    }

    /// Revokes its keys and unpins it: once this returns, requests with its remote key fail at the other end.
    ///
    /// After a failure it is tried once more as the value is let go.
    public consuming func close() throws(VerbsError) {
        let result = calls.table.dereg_mr(raw)
        if result == 0 {
            isOpen = false
            domain.childClosed()
            return
        }
        let number = VerbsError.number(result)
        guard number == EBUSY else {
            throw .failed("cannot close a region of \(deviceName)", "ibv_dereg_mr", errno: number)
        }
        throw VerbsError(
            .invalid, "cannot close a region of \(deviceName) yet: a window is bound to it",
            cause: .init(number, "ibv_dereg_mr"))
    }

    // A failure here has nobody to tell: the process keeps the region until the device is closed or it ends.
    deinit {
        if isOpen {
            _ = calls.table.dereg_mr(raw)
            domain.childClosed()
        }
    }

    /// A DMA-buf pins no memory of the machine, so that the memlock limit has no part in it.
    private static func dmaBufFailure(_ number: CInt, bytes: Int, on device: String) -> VerbsError {
        let call = "ibv_reg_dmabuf_mr"
        let what = "cannot register \(ByteText(UInt64(bytes))) of another device's memory with \(device)"
        switch number {
        case EOPNOTSUPP, ENOSYS, EPROTONOSUPPORT, EINVAL, EREMOTEIO, ENOTTY:
            return VerbsError(
                .unsupported,
                "\(what): kernel, driver or the way between the two devices does not allow it; it needs Linux 5.12 with "
                    + "DMABUF_MOVE_NOTIFY and PCI_P2PDMA, a NIC such as ConnectX-5 or newer, and no IOMMU or ACS between them",
                cause: .init(number, call))
        case EBADF: return VerbsError(.invalid, "\(what): its descriptor is closed", cause: .init(number, call))
        case ENOMEM, ENOSPC:
            return VerbsError(
                .exhausted, "\(what): the NIC has no regions left, or the other device no window (BAR) of that size",
                cause: .init(number, call))
        default: return .failed(what, call, errno: number)
        }
    }

    private static func failure(_ number: CInt, _ call: String, bytes: Int, on device: String) -> VerbsError {
        if number == ENOMEM || number == EAGAIN || number == EPERM,
            let objection = MemoryLockLimit.current().objection(toPinning: UInt64(bytes), on: device)
        {
            return VerbsError(objection.code, objection.sentence, cause: .init(number, call))
        }
        if number == EFAULT {
            return VerbsError(
                .invalid,
                "cannot register \(ByteText(UInt64(bytes))) with \(device): the memory is not mapped, or not writable",
                cause: .init(number, call))
        }
        return .failed("cannot register \(ByteText(UInt64(bytes))) with \(device)", call, errno: number)
    }
}
