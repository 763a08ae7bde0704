import AcceleratorDouble
import Glibc
import Memory
import System
import Testing
import TransportVerbs
import Verbs
import VerbsDouble

@testable import CLI

/// A /sys made of files, gone when the closure ends.
private func withTree<Result>(_ files: [String: String], _ body: (String) throws -> Result) throws -> Result {
    var template = Array("/tmp/martlet-sys-XXXXXX".utf8CString)
    let root = try #require(
        template.withUnsafeMutableBufferPointer { mkdtemp($0.baseAddress!).map { String(cString: $0) } })
    defer { removeTree(root) }
    for (path, text) in files {
        var directory = root
        for part in path.split(separator: "/").dropLast() {
            directory += "/\(part)"
            mkdir(directory, 0o755)
        }
        let file = try #require(fopen("\(root)/\(path)", "w"))
        fputs(text, file)
        fclose(file)
    }
    return try body(root)
}

private func removeTree(_ path: String) {
    if let directory = opendir(path) {
        var names: [String] = []
        while let entry = readdir(directory) {
            names.append(
                withUnsafeBytes(of: entry.pointee.d_name) {
                    String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
                })
        }
        closedir(directory)
        for name in names where name != "." && name != ".." { removeTree("\(path)/\(name)") }
    }
    remove(path)
}

@Suite struct MachineReportTests {
    private func report(
        _ root: String, _ rdma: RDMAReport, _ accelerators: AcceleratorReport = AcceleratorReport(absence: "no library")
    ) -> MachineReport {
        MachineReport(
            kernel: "6.1", topology: Topology(root: root), lockedMemory: .init(soft: 8 << 20, hard: nil),
            openFiles: nil, availableMemoryBytes: 1 << 30, rdmaReport: rdma,
            acceleratorReport: accelerators, socketPath: "/run/x.sock", isSocketThere: false)
    }

    private let low = MemoryLockLimit(limitBytes: 8 << 20, isLifted: false, pinnedBytes: 0)
    private let unlimited = MemoryLockLimit(limitBytes: nil, isLifted: false, pinnedBytes: 0)

    private func rdmaFiles(_ name: String, state: String = "4: ACTIVE") -> [String: String] {
        [
            "class/infiniband/\(name)/ports/1/state": "\(state)\n",
            "class/infiniband/\(name)/ports/1/rate": "100 Gb/sec (4X EDR)\n",
            "class/infiniband/\(name)/ports/1/link_layer": "Ethernet\n",
            "class/infiniband/\(name)/parent": "eth0\n",
        ]
    }

    @Test func withoutDevicesSaysWhereItLookedAndWhatToDo() throws {
        try withTree(["class/net/eth9/operstate": "up\n", "class/net/lo/operstate": "unknown\n"]) { root in
            let absent = RDMAReport(absence: "cannot load libibverbs", memoryLock: low, slotsBytes: 256 << 20)
            let report = report(root, absent)
            let rdma = report.transports[0]
            #expect(!rdma.isAvailable && rdma.reason.contains("looked in \(root)/class/infiniband"))
            #expect(
                rdma.reason.contains("modprobe rdma_rxe") && rdma.reason.contains("netdev eth9")
                    && rdma.reason.contains("rdma-core"))
            #expect(report.transports.first { $0.name == "tcp" }?.reason == "over eth9")
            #expect(report.lines.contains("  none (looked in \(root)/class/infiniband)"))
            #expect(report.lines.contains("  cannot load libibverbs"))
            #expect(
                report.lines.contains {
                    $0.contains("locked memory: 8.39 MB (can be raised to unlimited); slots beyond it")
                        && $0.contains("LimitMEMLOCK=infinity") && $0.contains("IPC_LOCK capability helps root alone")
                })
        }
    }

    @Test func aDeviceIsShownWithWhatItWasFoundToEnforce() throws {
        var bounded = DoubleDevice("double0", host: 1)
        bounded.gids = [GIDEntry(index: 3, gid: GID(ipv4: 10, 77, 0, 1), kind: .roceV2)]
        var unbounded = DoubleDevice("double1", host: 2)
        unbounded.windowsBoundRange = false
        let double = VerbsDouble([bounded, unbounded])
        let found = RDMAReport.of(double.library, gid: .automatic, slotsBytes: 256 << 20, memoryLock: unlimited)
        #expect(double.census("double0").isEmpty && double.census("double1").isEmpty)
        try withTree(rdmaFiles("double0").merging(rdmaFiles("double1")) { $1 }) { root in
            let report = report(root, found)
            #expect(report.transports[0].isAvailable)
            #expect(report.transports[0].reason == "over double0 (10.77.0.1), double1 (10.77.0.2)")
            #expect(
                report.lines.contains {
                    $0.contains("double0") && $0.contains("100 Gb/s") && $0.contains("4096")
                        && $0.contains("10.77.0.1 (3)")
                })
            #expect(report.lines.contains { $0.contains("double0: leases by window; windows: enforces reader, read") })
            #expect(
                report.lines.contains { $0.contains("double1: leases by exact region") && $0.contains("not range") })
            #expect(report.lines.contains("  double1: files are read where they lie in the page cache"))
            let json = report.json.text(pretty: false)
            #expect(json.contains(#""mechanism":"exactRegion""#) && json.contains(#""bounds_range":false"#))
            #expect(json.contains(#""gid":"10.77.0.1","gid_index":3,"gid_kind":"roceV2""#))
            #expect(json.contains(#""library":true,"absence":null,"memlock_objection":null"#))
        }
    }

    @Test func whatStandsInTheWayIsNamedWithItsRemedy() throws {
        func reason(_ double: VerbsDouble, _ limit: MemoryLockLimit) throws -> String {
            let found = RDMAReport.of(double.library, gid: .automatic, slotsBytes: 256 << 20, memoryLock: limit)
            return try withTree(rdmaFiles("double0")) { root in
                let rdma = report(root, found).transports[0]
                #expect(!rdma.isAvailable)
                return rdma.reason
            }
        }
        // The memlock limit; a capability that counts lifts it.
        let memlock = try reason(VerbsDouble(), low)
        #expect(memlock.contains("memlock limit (8 MiB) is too low") && memlock.contains("LimitMEMLOCK=infinity"))
        let lifted = MemoryLockLimit(limitBytes: 8 << 20, isLifted: true, pinnedBytes: 0)
        let double = VerbsDouble()
        let found = withExtendedLifetime(double) {
            RDMAReport.of(double.library, gid: .automatic, slotsBytes: 256 << 20, memoryLock: lifted)
        }
        #expect(found.transport.isAvailable && found.memoryLockAdvice.contains("CAP_IPC_LOCK"))
        // A port that is down, one without an address, a device that enforces nothing, and none that may be used.
        var device = DoubleDevice("double0", host: 1)
        device.isUp = false
        #expect(try reason(VerbsDouble([device]), unlimited).contains("port 1 of double0 is down; check its cable"))
        device.isUp = true
        device.gids = []
        #expect(try reason(VerbsDouble([device]), unlimited).contains("the port has no address yet"))
        device = DoubleDevice("double0", host: 1)
        device.hasWindows = false
        device.regionsRefuseWrites = false
        #expect(try reason(VerbsDouble([device]), unlimited).contains("cannot keep a reader to its lease"))
        let denied = VerbsDouble([DoubleDevice("double0", host: 1)])
        denied.fail(.open, on: "double0", errorNumber: EACCES)
        #expect(try reason(denied, unlimited).contains("may not use the device; give it /dev/infiniband"))
        #expect(try reason(VerbsDouble([]), unlimited).contains("load ib_uverbs"))
    }

    // MARK: GPUs' memory

    @Test func aGPUIsShownWithTheNICsThatTakeItsMemory() throws {
        var refusing = DoubleDevice("double1", host: 2)
        refusing.takesDMABufs = false
        let double = VerbsDouble([DoubleDevice("double0", host: 1), refusing])
        let gpus = try AcceleratorDouble()
        let ports = try VerbsPort.all(double.library)
        let rdma = RDMAReport.of(double.library, gid: .automatic, slotsBytes: 1 << 20, memoryLock: unlimited)
        try withTree(rdmaFiles("double0").merging(rdmaFiles("double1")) { $1 }) { root in
            let found = AcceleratorReport.of(gpus.find(), Topology(root: root), ports, library: double.library)
            #expect(found.absence == nil && found.devices.count == 2)
            let report = report(root, rdma, found)
            #expect(
                report.lines.contains(
                    "  GPU 0 (Double 0, 0000:a0:00.0): double0 reads into its memory by DMA-buf (unknown)"))
            #expect(
                report.lines.contains {
                    $0.contains("GPU 1 (Double 1, 0000:a1:00.0): double1 does not take its memory: ")
                        && $0.contains("PCI_P2PDMA")
                })
            let json = report.json.text(pretty: false)
            #expect(json.contains(#""port":"double0","takes_memory":true,"distance":"unknown","why_not":null"#))
            #expect(json.contains(#""gpu_memory":{"absence":null"#) && json.contains(#""exports_dma_buf":true"#))
        }
        #expect(gpus.census.isEmpty)
        #expect(double.census("double0").isEmpty && double.census("double1").isEmpty)
    }

    @Test func whyAGPUsMemoryCannotBeUsedIsShown() throws {
        func lines(_ change: (inout AcceleratorDouble.Settings) -> Void) throws -> [String] {
            var settings = AcceleratorDouble.Settings()
            settings.devices = 1
            change(&settings)
            let gpus = try AcceleratorDouble(settings)
            let report = AcceleratorReport.of(gpus.find(), Topology(root: "/nowhere"), [], library: nil)
            #expect(gpus.census.isEmpty)
            return report.lines
        }
        let alone = try lines { _ in }
        #expect(
            alone == ["GPU 0 (Double 0, 0000:a0:00.0): exports memory by DMA-buf; no usable RDMA port to give it to"])
        let unable = try lines { $0.hasDMABuf = false }
        #expect(
            unable.count == 1 && unable[0].contains("memory not by RDMA: Double 0 cannot export memory as a DMA-buf"))
        let failing = try lines { $0.exportResult = 801 }
        #expect(failing.count == 1 && failing[0].contains("[cuMemGetHandleForAddressRange: result 801]"))
        let absent = try lines { $0.devices = 0 }
        #expect(absent.count == 1 && absent[0].hasPrefix("GPU memory by RDMA: not available: there is no GPU"))
        try withTree([:]) { root in
            let rdma = RDMAReport(absence: "no library", memoryLock: low, slotsBytes: 1 << 20)
            let absence = AcceleratorReport.of(
                Accelerators.find(library: "/nowhere/libcuda.so.1"), Topology(root: root), [], library: nil)
            let report = report(root, rdma, absence)
            #expect(
                report.lines.contains {
                    $0.hasPrefix("  GPU memory by RDMA: not available: no GPU driver's library (/nowhere/libcuda.so.1")
                })
            #expect(report.json.text(pretty: false).contains(#""gpu_memory":{"absence":"no GPU driver's library"#))
        }
    }

    @Test func filesThatCannotBeRegisteredAreFoundOut() throws {
        let double = VerbsDouble([DoubleDevice("double0", host: 1)])
        let port = try #require(try VerbsPort.all(double.library).first)
        #expect(port.isUsable && port.name == "double0")
        let file = open("/proc/self/exe", O_RDONLY)
        defer { close(file) }
        try port.probeFile(file, double.library)
        double.fail(.register, on: "double0", errorNumber: EFAULT)
        #expect {
            try port.probeFile(file, double.library)
        } throws: { error in
            "\(error)".contains("cannot be given pages of files") && "\(error)".contains("peer.data_dir")
        }
        #expect(double.census("double0").isEmpty)
    }
}
