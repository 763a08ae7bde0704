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

    /// Reads the machine.
    public init(_ topology: Topology = Topology()) {
        let all = topology.allowedCPUs
        guard topology.nodes.count > 1 else {
            (numaNode, cpus, cpuCount) = (nil, [], max(1, all.count))
            reason = "one NUMA node: nothing to place"
            return
        }
        // The fastest NIC that is up: pieces arrive there.
        let nic = topology.networkDevices.filter { $0.operstate == "up" && $0.numaNode != nil }
            .max { ($0.speedMbps ?? 0, $1.name) < ($1.speedMbps ?? 0, $0.name) }
        guard let nic, let near = nic.numaNode, let node = topology.node(near) else {
            (numaNode, cpus, cpuCount) = (nil, [], max(1, all.count))
            reason = "no NIC says which of the \(topology.nodes.count) NUMA nodes it is near: nothing is bound"
            return
        }
        let usable = node.cpus.numbers.filter { all.contains($0) }
        numaNode = node.id
        cpus = usable
        cpuCount = max(1, usable.isEmpty ? all.count : usable.count)
        reason = "slots, rails and workers on NUMA node \(node.id), that of \(nic.name)"
    }
}
