/// Where a host's slots, rails and workers belong: on the NUMA node of the NIC that carries its pieces.
///
/// Crossing to another node's memory costs half the bandwidth and a QPI/xGMI hop for every byte. On a machine with one node, or
/// where the firmware does not say which node a NIC is near, nothing is bound.
public struct Placement: Sendable {
    /// The node; nil for anywhere.
    public let numaNode: Int?
    /// Its processors; empty for anywhere.
    public let cpus: [Int]
    /// How many processors there are to work on.
    public let cpuCount: Int
    /// One sentence for the log.
    public let reason: String
    /// The processors near each RDMA device that says where it is, on a machine with several nodes.
    private let cpusNear: [String: [Int]]

    /// Reads the machine.
    ///
    /// - Parameter rdmaDevices: the RDMA devices that pieces travel over; the fastest of them decides, and without any
    ///   the fastest NIC that is up.
    public init(_ topology: Topology = Topology(), rdmaDevices: [String] = []) {
        let all = topology.allowedCPUs
        guard topology.nodes.count > 1 else {
            (numaNode, cpus, cpuCount) = (nil, [], max(1, all.count))
            cpusNear = [:]
            reason = "one NUMA node: nothing to place"
            return
        }
        func usable(_ node: Topology.Node) -> [Int] { node.cpus.numbers.filter { all.contains($0) } }
        let used = topology.rdmaDevices.filter { rdmaDevices.contains($0.name) }
        var near: [String: [Int]] = [:]
        for device in used {
            if let node = topology.numaNode(of: device).flatMap(topology.node) { near[device.name] = usable(node) }
        }
        cpusNear = near
        guard let carrier = Self.carrier(topology, used), let node = topology.node(carrier.node) else {
            (numaNode, cpus, cpuCount) = (nil, [], max(1, all.count))
            reason = "no NIC says which of the \(topology.nodes.count) NUMA nodes it is near: nothing is bound"
            return
        }
        numaNode = node.id
        cpus = usable(node)
        cpuCount = max(1, cpus.isEmpty ? all.count : cpus.count)
        reason = "slots, rails and workers on NUMA node \(node.id), that of \(carrier.name)"
    }

    /// The processors for a rail over an RDMA device: those of the device's own node, else those of the placement.
    public func cpus(nearRDMADevice device: String) -> [Int] { cpusNear[device] ?? cpus }

    /// Where pieces arrive: the fastest active port of the RDMA devices in use, else the fastest NIC that is up.
    private static func carrier(_ topology: Topology, _ used: [RDMADevice]) -> (name: String, node: Int)? {
        let ports = used.compactMap { device in
            topology.numaNode(of: device).map { node in
                (name: device.name, node: node, gbps: device.ports.filter(\.isActive).compactMap(\.rateGbps).max() ?? 0)
            }
        }
        // Of equally fast ones the first, so that every start of a host decides alike.
        if let port = ports.max(by: { ($0.gbps, $1.name) < ($1.gbps, $0.name) }) { return (port.name, port.node) }
        let nic = topology.networkDevices.filter { $0.operstate == "up" && $0.numaNode != nil }
            .max { ($0.speedMbps ?? 0, $1.name) < ($1.speedMbps ?? 0, $0.name) }
        return nic.flatMap { nic in nic.numaNode.map { (nic.name, $0) } }
    }
}
