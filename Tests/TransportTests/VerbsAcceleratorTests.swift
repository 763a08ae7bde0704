import AcceleratorDouble
import Foundation
import Memory
import System
import Testing
import Transport
import TransportLocal
import TransportTCP
import TransportVerbs
import Verbs
import VerbsDouble

/// Memory of a played GPU, taken for one test with its DMA-buf.
private final class DeviceMemory {
    let double: AcceleratorDouble
    private var memory: AcceleratorMemory?
    private var exported: FileDescriptor?
    let address: UInt64
    let lengthBytes: Int
    let descriptor: CInt

    init(lengthBytes: Int = 4 << 20) throws {
        double = try AcceleratorDouble()
        let memory = try double.find().get().devices[0].allocate(lengthBytes: lengthBytes)
        let exported = try memory.exportDMABuf()
        address = memory.deviceAddress
        self.lengthBytes = memory.lengthBytes
        descriptor = exported.raw
        self.memory = consume memory
        self.exported = consume exported
    }

    var region: RegionMemory {
        RegionMemory(deviceAddress: address, lengthBytes: lengthBytes, dmaBuf: descriptor)
    }

    func fill(_ bytes: [UInt8], at offset: Int = 0) throws {
        try bytes.withUnsafeBytes { source in
            switch memory {
            case .some(let memory): try memory.copyIn(source, to: offset)
            case .none: preconditionFailure("closed")
            }
        }
    }

    func contents(_ range: Range<Int>) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: range.count)
        try bytes.withUnsafeMutableBytes { target in
            switch memory {
            case .some(let memory): try memory.copyOut(from: range.lowerBound, into: target)
            case .none: preconditionFailure("closed")
            }
        }
        return bytes
    }

    func close() throws {
        exported = nil
        try memory.take()?.close()
        #expect(double.census.isEmpty)
    }
}

extension ContractHost {
    @discardableResult
    fileprivate func post(_ link: LinkID, _ key: RemoteKey, to region: RegionID, local: Int, length: Int, tag: UInt64)
        -> Int
    {
        let request = ReadRequest(
            link: link, key: key, remoteOffset: 0, region: region, localOffset: UInt64(local),
            lengthBytes: UInt32(length), tag: tag)
        return withUnsafePointer(to: request) { transport.post(UnsafeBufferPointer(start: $0, count: 1)) }
    }
}

extension VerbsScripts {
    /// Memory of a GPU as the target of reads and the source of exports. Its addresses fault when the processor uses
    /// them, so whatever passes here was moved by the device.
    @Suite struct AcceleratorMemories {
        static let leases: [VerbsConfiguration.Lease] = [.window, .region]

        @Test(arguments: leases)
        func readsLandInAGPUsMemory(_ lease: VerbsConfiguration.Lease) throws {
            let gpu = try DeviceMemory()
            try Script.run(lease: lease) { script in
                let (bench, child, parent) = (script.bench, script.child, script.parent)
                let before = script.double.census("double0").regions
                let region = try child.transport.register(gpu.region)
                // One for reads; a DMA-buf has none for windows.
                #expect(script.double.census("double0").regions == before + 1)
                let link = try bench.link(child, parent)
                let export = try parent.exportMemory(8192, 1 << 20, to: link.parent)
                #expect(child.post(link.child, export.key, to: region, local: 12_289, length: 1 << 20, tag: 1) == 1)
                #expect(bench.pump { child.seen.isRead(1) })
                #expect(child.seen.read(1) == .some(nil))
                #expect(isSame(try gpu.contents(12_289..<(12_289 + 1 << 20)), parent.contents(8192..<(8192 + 1 << 20))))
                #expect(try gpu.contents(0..<12_289).allSatisfy { $0 == 0 })
                try script.checkReading(link, tag: 2)
            }
            try gpu.close()
        }

        /// No window can be bound to it, and where windows lease links share a domain: there it is refused.
        @Test func aGPUsMemoryIsNotLeasedWhereWindowsLease() throws {
            let gpu = try DeviceMemory()
            try Script.run(lease: .window) { script in
                let region = try script.parent.transport.register(gpu.region)
                let link = try script.bench.link(script.child, script.parent)
                let error = #expect(throws: TransportError.self) {
                    _ = try script.parent.transport.export(
                        .memory(region: region, offset: 5000, lengthBytes: 300_000), to: link.parent)
                }
                #expect(error?.code == .sourceFailed && error?.description.contains("rdma_lease") == true)
            }
            try gpu.close()
        }

        /// A GPU's memory is leased as an exact region, which ends when it is revoked.
        @Test(arguments: [VerbsConfiguration.Lease.region])
        func aGPUsMemoryIsLeasedByExactRegion(_ lease: VerbsConfiguration.Lease) throws {
            let gpu = try DeviceMemory()
            let bytes = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 7 ^ $0 >> 9) }
            try gpu.fill(bytes, at: 5000)
            try Script.run(lease: lease, adjust: { $0.revokeLimitNs = 20_000_000 }) { script in
                let (bench, child, parent, double) = (script.bench, script.child, script.parent, script.double)
                let region = try parent.transport.register(gpu.region)
                let link = try bench.link(child, parent)
                #expect(script.awaitQuiet())
                let before = double.census("double1")
                let export = try parent.transport.export(
                    .memory(region: region, offset: 5000, lengthBytes: 300_000), to: link.parent)
                #expect(double.census("double1").regions == before.regions + 1)
                #expect(double.census("double1").windows == before.windows)
                let key = try #require(VerbsKey(export.key))
                #expect(key.address == gpu.address + 5000 && key.lengthBytes == 300_000)
                child.post(link.child, export.key, length: 300_000, tag: 1)
                #expect(bench.pump { child.seen.isRead(1) })
                #expect(child.seen.read(1) == .some(nil))
                #expect(isSame(child.contents(0..<300_000), bytes))
                // A reader that goes on after the end is refused by the device.
                double.hold("double0")
                child.post(link.child, export.key, length: 300_000, tag: 2)
                bench.turn([child])
                #expect(double.heldCount("double0") > 0)
                parent.transport.revoke(export.id)
                #expect(bench.pump([parent]) { parent.seen.isRetired(export.id) })
                #expect(double.census("double1").regions == before.regions)
                double.release("double0")
                #expect(bench.pump { child.seen.isRead(2) })
                #expect(child.seen.read(2) == .some(.accessDenied))
            }
            try gpu.close()
        }

        /// Memory larger than the device's regions is registered in several, each at its place in the DMA-buf.
        @Test func aReadAcrossRegionsOfADMABuf() throws {
            let largest = Int(VerbsConfiguration.readBytesMax)
            let gpu = try DeviceMemory(lengthBytes: largest + (2 << 20))
            var devices = (0..<3).map { DoubleDevice("double\($0)", host: UInt8($0 + 1)) }
            devices[0].regionBytesMax = UInt64(largest)
            try Script.run(lease: .region, devices: devices) { script in
                let (bench, child, parent) = (script.bench, script.child, script.parent)
                let before = script.double.census("double0").regions
                let region = try child.transport.register(gpu.region)
                #expect(script.double.census("double0").regions == before + 2)
                let link = try bench.link(child, parent)
                let export = try parent.exportMemory(0, 200_000, to: link.parent)
                let place = largest - 70_000
                child.post(link.child, export.key, to: region, local: place, length: 200_000, tag: 1)
                #expect(bench.pump { child.seen.isRead(1) })
                #expect(child.seen.read(1) == .some(nil))
                #expect(isSame(try gpu.contents(place..<(place + 200_000)), parent.contents(0..<200_000)))
            }
            try gpu.close()
        }

        /// A device that comes back is given the GPU's memory anew.
        @Test func aDeviceThatComesBackIsGivenItAgain() throws {
            let gpu = try DeviceMemory()
            try Script.run { script in
                let (bench, child, parent, double) = (script.bench, script.child, script.parent, script.double)
                let region = try child.transport.register(gpu.region)
                let first = try bench.link(child, parent)
                double.remove("double0")
                #expect(bench.pump { child.seen.down(first.child) != nil && parent.seen.down(first.parent) != nil })
                double.add(DoubleDevice("double0", host: 1))
                #expect(bench.pump { child.transport.counters.deviceReopenings == 1 })
                let link = try bench.link(child, parent)
                let export = try parent.exportMemory(0, 4096, to: link.parent)
                child.post(link.child, export.key, to: region, local: 4096, length: 4096, tag: 1)
                #expect(bench.pump { child.seen.isRead(1) })
                #expect(child.seen.read(1) == .some(nil))
                #expect(isSame(try gpu.contents(4096..<8192), parent.contents(0..<4096)))
            }
            try gpu.close()
        }

        // MARK: Refusals

        @Test(arguments: [
            (EOPNOTSUPP, "DMABUF_MOVE_NOTIFY and PCI_P2PDMA"), (ENOMEM, "window (BAR)"),
            (EBADF, "descriptor is closed"),
        ])
        func aNICThatRefusesSaysWhatIsNeeded(_ number: CInt, _ words: String) throws {
            let gpu = try DeviceMemory()
            try Script.run { script in
                let before = script.open
                // Without relaxed ordering it is tried once more where it may be that.
                script.double.fail(.register, on: "double0", times: number == EOPNOTSUPP ? 2 : 1, errorNumber: number)
                let error = #expect(throws: TransportError.self) {
                    _ = try script.child.transport.register(gpu.region)
                }
                #expect(error?.code == .system)
                #expect(error?.description.contains("another device's memory with double0") == true)
                #expect(error?.description.contains(words) == true)
                #expect(script.open == before)
            }
            try gpu.close()
        }

        @Test func aNICThatTakesNoDMABufSaysSo() throws {
            let gpu = try DeviceMemory()
            var devices = (0..<3).map { DoubleDevice("double\($0)", host: UInt8($0 + 1)) }
            devices[0].takesDMABufs = false
            // It refuses the ordering as well, which alone is none.
            devices[1].refusesRelaxedOrdering = true
            try Script.run(devices: devices) { script in
                let error = #expect(throws: TransportError.self) {
                    _ = try script.child.transport.register(gpu.region)
                }
                #expect(error?.description.contains("ibv_reg_dmabuf_mr: errno 95") == true)
                _ = try script.parent.transport.register(gpu.region)
            }
            try gpu.close()
        }

        @Test func transportsThatCopyRefuseIt() throws {
            let memory = RegionMemory(deviceAddress: 0x7d00_0000_0000, lengthBytes: 4096, dmaBuf: -1)
            for subject in ContractSubject.all where ["tcp", "local", "simulated"].contains(subject.name) {
                try withBench(subject) { bench in
                    let host = try bench.host("host")
                    let error = #expect(throws: TransportError.self) { _ = try host.transport.register(memory) }
                    #expect(error?.code == .system)
                    #expect(
                        error?.description.hasPrefix("\(host.transport.capabilities.kind) cannot move bytes") == true)
                }
            }
        }
    }
}
