import CLinux

/// The machine as the kernel describes it in /sys: NUMA nodes, network and RDMA devices, GPUs.
///
/// A snapshot: read once, a value from then on. What the kernel does not say is nil or empty, never a guess.
/// The root can be another directory, so that tests can make machines.
public struct Topology: Sendable {
    /// A NUMA node: CPUs and the memory near them.
    public struct Node: Sendable, Hashable {
        /// The kernel's number.
        public let id: Int
        /// Its CPUs; empty for a node of memory alone.
        public let cpus: CPUSet
        /// Its memory; 0 where the kernel does not say.
        public let memoryBytes: UInt64
        /// Its free huge pages of 2 MiB.
        public let freeHugePages: Int
    }

    /// The directory it was read from.
    public let root: String
    /// The NUMA nodes by number; never empty: a kernel without NUMA gives one node, 0.
    public let nodes: [Node]
    /// The CPUs this process may run on: the calling thread's mask at the time of reading.
    public let allowedCPUs: CPUSet
    /// The network interfaces by name, the loopback among them.
    public let networkDevices: [NetworkDevice]
    /// The RDMA devices by name; empty without the kernel's InfiniBand subsystem.
    public let rdmaDevices: [RDMADevice]
    /// The GPUs by PCI address: display controllers, whatever their driver.
    public let gpus: [GPU]

    /// Reads the machine. Costs some hundred small files: once at the start, not per download.
    public init(root: String = "/sys") {
        self.root = root
        let online =
            SystemTree.text("\(root)/devices/system/cpu/online").flatMap { CPUSet(list: $0) } ?? CPUSet([0])
        allowedCPUs = (try? CPUSet.ofCallingThread()) ?? online
        let found = Self.readNodes(root)
        nodes =
            found.isEmpty
            ? [
                Node(
                    id: 0, cpus: online, memoryBytes: 0,
                    freeHugePages: MachineMemory.freeHugePages(sys: root))
            ] : found
        networkDevices = NetworkDevice.readAll(root)
        rdmaDevices = RDMADevice.readAll(root)
        gpus = GPU.readAll(root)
    }

    /// The node of a number, if there is one.
    public func node(_ id: Int) -> Node? { nodes.first { $0.id == id } }

    private static func readNodes(_ root: String) -> [Node] {
        let directory = "\(root)/devices/system/node"
        return SystemTree.entries(directory).compactMap { name in
            guard name.hasPrefix("node"), let id = Int(name.dropFirst(4)) else { return nil }
            let total = SystemTree.field("Node \(id) MemTotal", of: "\(directory)/\(name)/meminfo")
            return Node(
                id: id,
                cpus: SystemTree.text("\(directory)/\(name)/cpulist").flatMap { CPUSet(list: $0) }
                    ?? CPUSet(),
                memoryBytes: total.flatMap(kibibytes) ?? 0,
                freeHugePages: MachineMemory.freeHugePages(node: id, sys: root))
        }
    }
}
