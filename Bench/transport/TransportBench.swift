// Moves pieces between two rails of one process and prints rate, CPU seconds per GiB and system calls per MiB.
//
//     swift run -c release bench-transport [tcp|local] [memory|sendfile|mmap] [streams] [GiB]
//
// Two cores are the least that tells anything: each rail fills one. Compare with `iperf3 -s` and `iperf3 -c 127.0.0.1`.

import Artifacts
import Foundation
import Rails
import Synchronization
import System
import Transport
import TransportLocal
import TransportTCP

/// Gathers a rail's events for the main thread, which waits for them.
final class Events: Sendable {
    private let waiting = Mutex<[RailEvent]>([])
    private let arrived = DispatchSemaphore(value: 0)

    func append(_ events: ArraySlice<RailEvent>) {
        waiting.withLock { $0 += events }
        arrived.signal()
    }

    /// The next events; ends the process when none come within ten seconds.
    func take() -> [RailEvent] {
        guard arrived.wait(timeout: .now() + 10) == .success else { fatalError("nothing happened for ten seconds") }
        return waiting.withLock { events in
            defer { events = [] }
            return events
        }
    }

    func first<Found>(_ find: (RailEvent) -> Found?) -> Found {
        while true {
            for event in take() { if let found = find(event) { return found } }
        }
    }
}

@main enum TransportBench {
    static func main() throws {
        let arguments = CommandLine.arguments.dropFirst()
        let isLocal = arguments.first == "local"
        let source = arguments.dropFirst().first ?? "memory"
        let streams = arguments.dropFirst(2).first.flatMap { Int($0) } ?? 2
        let gibibytes = arguments.dropFirst(3).first.flatMap { Double($0) } ?? 8
        let pieceBytes = 4 << 20
        let slots = 16
        let window = 8

        let parentMemory = try SharedMemory(name: "parent", lengthBytes: slots * pieceBytes)
        let childMemory = try SharedMemory(name: "child", lengthBytes: slots * pieceBytes)
        memset(parentMemory.base, 0x5A, parentMemory.lengthBytes)
        memset(childMemory.base, 0, childMemory.lengthBytes)
        let path = NSTemporaryDirectory() + "/martlet-bench-\(getpid())"
        let file = open(path, O_RDWR | O_CREAT | O_EXCL, 0o600)
        guard file >= 0, ftruncate(file, off_t(parentMemory.lengthBytes)) == 0,
            pwrite(file, parentMemory.base, parentMemory.lengthBytes, 0) == parentMemory.lengthBytes
        else { fatalError("cannot write \(path)") }
        unlink(path)

        func start(_ name: String, _ memory: RegionMemory, listens: Bool, _ events: Events) throws -> RailHandle {
            let identity = LinkIdentity(host: HostID(name)!, incarnation: 1, cluster: "bench")
            let sending = FileSending(rawValue: source) ?? .auto
            let streams = streams
            let socket = path + ".sock"
            if isLocal {
                return try RailHandle.start(
                    RailConfiguration(name: name), memory: [memory],
                    transport: { () throws(TransportError) in
                        try LocalTransport(LocalConfiguration(identity: identity, listenPath: listens ? socket : nil))
                    }, sink: { events.append($0) })
            }
            return try RailHandle.start(
                RailConfiguration(name: name), memory: [memory],
                transport: { () throws(TransportError) in
                    var configuration = TCPConfiguration(identity: identity, listen: listens ? "127.0.0.1:0" : nil)
                    configuration.dataStreams = streams
                    configuration.fileSending = sending
                    return try TCPTransport(configuration)
                }, sink: { events.append($0) })
        }

        func cpuSeconds() -> Double {
            var usage = rusage()
            getrusage(RUSAGE_SELF, &usage)
            return Double(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
                + Double(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6
        }

        let parentEvents = Events()
        let childEvents = Events()
        let parent = try start(
            "parent",
            RegionMemory(
                base: parentMemory.base, lengthBytes: parentMemory.lengthBytes, backing: (parentMemory.descriptor, 0)),
            listens: true, parentEvents)
        let child = try start(
            "child", RegionMemory(base: childMemory.base, lengthBytes: childMemory.lengthBytes), listens: false,
            childEvents)
        _ = child.submit([.connect(token: 1, to: parent.address!, deadlineNs: MonotonicClock.nowNs() + 5_000_000_000)])
        let link = childEvents.first { if case .linkUp(let link, _, _) = $0 { link } else { nil } }
        let inbound = parentEvents.first { if case .linkUp(let link, _, _) = $0 { link } else { nil } }

        /// Exports one piece, as a parent does for every grant.
        func export(_ piece: Int) -> Export {
            let offset = UInt64(piece % slots * pieceBytes)
            let range: ExportSource =
                source == "memory"
                ? .memory(region: parent.regions[0], offset: offset, lengthBytes: UInt64(pieceBytes))
                : .file(descriptor: file, range: ByteRange(offset: offset, length: UInt64(pieceBytes)))
            _ = parent.submit([.export(token: UInt64(piece), range, to: inbound)])
            return parentEvents.first { if case .exported(_, .success(let export)) = $0 { export } else { nil } }
        }

        let pieces = Int(gibibytes * Double(1 << 30)) / pieceBytes
        var exports: [Int: Export] = [:]
        var asked = 0
        func ask() {
            exports[asked] = export(asked)
            _ = child.submit([
                .read(
                    PieceRead(
                        link: link, key: exports[asked]!.key, region: child.regions[0],
                        localOffset: UInt64(asked % slots * pieceBytes),
                        lengthBytes: UInt64(pieceBytes), tag: UInt64(asked)))
            ])
            asked += 1
        }

        let startNs = MonotonicClock.nowNs()
        let startCPU = cpuSeconds()
        while asked < min(window, pieces) { ask() }
        var done = 0
        while done < pieces {
            for event in childEvents.take() {
                guard case .readCompleted(let tag, _, let failure) = event else { continue }
                guard failure == nil else { fatalError("piece \(tag) failed: \(failure!)") }
                done += 1
                if let export = exports.removeValue(forKey: Int(tag)) { _ = parent.submit([.revoke(export.id)]) }
                if asked < pieces { ask() }
            }
        }
        let seconds = Double(MonotonicClock.nowNs() - startNs) / 1e9
        let cpu = cpuSeconds() - startCPU
        let counters = (child.counters.transport, parent.counters.transport)
        child.shutdown()
        parent.shutdown()
        guard memcmp(childMemory.base, parentMemory.base, min(pieces, slots) * pieceBytes) == 0 else {
            fatalError("bytes differ")
        }
        let moved = Double(pieces * pieceBytes)
        print(
            String(
                format: "%@ %@ streams=%d: %.2f GB/s, %.3f CPU s/GiB, %.2f + %.2f system calls/MiB (reading + serving)",
                isLocal ? "local" : "tcp", source, streams, moved / seconds / 1e9, cpu / moved * Double(1 << 30),
                Double(counters.0.syscalls) / moved * Double(1 << 20),
                Double(counters.1.syscalls) / moved * Double(1 << 20)))
    }
}
