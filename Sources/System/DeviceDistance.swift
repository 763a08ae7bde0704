/// How far two PCI devices are from each other, as far as /sys tells: what decides whether a NIC should read and write a
/// GPU's memory.
public enum DeviceDistance: String, Sendable, Hashable, Comparable, CaseIterable {
    /// Below one PCI switch: bytes between them do not pass the processor.
    case sameSwitch
    /// Below one root complex, on different ports of it.
    case sameRoot
    /// On one NUMA node, below different root complexes.
    case sameNode
    /// On different NUMA nodes: across the processors' interconnect.
    case otherNode
    /// The firmware does not say.
    case unknown

    /// The nearer of two.
    public static func < (one: DeviceDistance, other: DeviceDistance) -> Bool {
        let order = allCases
        return order.firstIndex(of: one)! < order.firstIndex(of: other)!
    }

    /// In words for people.
    public var text: String {
        switch self {
        case .sameSwitch: "same PCI switch"
        case .sameRoot: "same PCI root"
        case .sameNode: "same NUMA node"
        case .otherNode: "other NUMA node"
        case .unknown: "unknown"
        }
    }

    /// Between two devices.
    public init(between one: PCIDevice, and other: PCIDevice) {
        if let root = one.path.first, root == other.path.first {
            // The first step below the root complex is a port of the processor; whatever shares it shares a switch.
            let shared = zip(one.path, other.path).prefix { $0 == $1 }.count
            self = shared >= 2 ? .sameSwitch : .sameRoot
        } else if let node = one.numaNode, let otherNode = other.numaNode {
            self = node == otherNode ? .sameNode : .otherNode
        } else {
            self = .unknown
        }
    }
}

extension Topology {
    /// The NUMA node of an RDMA device: its own, or, for a soft one, that of the interface below it.
    public func numaNode(of device: RDMADevice) -> Int? { device.numaNode ?? interface(below: device)?.numaNode }

    /// Where an RDMA device sits: a soft one where the interface below it does.
    public func pci(of device: RDMADevice) -> PCIDevice? { device.pci ?? interface(below: device)?.pci }

    private func interface(below device: RDMADevice) -> NetworkDevice? {
        let names = device.ports.compactMap(\.networkDevice)
        return networkDevices.first { names.contains($0.name) }
    }

    /// How far each GPU is from an RDMA device, nearest first.
    public func gpuDistances(from device: RDMADevice) -> [(gpu: GPU, distance: DeviceDistance)] {
        guard let pci = pci(of: device) else { return gpus.map { ($0, .unknown) } }
        return gpus.map { ($0, DeviceDistance(between: pci, and: $0.pci)) }
            .sorted { ($0.distance, $0.gpu.pci.address) < ($1.distance, $1.gpu.pci.address) }
    }
}
