import Configuration
import Glibc
import Observability
import System

/// What `martlet info` says of a machine: devices, limits, and for each transport whether it can be used, or why not.
struct MachineReport: Sendable {
    /// One way of moving bytes, as far as this machine and this build can tell.
    struct Transport: Sendable, Equatable {
        let name: String
        let isAvailable: Bool
        /// One sentence: what it uses, or why not and what to do.
        let reason: String
    }

    let kernel: String
    let topology: Topology
    /// Nil: unlimited; absent when the kernel did not say.
    let lockedMemory: ResourceLimit.Values?
    let openFiles: ResourceLimit.Values?
    let availableMemoryBytes: UInt64?
    let rdmaReport: RDMAReport
    let acceleratorReport: AcceleratorReport
    let socketPath: String
    let isSocketThere: Bool

    /// Looks at this machine: reads some hundred small files, and tries its RDMA devices and GPUs.
    static func ofThisMachine(_ configuration: Configuration) -> MachineReport {
        let socketPath = configuration[Schema.Peer.socket]
        let rdma = RDMAReport.ofThisMachine(
            gid: configuration[Schema.Peer.rdmaGIDIndex].map { .index($0) } ?? .automatic,
            slotsBytes: configuration[Schema.Peer.slotsBytes])
        let topology = Topology()
        return MachineReport(
            kernel: kernelRelease(), topology: topology,
            lockedMemory: try? ResourceLimit.lockedMemory.values(),
            openFiles: try? ResourceLimit.openFiles.values(),
            availableMemoryBytes: MachineMemory.availableBytes(), rdmaReport: rdma,
            acceleratorReport: .ofThisMachine(topology, rdma), socketPath: socketPath,
            isSocketThere: access(socketPath, F_OK) == 0)
    }

    private static func kernelRelease() -> String {
        var names = utsname()
        guard uname(&names) == 0 else { return "unknown" }
        return withUnsafeBytes(of: names.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }

    /// Every transport there is, best first.
    var transports: [Transport] { [rdma, local, tcp] }

    private var rdma: Transport {
        let looked = "\(topology.root)/class/infiniband"
        let devices = topology.rdmaDevices
        guard !devices.isEmpty || !rdmaReport.ports.isEmpty else {
            return Transport(
                name: "rdma", isAvailable: false,
                reason:
                    "no RDMA device (looked in \(looked)); load the NIC's driver (e.g. modprobe mlx5_ib), or make a soft one: "
                    + "modprobe rdma_rxe && rdma link add rxe0 type rxe netdev \(likelyInterface)"
                    + (rdmaReport.hasLibrary ? "" : "; and apt install rdma-core libibverbs1 ibverbs-providers"))
        }
        let names = devices.map(\.name).joined(separator: ", ")
        if rdmaReport.hasLibrary, rdmaReport.ports.isEmpty {
            return Transport(
                name: "rdma", isAvailable: false,
                reason:
                    "the kernel shows \(names), but no program may use it: load ib_uverbs, and give containers the device "
                    + "(docker --device=/dev/infiniband)")
        }
        return rdmaReport.transport
    }

    private var local: Transport {
        Transport(
            name: "local", isAvailable: true,
            reason:
                "between processes of this machine, by passing memory and file descriptors over Unix sockets")
    }

    private var tcp: Transport {
        let interfaces = topology.networkDevices.filter { $0.name != "lo" && $0.operstate == "up" }.map(
            \.name)
        return Transport(
            name: "tcp", isAvailable: true,
            reason: interfaces.isEmpty
                ? "over the loopback only: no other interface is up"
                : "over \(interfaces.joined(separator: ", "))")
    }

    /// An interface that a soft RDMA device could be put on.
    private var likelyInterface: String {
        let others = topology.networkDevices.filter { $0.name != "lo" }
        return
            (others.first { $0.operstate == "up" && $0.pci != nil } ?? others.first { $0.operstate == "up" })?
            .name ?? "DEVICE"
    }
}
