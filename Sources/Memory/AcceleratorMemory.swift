import CAccel
import System

/// Memory of a GPU, which the processor cannot touch by address: it is copied, or a NIC reads and writes it.
///
/// One owner, who closes it after every transport it was registered with has shut down. May be used from any thread,
/// one at a time; each call makes the GPU's primary context the calling thread's.
public struct AcceleratorMemory: ~Copyable, @unchecked Sendable {
    // Safety: the driver is safe from any thread; this value has one owner, who frees the memory.
    /// The GPU it belongs to.
    public let accelerator: Accelerator
    /// What the driver names its first byte by: no address of this process.
    public let deviceAddress: UInt64
    /// How long it is: what was asked for, rounded up to 2 MiB.
    public let lengthBytes: Int

    private let device: martlet_accel_device
    private let context: martlet_accel_context?
    private let calls: AcceleratorCalls
    private let system: KernelSupport
    private var isOpen = true

    /// The driver's granule for large allocations: a multiple of every page size, so that exports are page-aligned.
    public static let granuleBytes = 2 << 20

    /// The largest page of the kernels that Linux is built with: what an export's beginning is a multiple of.
    private static let pageBytesMax: UInt64 = 64 << 10

    init(
        on accelerator: Accelerator, _ device: martlet_accel_device, _ calls: AcceleratorCalls, _ system: KernelSupport,
        lengthBytes wanted: Int
    ) throws(AcceleratorError) {
        guard wanted > 0, wanted <= Int.max - Self.granuleBytes else {
            throw AcceleratorError(.invalid, "\(wanted) bytes of \(accelerator.title) cannot be taken; ask for some")
        }
        let length = (wanted + Self.granuleBytes - 1) / Self.granuleBytes * Self.granuleBytes
        let what = "cannot take \(readable(length)) of \(accelerator.title)"
        var context: martlet_accel_context?
        try AcceleratorCalls.check(calls.table.retain_context(&context, device), what, "cuDevicePrimaryCtxRetain")
        var address: martlet_accel_address = 0
        do throws(AcceleratorError) {
            try AcceleratorCalls.check(calls.table.set_context(context), what, "cuCtxSetCurrent")
            try AcceleratorCalls.check(calls.table.allocate(&address, length), what, "cuMemAlloc")
        } catch {
            _ = calls.table.release_context(device)
            throw error
        }
        do throws(AcceleratorError) {
            guard address % Self.pageBytesMax == 0 else {
                throw AcceleratorError(.unsupported, "\(what): the driver's memory does not begin at a page's")
            }
            // Otherwise a copy may still be on its way when a NIC reads what it writes.
            var isSynchronous: CUnsignedInt = 1
            try AcceleratorCalls.check(
                calls.table.set_pointer_attribute(&isSynchronous, CInt(MARTLET_ACCEL_SYNC_MEMOPS), address), what,
                "cuPointerSetAttribute(SYNC_MEMOPS)")
        } catch {
            _ = calls.table.free(address)
            _ = calls.table.release_context(device)
            throw error
        }
        self.accelerator = accelerator
        self.device = device
        self.context = context
        self.calls = calls
        self.system = system
        deviceAddress = address
        lengthBytes = length
    }

    /// A DMA-buf of all of it: the descriptor by which a NIC's driver finds the memory. The memory stays until every
    /// such descriptor and what was registered by it is closed, whatever becomes of this value.
    ///
    /// Throws `tooOld` or `unsupported` with what is missing, `failed` when the driver fails.
    public func exportDMABuf() throws(AcceleratorError) -> FileDescriptor {
        if let objection = accelerator.exportObjection { throw objection }
        let what = "cannot export memory of \(accelerator.title) as a DMA-buf"
        // There, or there were an objection.
        guard let export = calls.table.range_handle else { throw AcceleratorError(.tooOld, what) }
        try activate(what)
        var descriptor: CInt = -1
        do throws(AcceleratorError) {
            try AcceleratorCalls.check(
                export(&descriptor, deviceAddress, lengthBytes, CInt(MARTLET_ACCEL_DMA_BUF_DESCRIPTOR), 0), what,
                "cuMemGetHandleForAddressRange")
        } catch {
            guard error.code == .unsupported || error.code == .invalid else { throw error }
            throw AcceleratorError(
                .unsupported, "\(error.sentence); it needs NVIDIA's open kernel modules\(system.advice)",
                cause: error.cause)
        }
        guard descriptor >= 0 else { throw AcceleratorError(.failed, "\(what): the driver gave no descriptor") }
        return FileDescriptor(owning: descriptor)
    }

    /// Copies bytes out of it. Traps outside it. Blocks until they are there.
    public func copyOut(from offset: Int, into target: UnsafeMutableRawBufferPointer) throws(AcceleratorError) {
        check(offset, target.count)
        guard let base = target.baseAddress, !target.isEmpty else { return }
        let what = "cannot copy out of \(accelerator.title)"
        try activate(what)
        try AcceleratorCalls.check(
            calls.table.copy_out(base, deviceAddress + UInt64(offset), target.count), what, "cuMemcpyDtoH")
    }

    /// Copies bytes into it. Traps outside it. Blocks until they are there.
    public func copyIn(_ source: UnsafeRawBufferPointer, to offset: Int) throws(AcceleratorError) {
        check(offset, source.count)
        guard let base = source.baseAddress, !source.isEmpty else { return }
        let what = "cannot copy into \(accelerator.title)"
        try activate(what)
        try AcceleratorCalls.check(
            calls.table.copy_in(deviceAddress + UInt64(offset), base, source.count), what, "cuMemcpyHtoD")
    }

    /// Makes what a NIC has written visible to the GPU's own later work. Nothing to do where the GPU orders such writes
    /// itself. Throws `unsupported` where neither is so: copies see the bytes even then, kernels may not.
    public func flushRemoteWrites() throws(AcceleratorError) {
        if accelerator.ordersRemoteWrites { return }
        let what = "cannot order a NIC's writes for \(accelerator.title)"
        guard let flush = calls.table.flush_remote_writes else {
            throw AcceleratorError(.unsupported, "\(what): install a driver with CUDA 11.3 or newer")
        }
        try activate(what)
        try AcceleratorCalls.check(
            flush(CInt(MARTLET_ACCEL_CURRENT_CONTEXT), CInt(MARTLET_ACCEL_TO_OWNER)), what,
            "cuFlushGPUDirectRDMAWrites")
    }

    /// Gives it back to the driver. After a failure nothing of it may be used either; it is not tried again.
    public consuming func close() throws(AcceleratorError) {
        isOpen = false
        let what = "cannot give back memory of \(accelerator.title)"
        let entered = calls.table.set_context(context)
        let freed = entered == 0 ? calls.table.free(deviceAddress) : 0
        let released = calls.table.release_context(device)
        try AcceleratorCalls.check(entered, what, "cuCtxSetCurrent")
        try AcceleratorCalls.check(freed, what, "cuMemFree")
        try AcceleratorCalls.check(released, what, "cuDevicePrimaryCtxRelease")
    }

    // A failure here has nobody to tell; the driver takes the memory back when the process ends.
    deinit {
        if isOpen {
            if calls.table.set_context(context) == 0 { _ = calls.table.free(deviceAddress) }
            _ = calls.table.release_context(device)
        }
    }

    private func activate(_ what: @autoclosure () -> String) throws(AcceleratorError) {
        try AcceleratorCalls.check(calls.table.set_context(context), what(), "cuCtxSetCurrent")
    }

    private func check(_ offset: Int, _ count: Int) {
        precondition(
            offset >= 0 && offset <= lengthBytes && count <= lengthBytes - offset,
            "\(count) bytes at \(offset) are outside memory of \(lengthBytes)")
    }
}
