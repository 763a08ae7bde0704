import MadeTree
import System
import Testing

@Suite("Topology")
struct TopologyTests {
    /// A server with two nodes, two NICs (one of them down), an RDMA device, a soft RDMA device and two GPUs.
    private func server() throws -> MadeTree {
        let tree = try MadeTree()
        let nodes = "devices/system/node"
        for (node, cpus) in [(0, "0-31,64-95"), (1, "32-63,96-127")] {
            try tree.write("\(nodes)/node\(node)/cpulist", "\(cpus)\n")
            try tree.write(
                "\(nodes)/node\(node)/meminfo",
                "Node \(node) MemTotal:       1056470000 kB\nNode \(node) MemFree:        900000000 kB\n")
            try tree.write(
                "\(nodes)/node\(node)/hugepages/hugepages-2048kB/free_hugepages", "\(node * 512)\n")
        }
        try tree.write("\(nodes)/possible", "0-1\n")

        func pci(_ address: String, _ files: [String: String], driver: String?) throws {
            for (name, text) in files { try tree.write("devices/pci0000:00/\(address)/\(name)", "\(text)\n") }
            try tree.link("bus/pci/devices/\(address)", to: "../../../devices/pci0000:00/\(address)")
            if let driver {
                try tree.link(
                    "devices/pci0000:00/\(address)/driver", to: "../../../bus/pci/drivers/\(driver)")
            }
        }
        try pci(
            "0000:17:00.0",
            ["class": "0x020000", "vendor": "0x15b3", "device": "0x1021", "numa_node": "0"],
            driver: "mlx5_core")
        try pci(
            "0000:18:00.0", ["class": "0x030200", "vendor": "0x10de", "numa_node": "1"], driver: "nvidia")
        try pci("0000:03:00.0", ["class": "0x030000", "vendor": "0x1a03", "numa_node": "-1"], driver: nil)
        try pci(
            "0000:04:00.0", ["class": "0x020000", "vendor": "0x1af4", "numa_node": "1"], driver: "virtio-pci")

        func interface(_ name: String, _ device: String?, _ files: [String: String]) throws {
            for (file, text) in files { try tree.write("class/net/\(name)/\(file)", "\(text)\n") }
            if let device {
                try tree.link("class/net/\(name)/device", to: "../../../devices/pci0000:00/\(device)")
            }
        }
        try interface("eth0", "0000:17:00.0", ["operstate": "up", "mtu": "9000", "speed": "400000"])
        try tree.write("devices/pci0000:00/0000:04:00.0/virtio2/status", "0xf\n")
        try tree.link(
            "devices/pci0000:00/0000:04:00.0/virtio2/driver", to: "../../../../bus/virtio/drivers/virtio_net")
        try interface("ens4", "0000:04:00.0/virtio2", ["operstate": "down", "mtu": "1500", "speed": "-1"])
        try interface("lo", nil, ["operstate": "unknown", "mtu": "65536"])
        try tree.write("class/net/bonding_masters", "\n")

        let port = "class/infiniband/mlx5_0/ports/1"
        try tree.write("\(port)/state", "4: ACTIVE\n")
        try tree.write("\(port)/rate", "400 Gb/sec (4X NDR)\n")
        try tree.write("\(port)/link_layer", "Ethernet\n")
        try tree.write("\(port)/gid_attrs/ndevs/0", "eth0\n")
        try tree.link("class/infiniband/mlx5_0/device", to: "../../../devices/pci0000:00/0000:17:00.0")
        try tree.write("class/infiniband/rxe0/parent", "lo\n")
        try tree.write("class/infiniband/rxe0/ports/1/state", "1: DOWN\n")
        try tree.write("class/infiniband/rxe0/ports/1/rate", "2.5 Gb/sec (1X SDR)\n")
        try tree.write("class/infiniband/rxe0/ports/1/link_layer", "Ethernet\n")
        return tree
    }

    @Test("A host is placed on the node of its fastest NIC that is up")
    func placement() throws {
        let tree = try server()
        let placement = Placement(Topology(root: tree.path))
        #expect(placement.numaNode == 0)
        #expect(placement.reason.contains("node 0") && placement.reason.contains("eth0"))
        // This machine's own processors are what may be used: those of them that are node 0's.
        let allowed = Topology(root: tree.path).allowedCPUs
        #expect(placement.cpus == CPUSet(list: "0-31,64-95")!.intersection(allowed).numbers)
        #expect(placement.cpuCount >= 1)
        // The NIC goes down: nobody says where to be.
        try tree.write("class/net/eth0/operstate", "down\n")
        let unplaced = Placement(Topology(root: tree.path))
        #expect(unplaced.numaNode == nil && unplaced.cpus.isEmpty)
        #expect(unplaced.reason.contains("nothing is bound"))
    }

    /// A server with four NICs and GPUs below switches of both processors, as such servers are built.
    private func gpuServer() throws -> MadeTree {
        let tree = try MadeTree()
        for node in 0...1 {
            try tree.write("devices/system/node/node\(node)/cpulist", "\(node * 4)-\(node * 4 + 3)\n")
        }
        func pci(_ path: String, node: Int, _ files: [String: String]) throws {
            let address = String(path.split(separator: "/").last!)
            for (name, text) in files.merging(["numa_node": "\(node)"], uniquingKeysWith: { $1 }) {
                try tree.write("devices/\(path)/\(name)", "\(text)\n")
            }
            try tree.link("bus/pci/devices/\(address)", to: "../../../devices/\(path)")
        }
        func rdma(_ name: String, _ path: String, gbps: Int, state: String = "4: ACTIVE") throws {
            try tree.link("class/infiniband/\(name)/device", to: "../../../devices/\(path)")
            let port = "class/infiniband/\(name)/ports/1"
            try tree.write("\(port)/state", "\(state)\n")
            try tree.write("\(port)/rate", "\(gbps) Gb/sec (4X NDR)\n")
            try tree.write("\(port)/link_layer", "InfiniBand\n")
        }
        let gpu = ["class": "0x030200", "vendor": "0x10de"]
        let nic = ["class": "0x020700", "vendor": "0x15b3"]
        // One switch below a port of the first processor: a NIC and a GPU; beside it, on another port, a GPU.
        try pci("pci0000:10/0000:10:01.0/0000:11:00.0/0000:12:00.0/0000:13:00.0", node: 0, nic)
        try pci("pci0000:10/0000:10:01.0/0000:11:00.0/0000:12:01.0/0000:14:00.0", node: 0, gpu)
        try pci("pci0000:10/0000:10:02.0/0000:15:00.0", node: 0, gpu)
        try pci("pci0000:20/0000:20:01.0/0000:21:00.0", node: 0, gpu)
        try pci("pci0000:80/0000:80:01.0/0000:81:00.0", node: 1, nic)
        try pci("pci0000:80/0000:80:02.0/0000:82:00.0", node: 1, gpu)
        try pci("pci0000:90/0000:90:02.0/0000:92:00.0", node: -1, gpu)
        try rdma("mlx5_0", "pci0000:10/0000:10:01.0/0000:11:00.0/0000:12:00.0/0000:13:00.0", gbps: 200)
        try rdma("mlx5_1", "pci0000:80/0000:80:01.0/0000:81:00.0", gbps: 400)
        // A soft device on the second NIC's Ethernet interface.
        try tree.write("class/net/eth1/operstate", "up\n")
        try tree.link(
            "class/net/eth1/device", to: "../../../devices/pci0000:80/0000:80:01.0/0000:81:00.0")
        try tree.write("class/infiniband/rxe0/parent", "eth1\n")
        try tree.write("class/infiniband/rxe0/ports/1/state", "4: ACTIVE\n")
        return tree
    }

    @Test("Distances of GPUs: switch, root, node, other node, unknown")
    func distances() throws {
        let tree = try gpuServer()
        let topology = Topology(root: tree.path)
        func distances(_ name: String) throws -> [String: DeviceDistance] {
            let device = try #require(topology.rdmaDevices.first { $0.name == name })
            let all = topology.gpuDistances(from: device)
            #expect(all.map(\.distance) == all.map(\.distance).sorted(), "nearest first")
            return Dictionary(uniqueKeysWithValues: all.map { ($0.gpu.pci.address, $0.distance) })
        }
        #expect(
            try distances("mlx5_0") == [
                "0000:14:00.0": .sameSwitch, "0000:15:00.0": .sameRoot, "0000:21:00.0": .sameNode,
                "0000:82:00.0": .otherNode, "0000:92:00.0": .unknown,
            ])
        // A soft device is where the interface below it is.
        #expect(try distances("rxe0") == distances("mlx5_1"))
        #expect(try distances("rxe0")["0000:82:00.0"] == .sameRoot)
        #expect(topology.rdmaDevices.first { $0.name == "rxe0" }.flatMap(topology.numaNode) == 1)
    }

    @Test("A host is placed near the fastest RDMA device in use, each rail near its own")
    func placementByRDMA() throws {
        let tree = try gpuServer()
        let topology = Topology(root: tree.path)
        let allowed = topology.allowedCPUs
        func cpus(_ list: String) -> [Int] { CPUSet(list: list)!.intersection(allowed).numbers }
        let both = Placement(topology, rdmaDevices: ["mlx5_0", "mlx5_1"])
        #expect(both.numaNode == 1 && both.reason.contains("mlx5_1") && both.cpus == cpus("4-7"))
        #expect(both.cpus(nearRDMADevice: "mlx5_0") == cpus("0-3"))
        #expect(both.cpus(nearRDMADevice: "mlx5_1") == cpus("4-7"))
        // Only what is used decides.
        #expect(Placement(topology, rdmaDevices: ["mlx5_0"]).numaNode == 0)
        #expect(Placement(topology, rdmaDevices: ["rxe0"]).numaNode == 1)
        // Without any, the NIC that is up; a device that is not there counts for nothing.
        let none = Placement(topology, rdmaDevices: ["mlx5_9"])
        #expect(none.numaNode == 1 && none.reason.contains("eth1"))
        #expect(none.cpus(nearRDMADevice: "mlx5_9") == none.cpus)
        // A port that is down is no faster for its rate.
        try tree.write("class/infiniband/mlx5_1/ports/1/state", "1: DOWN\n")
        #expect(Placement(Topology(root: tree.path), rdmaDevices: ["mlx5_0", "mlx5_1"]).numaNode == 0)
    }

    @Test("Nodes with their CPUs, memory and huge pages")
    func nodes() throws {
        let tree = try server()
        let nodes = Topology(root: tree.path).nodes
        #expect(nodes.map(\.id) == [0, 1])
        #expect(nodes[1].cpus == CPUSet(list: "32-63,96-127"))
        #expect(nodes[0].memoryBytes == 1_056_470_000 << 10)
        #expect(nodes.map(\.freeHugePages) == [0, 512])
        #expect(Topology(root: tree.path).node(1) == nodes[1])
        #expect(Topology(root: tree.path).node(2) == nil)
    }

    @Test("Interfaces with speed, node, driver and state")
    func interfaces() throws {
        let tree = try server()
        let devices = Topology(root: tree.path).networkDevices
        #expect(devices.map(\.name) == ["lo", "ens4", "eth0"])
        let eth0 = try #require(devices.last)
        #expect(eth0.speedMbps == 400_000 && eth0.mtuBytes == 9000 && eth0.operstate == "up")
        #expect(eth0.driver == "mlx5_core" && eth0.numaNode == 0)
        #expect(
            eth0.pci?.address == "0000:17:00.0" && eth0.pci?.vendorID == 0x15b3
                && eth0.pci?.deviceID == 0x1021)
        let ens4 = devices[1]
        #expect(ens4.speedMbps == nil && ens4.operstate == "down" && ens4.driver == "virtio_net")
        #expect(ens4.pci?.address == "0000:04:00.0" && ens4.numaNode == 1 && ens4.pci?.driver == "virtio-pci")
        #expect(devices[0].pci == nil && devices[0].driver == nil && devices[0].operstate == "unknown")
    }

    @Test("RDMA devices with their ports, hard and soft")
    func rdma() throws {
        let tree = try server()
        let devices = Topology(root: tree.path).rdmaDevices
        #expect(devices.map(\.name) == ["rxe0", "mlx5_0"])
        let port = try #require(devices[1].ports.first)
        #expect(port.number == 1 && port.isActive && port.rateGbps == 400)
        #expect(port.linkLayer == "Ethernet" && port.networkDevice == "eth0")
        #expect(devices[1].numaNode == 0)
        let soft = try #require(devices[0].ports.first)
        #expect(soft.state == "DOWN" && !soft.isActive && soft.rateGbps == 2.5 && soft.networkDevice == "lo")
        #expect(devices[0].pci == nil)
    }

    @Test("GPUs by class, with vendor and node")
    func gpus() throws {
        let tree = try server()
        let gpus = Topology(root: tree.path).gpus
        #expect(gpus.map(\.vendor) == ["0x1a03", "NVIDIA"])
        #expect(gpus[1].pci.numaNode == 1 && gpus[1].pci.driver == "nvidia")
        #expect(gpus[0].pci.numaNode == nil && gpus[0].pci.driver == nil)
    }

    @Test("Nothing there: one node, no devices")
    func empty() throws {
        let tree = try MadeTree()
        let topology = Topology(root: tree.path)
        #expect(topology.nodes.map(\.id) == [0])
        #expect(topology.nodes[0].cpus == CPUSet([0]))
        #expect(topology.networkDevices.isEmpty && topology.rdmaDevices.isEmpty && topology.gpus.isEmpty)
        try tree.write("devices/system/cpu/online", "0-7\n")
        #expect(Topology(root: tree.path).nodes[0].cpus.count == 8)
    }

    @Test("This machine has a node, a loopback interface and somewhere to run")
    func real() {
        let topology = Topology()
        #expect(!topology.nodes.isEmpty && !topology.nodes[0].cpus.isEmpty)
        #expect(topology.nodes[0].memoryBytes > 0)
        #expect(topology.networkDevices.contains { $0.name == "lo" })
        #expect(!topology.allowedCPUs.isEmpty)
    }
}
