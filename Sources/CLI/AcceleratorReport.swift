import Memory
import Observability
import System
import TransportVerbs
import Verbs

/// What `martlet info` says of GPUs' memory: whether it can be given to a NIC, and which NIC takes it, found by trying.
struct AcceleratorReport: Sendable {
    /// A usable RDMA port beside a GPU.
    struct Neighbour: Sendable {
        let port: String
        let distance: DeviceDistance
        /// Why the port's device does not take the GPU's memory; nil: it does.
        let objection: String?
    }

    /// A GPU as its driver shows it.
    struct Device: Sendable {
        let accelerator: Accelerator
        /// Why no memory of it can be exported; nil: some was.
        var objection: String?
        /// The usable RDMA ports, nearest first; empty where there is none, or nothing to give them.
        var neighbours: [Neighbour] = []
    }

    /// Why there are no GPUs to ask; nil where there are.
    var absence: String?
    var devices: [Device] = []

    /// Looks at this machine's GPUs, and tries with a little memory of each which RDMA devices take it. Blocks, where
    /// there are any, for up to seconds each: the driver makes a context on it.
    static func ofThisMachine(_ topology: Topology, _ rdma: RDMAReport) -> AcceleratorReport {
        let ports = rdma.ports.filter(\.isUsable).map(\.port)
        return of(
            Accelerators.find(), topology, ports, library: ports.isEmpty ? nil : try? VerbsLibrary.load())
    }

    /// What is to be said of GPUs and the RDMA ports beside them.
    static func of(
        _ found: Result<Accelerators, AcceleratorError>, _ topology: Topology, _ ports: [VerbsPort],
        library: VerbsLibrary?
    ) -> AcceleratorReport {
        switch found {
        case .failure(let error): AcceleratorReport(absence: error.description)
        case .success(let accelerators):
            AcceleratorReport(devices: accelerators.devices.map { tried($0, topology, ports, library) })
        }
    }

    private static func tried(
        _ accelerator: Accelerator, _ topology: Topology, _ ports: [VerbsPort], _ library: VerbsLibrary?
    ) -> Device {
        var device = Device(accelerator: accelerator)
        do throws(AcceleratorError) {
            if let objection = accelerator.exportObjection { throw objection }
            let memory = try accelerator.allocate(lengthBytes: AcceleratorMemory.granuleBytes)
            let exported = try memory.exportDMABuf()
            if let library {
                device.neighbours = ports.map { port in
                    let objection = port.objection(
                        toDMABuf: exported.raw, deviceAddress: memory.deviceAddress, lengthBytes: memory.lengthBytes,
                        library)
                    return Neighbour(
                        port: port.name, distance: distance(topology, port, accelerator),
                        objection: objection?.description)
                }
                .sorted { ($0.distance, $0.port) < ($1.distance, $1.port) }
            }
            try memory.close()
        } catch {
            device.objection = error.description
        }
        return device
    }

    private static func distance(
        _ topology: Topology, _ port: VerbsPort, _ accelerator: Accelerator
    ) -> DeviceDistance {
        guard let device = topology.rdmaDevices.first(where: { $0.name == port.device }) else { return .unknown }
        return topology.gpuDistances(from: device).first { $0.gpu.pci.address == accelerator.pciAddress }?.distance
            ?? .unknown
    }

    /// Findings below the table of GPUs.
    var lines: [String] {
        if let absence { return ["GPU memory by RDMA: not available: \(absence)"] }
        return devices.flatMap { device -> [String] in
            let title = device.accelerator.title
            if let objection = device.objection { return ["\(title): memory not by RDMA: \(objection)"] }
            guard !device.neighbours.isEmpty else {
                return ["\(title): exports memory by DMA-buf; no usable RDMA port to give it to"]
            }
            return device.neighbours.map { neighbour in
                neighbour.objection.map { "\(title): \(neighbour.port) does not take its memory: \($0)" }
                    ?? "\(title): \(neighbour.port) reads into its memory by DMA-buf (\(neighbour.distance.text))"
            }
        }
    }

    /// The same as one object.
    var json: JSONValue {
        let devices: [JSONValue] = devices.map { device in
            let neighbours: [JSONValue] = device.neighbours.map {
                [
                    "port": .string($0.port), "takes_memory": .bool($0.objection == nil),
                    "distance": .string($0.distance.rawValue), "why_not": .optional($0.objection),
                ]
            }
            return [
                "ordinal": .integer(Int64(device.accelerator.ordinal)), "name": .string(device.accelerator.name),
                "pci": .string(device.accelerator.pciAddress), "exports_dma_buf": .bool(device.objection == nil),
                "why_not": .optional(device.objection), "rdma": .array(neighbours),
            ]
        }
        return ["absence": .optional(absence), "devices": .array(devices)]
    }
}
