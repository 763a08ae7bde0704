import Observability
import System

// The two forms of the report: for people and for programs.

extension MachineReport {
    /// Paragraphs with a heading each.
    var lines: [String] {
        var out = ["martlet \(BuildInfo.version) on Linux \(kernel)", "", "Transports"]
        for transport in transports {
            out.append(
                "  \(transport.name)\(transport.isAvailable ? "" : " (not available)"): \(transport.reason)")
        }
        out += ["", "Network interfaces"] + indented(networkTable, none: "none")
        out +=
            ["", "RDMA devices"]
            + indented(rdmaTable, none: "none (looked in \(topology.root)/class/infiniband)")
        if let absence = rdmaReport.absence { out += ["  \(absence)"] }
        out += rdmaReport.findings.map { "  " + $0 }
        out += ["", "NUMA nodes"] + indented(nodeTable, none: "none")
        out +=
            ["", "GPUs"]
            + indented(
                gpuTable, none: "none (looked for display controllers in \(topology.root)/bus/pci/devices)")
        out += distanceLines
        out += acceleratorReport.lines.map { "  " + $0 }
        out += ["", "Limits"]
        out += ["  locked memory: \(MachineReport.shown(lockedMemory, Units.bytes))\(rdmaReport.memoryLockAdvice)"]
        out += ["  open files: \(MachineReport.shown(openFiles) { "\($0)" })"]
        out += ["  memory available: \(availableMemoryBytes.map(Units.bytes) ?? "unknown")"]
        out += [
            "  huge pages (2 MiB) free: \(freeHugePages)\(freeHugePages == 0 ? "; more with sysctl vm.nr_hugepages=N" : "")"
        ]
        out += [
            "", "Peer's socket: \(socketPath)\(isSocketThere ? "" : " (not there: no peer is running here)")",
        ]
        return out
    }

    /// The same as one object.
    var json: JSONValue {
        [
            "version": .string(BuildInfo.version), "kernel": .string(kernel),
            "transports": .array(
                transports.map {
                    [
                        "name": .string($0.name), "available": .bool($0.isAvailable),
                        "reason": .string($0.reason),
                    ]
                }),
            "network": .array(topology.networkDevices.map(MachineReport.json)),
            "rdma": .array(topology.rdmaDevices.map(json)),
            "rdma_support": [
                "library": .bool(rdmaReport.hasLibrary), "absence": .optional(rdmaReport.absence),
                "memlock_objection": .optional(rdmaReport.memoryLockObjection),
            ],
            "numa": .array(
                topology.nodes.map {
                    [
                        "node": .integer(Int64($0.id)), "cpus": .string($0.cpus.description),
                        "memory_bytes": .unsigned($0.memoryBytes),
                        "free_huge_pages": .integer(Int64($0.freeHugePages)),
                    ]
                }),
            "gpus": .array(
                topology.gpus.map {
                    [
                        "vendor": .string($0.vendor), "pci": .string($0.pci.address),
                        "numa_node": .count($0.pci.numaNode),
                    ]
                }),
            "gpu_memory": acceleratorReport.json,
            "limits": [
                "locked_memory": MachineReport.json(lockedMemory),
                "open_files": MachineReport.json(openFiles),
                "available_memory_bytes": availableMemoryBytes.map { .unsigned($0) } ?? .null,
            ],
            "peer_socket": ["path": .string(socketPath), "exists": .bool(isSocketThere)],
        ]
    }

    private var freeHugePages: Int { topology.nodes.reduce(0) { $0 + $1.freeHugePages } }

    /// How far each GPU is from each RDMA device.
    private var distanceLines: [String] {
        guard !topology.gpus.isEmpty else { return [] }
        return topology.rdmaDevices.map { device in
            let distances = topology.gpuDistances(from: device)
            return "  from \(device.name): "
                + distances.map { "\($0.gpu.pci.address) \($0.distance.text)" }.joined(separator: ", ")
        }
    }

    private var networkTable: TextTable? {
        var table = TextTable([
            .left("NAME"), .left("STATE"), .right("SPEED"), .right("MTU"), .left("DRIVER"), .left("NUMA"),
            .left("PCI"),
        ])
        for device in topology.networkDevices {
            table.add([
                device.name, device.operstate, device.speedMbps.map { "\($0) Mb/s" } ?? "-",
                device.mtuBytes.map(String.init) ?? "-", device.driver ?? "-",
                device.numaNode.map(String.init) ?? "-",
                device.pci?.address ?? "-",
            ])
        }
        return topology.networkDevices.isEmpty ? nil : table
    }

    private var rdmaTable: TextTable? {
        var table = TextTable([
            .left("NAME"), .right("PORT"), .left("STATE"), .left("LINK"), .right("RATE"), .right("MTU"),
            .left("ADDRESS"), .left("NETDEV"), .left("NUMA"), .left("PCI"),
        ])
        for device in topology.rdmaDevices {
            for port in device.ports {
                let found = rdmaReport.port(device.name, port.number)?.port
                table.add([
                    device.name, String(port.number), port.state, port.linkLayer,
                    port.rateGbps.map { "\(Units.decimals($0, 0)) Gb/s" } ?? "-",
                    found?.state.map { String($0.activeMTU.bytes) } ?? "-",
                    found?.gid.map { "\($0.gid) (\($0.index))" } ?? "-", port.networkDevice ?? "-",
                    topology.numaNode(of: device).map(String.init) ?? "-",
                    topology.pci(of: device)?.address ?? "-",
                ])
            }
        }
        return topology.rdmaDevices.isEmpty ? nil : table
    }

    private var nodeTable: TextTable? {
        var table = TextTable([.right("NODE"), .left("CPUS"), .right("MEMORY"), .right("FREE HUGE PAGES")])
        for node in topology.nodes {
            table.add([
                String(node.id), node.cpus.description,
                node.memoryBytes > 0 ? Units.bytes(node.memoryBytes) : "-",
                String(node.freeHugePages),
            ])
        }
        return table
    }

    private var gpuTable: TextTable? {
        var table = TextTable([.left("VENDOR"), .left("PCI"), .left("DRIVER"), .left("NUMA")])
        for gpu in topology.gpus {
            table.add([
                gpu.vendor, gpu.pci.address, gpu.pci.driver ?? "-", gpu.pci.numaNode.map(String.init) ?? "-",
            ])
        }
        return topology.gpus.isEmpty ? nil : table
    }

    private func indented(_ table: TextTable?, none: String) -> [String] {
        (table?.lines() ?? [none]).map { "  " + $0 }
    }

    private static func shown(_ limit: ResourceLimit.Values?, _ text: (UInt64) -> String) -> String {
        guard let limit else { return "unknown" }
        let soft = limit.soft.map(text) ?? "unlimited"
        let hard = limit.hard.map(text) ?? "unlimited"
        return soft == hard ? soft : "\(soft) (can be raised to \(hard))"
    }

    private static func json(_ limit: ResourceLimit.Values?) -> JSONValue {
        guard let limit else { return .null }
        return [
            "soft": limit.soft.map { .unsigned($0) } ?? "unlimited",
            "hard": limit.hard.map { .unsigned($0) } ?? "unlimited",
        ]
    }

    private static func json(_ device: NetworkDevice) -> JSONValue {
        [
            "name": .string(device.name), "state": .string(device.operstate),
            "speed_mbps": .count(device.speedMbps),
            "mtu_bytes": .count(device.mtuBytes), "driver": .optional(device.driver),
            "numa_node": .count(device.numaNode),
            "pci": .optional(device.pci?.address),
        ]
    }

    private func json(_ device: RDMADevice) -> JSONValue {
        let ports: [JSONValue] = device.ports.map { port in
            let known: [(String, JSONValue)] = [
                ("number", .integer(Int64(port.number))), ("state", .string(port.state)),
                ("link_layer", .string(port.linkLayer)), ("rate_gbps", port.rateGbps.map { .number($0) } ?? .null),
                ("network_device", .optional(port.networkDevice)),
            ]
            return .object(known + (rdmaReport.port(device.name, port.number)?.json ?? []))
        }
        let distances: [JSONValue] = topology.gpuDistances(from: device).map {
            ["pci": .string($0.gpu.pci.address), "distance": .string($0.distance.rawValue)]
        }
        return [
            "name": .string(device.name), "numa_node": .count(topology.numaNode(of: device)),
            "pci": .optional(topology.pci(of: device)?.address), "ports": .array(ports),
            "gpu_distances": .array(distances),
        ]
    }
}
