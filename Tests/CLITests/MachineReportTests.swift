import Glibc
import System
import Testing

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
    private func report(_ root: String, hasVerbsLibrary: Bool) -> MachineReport {
        MachineReport(
            kernel: "6.1", topology: Topology(root: root), lockedMemory: .init(soft: 8 << 20, hard: nil),
            openFiles: nil,
            availableMemoryBytes: 1 << 30, hasVerbsLibrary: hasVerbsLibrary, socketPath: "/run/x.sock",
            isSocketThere: false)
    }

    private let rdmaFiles = [
        "class/infiniband/rxe0/ports/1/state": "4: ACTIVE\n",
        "class/infiniband/rxe0/ports/1/rate": "100 Gb/sec (4X EDR)\n",
        "class/infiniband/rxe0/ports/1/link_layer": "Ethernet\n", "class/infiniband/rxe0/parent": "eth0\n",
    ]

    @Test func withoutDevicesSaysWhereItLookedAndWhatToDo() throws {
        try withTree(["class/net/eth9/operstate": "up\n", "class/net/lo/operstate": "unknown\n"]) { root in
            let report = report(root, hasVerbsLibrary: false)
            let rdma = report.transports[0]
            #expect(!rdma.isAvailable && rdma.reason.contains("looked in \(root)/class/infiniband"))
            #expect(
                rdma.reason.contains("modprobe rdma_rxe") && rdma.reason.contains("netdev eth9")
                    && rdma.reason.contains("rdma-core"))
            #expect(report.transports.first { $0.name == "tcp" }?.reason == "over eth9")
            #expect(report.lines.contains("  none (looked in \(root)/class/infiniband)"))
            #expect(
                report.lines.contains {
                    $0.contains("locked memory: 8.39 MB (can be raised to unlimited); slots beyond it")
                })
        }
    }

    @Test func withADeviceNamesWhatIsMissing() throws {
        try withTree(rdmaFiles) { root in
            #expect(
                report(root, hasVerbsLibrary: false).transports[0].reason.contains("apt install rdma-core"))
            #expect(
                report(root, hasVerbsLibrary: true).transports[0].reason.contains(
                    "this build has no RDMA transport"))
            #expect(
                report(root, hasVerbsLibrary: true).lines.contains {
                    $0.contains("rxe0") && $0.contains("100 Gb/s")
                })
            #expect(
                report(root, hasVerbsLibrary: true).transports.first { $0.name == "tcp" }?.reason.contains(
                    "loopback only") == true)
        }
        try withTree(rdmaFiles.merging(["class/infiniband/rxe0/ports/1/state": "1: DOWN\n"]) { $1 }) { root in
            #expect(
                report(root, hasVerbsLibrary: true).transports[0].reason.contains("no port of rxe0 is ACTIVE")
            )
        }
    }
}
