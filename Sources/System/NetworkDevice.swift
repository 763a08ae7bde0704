/// A network interface, as in `/sys/class/net`.
public struct NetworkDevice: Sendable, Hashable {
    /// Its name, e.g. `eth0`.
    public let name: String
    /// Where it sits; nil for virtual interfaces: the loopback, bonds, bridges, para-virtual ones.
    public let pci: PCIDevice?
    /// The driver, PCI or not, e.g. `mlx5_core`, `virtio_net`; nil for purely virtual interfaces.
    public let driver: String?
    /// Megabits a second; nil when the link is down or the driver does not say.
    public let speedMbps: Int?
    /// The largest packet.
    public let mtuBytes: Int?
    /// The kernel's word: `up`, `down`, `unknown` (drivers that do not say: the loopback).
    public let operstate: String

    /// The NUMA node it is near, if the firmware says.
    public var numaNode: Int? { pci?.numaNode }

    static func readAll(_ root: String) -> [NetworkDevice] {
        SystemTree.entries("\(root)/class/net").compactMap { name in
            let path = "\(root)/class/net/\(name)"
            // Plain files, such as bonding_masters, lie beside the interfaces.
            guard let operstate = SystemTree.text("\(path)/operstate") else { return nil }
            return NetworkDevice(
                name: name,
                pci: PCIDevice(directory: "\(path)/device"),
                driver: SystemTree.linkName("\(path)/device/driver"),
                speedMbps: SystemTree.number("\(path)/speed").flatMap { $0 > 0 ? $0 : nil },
                mtuBytes: SystemTree.number("\(path)/mtu"),
                operstate: operstate)
        }
    }
}

/// An RDMA device, as in `/sys/class/infiniband`: a NIC's InfiniBand or RoCE side, or a soft one.
public struct RDMADevice: Sendable, Hashable {
    /// A port of it.
    public struct Port: Sendable, Hashable {
        /// The number, from 1.
        public let number: Int
        /// The state's name without its number, e.g. `ACTIVE`, `DOWN`.
        public let state: String
        /// The rate in gigabits a second, e.g. 400; nil when the driver does not say.
        public let rateGbps: Double?
        /// `Ethernet` (RoCE) or `InfiniBand`.
        public let linkLayer: String
        /// The network interface on the same wire; nil for InfiniBand without IPoIB.
        public let networkDevice: String?

        /// Whether it can carry traffic now.
        public var isActive: Bool { state == "ACTIVE" }
    }

    /// Its name, e.g. `mlx5_0`, `rxe0`.
    public let name: String
    /// Where it sits; nil for soft devices (rxe, siw).
    public let pci: PCIDevice?
    /// Its ports by number.
    public let ports: [Port]

    /// The NUMA node it is near, if the firmware says.
    public var numaNode: Int? { pci?.numaNode }

    static func readAll(_ root: String) -> [RDMADevice] {
        SystemTree.entries("\(root)/class/infiniband").map { name in
            let path = "\(root)/class/infiniband/\(name)"
            let ports = SystemTree.entries("\(path)/ports").compactMap { number in
                Int(number).map { readPort($0, path) }
            }
            return RDMADevice(name: name, pci: PCIDevice(directory: "\(path)/device"), ports: ports)
        }
    }

    private static func readPort(_ number: Int, _ device: String) -> Port {
        let path = "\(device)/ports/\(number)"
        // `4: ACTIVE`
        let state = SystemTree.text("\(path)/state")?.split(separator: " ").last.map { String($0) }
        // `400 Gb/sec (4X NDR)`
        let rate = SystemTree.text("\(path)/rate")?.split(separator: " ").first.flatMap { Double($0) }
        // Hardware names the interface per GID, soft devices by their parent, InfiniBand by the PCI device's
        // interfaces.
        let interface =
            SystemTree.text("\(path)/gid_attrs/ndevs/0") ?? SystemTree.text("\(device)/parent")
            ?? SystemTree.entries("\(device)/device/net").first
        return Port(
            number: number, state: state ?? "unknown", rateGbps: rate,
            linkLayer: SystemTree.text("\(path)/link_layer") ?? "unknown", networkDevice: interface)
    }
}
