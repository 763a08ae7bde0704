/// Where a device sits: its PCI address and what /sys says beside it.
public struct PCIDevice: Sendable, Hashable {
    /// Domain, bus, device and function, e.g. `0000:17:00.0`.
    public let address: String
    /// The NUMA node it is near; nil when the firmware does not say.
    public let numaNode: Int?
    /// The kernel driver that holds it, e.g. `mlx5_core`.
    public let driver: String?
    /// The vendor's number, e.g. 0x15b3.
    public let vendorID: Int?
    /// The vendor's number for the model.
    public let deviceID: Int?
    /// The way from the root complex down to the device, itself last: `pci0000:16`, `0000:16:00.0`, `0000:17:00.0`.
    public let path: [String]

    /// Reads the PCI device a directory of /sys belongs to: itself or the nearest above it (a virtio interface lies
    /// below its PCI device); nil when there is none, as for a virtual interface or a soft RDMA device.
    init?(directory: String) {
        var parts = SystemTree.resolved(directory)?.split(separator: "/") ?? []
        while let last = parts.last, !Self.isAddress(last) { parts.removeLast() }
        guard let last = parts.last else { return nil }
        let path = "/" + parts.joined(separator: "/")
        address = String(last)
        let root = parts.lastIndex { $0.hasPrefix("pci") && $0.contains(":") }
        self.path = root.map { parts[$0...].map(String.init) } ?? [String(last)]
        numaNode = SystemTree.number("\(path)/numa_node").flatMap { $0 >= 0 ? $0 : nil }
        driver = SystemTree.linkName("\(path)/driver")
        vendorID = SystemTree.hexadecimal("\(path)/vendor")
        deviceID = SystemTree.hexadecimal("\(path)/device")
    }

    // `0000:17:00.0`
    private static func isAddress(_ text: Substring) -> Bool {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 3, let dot = parts[2].firstIndex(of: ".") else { return false }
        let numbers = [parts[0], parts[1], parts[2][..<dot], parts[2][parts[2].index(after: dot)...]]
        return numbers.allSatisfy { Int($0, radix: 16) != nil }
    }
}

/// A GPU: a PCI device of the display class (0x03).
public struct GPU: Sendable, Hashable {
    /// Where it sits.
    public let pci: PCIDevice
    /// The vendor's name where we know the number, otherwise the number: `NVIDIA`, `0x1a03`.
    public let vendor: String

    static func readAll(_ root: String) -> [GPU] {
        let directory = "\(root)/bus/pci/devices"
        return SystemTree.entries(directory).compactMap { address in
            let path = "\(directory)/\(address)"
            guard let kind = SystemTree.hexadecimal("\(path)/class"), kind >> 16 == 0x03,
                let pci = PCIDevice(directory: path)
            else { return nil }
            let vendor = pci.vendorID ?? 0
            let name =
                switch vendor {
                case 0x10de: "NVIDIA"
                case 0x1002: "AMD"
                case 0x8086: "Intel"
                default: "0x" + String(vendor, radix: 16)
                }
            return GPU(pci: pci, vendor: name)
        }
    }
}
