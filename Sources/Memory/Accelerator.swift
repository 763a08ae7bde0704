import CAccel
import System

/// A GPU: what it is, whether a NIC can be given its memory, and the way to some of it.
///
/// A value; costs nothing until memory is taken.
public struct Accelerator: Sendable {
    /// Its place in the driver's list.
    public let ordinal: Int
    /// What the vendor calls it.
    public let name: String
    /// Its PCI address as /sys writes it, e.g. `0000:17:00.0`.
    public let pciAddress: String
    /// Why its memory cannot be given to a NIC; nil where GPU and driver say that it can. What they say is no proof:
    /// `AcceleratorMemory.exportDMABuf` and the NIC have the last word.
    public let exportObjection: AcceleratorError?
    /// Whether its own later work sees what a NIC wrote without `AcceleratorMemory.flushRemoteWrites`.
    public let ordersRemoteWrites: Bool

    private let device: martlet_accel_device
    private let calls: AcceleratorCalls
    private let system: KernelSupport

    init(_ ordinal: Int, _ calls: AcceleratorCalls, _ system: KernelSupport) throws(AcceleratorError) {
        var device: martlet_accel_device = 0
        try AcceleratorCalls.check(
            calls.table.device(&device, CInt(ordinal)), "cannot open GPU \(ordinal)", "cuDeviceGet")
        let textMax = 256
        var text = [CChar](repeating: 0, count: textMax)
        try AcceleratorCalls.check(
            calls.table.device_name(&text, CInt(textMax), device), "cannot ask GPU \(ordinal) its name",
            "cuDeviceGetName")
        let name = Self.string(text)
        try AcceleratorCalls.check(
            calls.table.device_pci(&text, CInt(textMax), device), "cannot ask GPU \(ordinal) its place",
            "cuDeviceGetPCIBusId")
        pciAddress = Self.string(text).lowercased()
        self.ordinal = ordinal
        self.name = name
        self.device = device
        self.calls = calls
        self.system = system
        // An attribute that an older driver does not know answers an error: it does not have it then.
        func attribute(_ number: Int) -> Int {
            var value: CInt = 0
            return calls.table.device_attribute(&value, CInt(number), device) == 0 ? Int(value) : 0
        }
        ordersRemoteWrites =
            attribute(Int(MARTLET_ACCEL_GPU_DIRECT_RDMA_WRITES_ORDERING)) >= Int(MARTLET_ACCEL_TO_OWNER)
        exportObjection =
            if calls.table.range_handle == nil {
                AcceleratorError(
                    .tooOld,
                    "the driver of \(name) cannot export memory as a DMA-buf; install CUDA 11.7's (515) or newer")
            } else if attribute(Int(MARTLET_ACCEL_DMA_BUF_SUPPORTED)) == 0 {
                AcceleratorError(
                    .unsupported,
                    "\(name) cannot export memory as a DMA-buf: it needs NVIDIA's open kernel modules, a data centre or "
                        + "workstation GPU of Turing's generation or newer, and Linux 5.12 or newer"
                        + system.advice)
            } else {
                nil
            }
    }

    /// `GPU 0 (its name, 0000:17:00.0)`.
    public var title: String { "GPU \(ordinal) (\(name), \(pciAddress))" }

    /// Takes memory of it, page-aligned and rounded up to 2 MiB; `AcceleratorMemory.lengthBytes` says how much.
    ///
    /// The first of a process makes the GPU's context, which takes up to seconds and some hundred MB of it, and makes
    /// it the calling thread's. Throws `exhausted`, `denied`, `invalid` (no bytes, or more than there are numbers for),
    /// `failed`.
    public func allocate(lengthBytes: Int) throws(AcceleratorError) -> AcceleratorMemory {
        try AcceleratorMemory(on: self, device, calls, system, lengthBytes: lengthBytes)
    }

    private static func string(_ text: [CChar]) -> String {
        String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
