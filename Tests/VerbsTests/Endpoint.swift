import System
import Verbs

/// One end of a connection on a device, with memory: what most tests need. Everything is closed with it.
final class Endpoint {
    let device: Device
    let port: PortAttributes
    let gid: GIDEntry
    let domain: ProtectionDomain
    let queue: CompletionQueue
    var pair: QueuePair?
    let lengthBytes: Int
    let region: MemoryRegion
    // After the region: members end in order.
    private let owned: OwnedMemory
    var memory: UnsafeMutableRawPointer { owned.base }
    private let buffer: UnsafeMutableBufferPointer<WorkCompletion>

    /// Waiting never takes longer.
    static let patienceNs: UInt64 = 10_000_000_000

    init(
        _ library: VerbsLibrary, _ name: String, lengthBytes: Int = 1 << 20, entries: Int = 256,
        access: MemoryAccess = [.localWrite, .remoteRead], serves: MemoryAccess = .remoteRead, requests: Int = 64
    ) throws {
        let device = try library.open(name)
        let port = try device.port(1)
        let gid = try Endpoint.address(device, 1)
        let domain = try ProtectionDomain(device)
        let queue = try CompletionQueue(device, entries: entries)
        let memory = OwnedMemory(lengthBytes)
        let region = try MemoryRegion(in: domain, base: memory.base, lengthBytes: lengthBytes, access: access)
        let pair = try QueuePair(in: domain, on: queue, sendRequestsMax: requests)
        try pair.initialise(port: 1, access: serves)
        self.device = device
        self.port = port
        self.gid = gid
        self.domain = domain
        self.queue = queue
        owned = memory
        self.lengthBytes = lengthBytes
        self.region = region
        self.pair = consume pair
        buffer = .allocate(capacity: 64)
        buffer.initialize(repeating: WorkCompletion())
    }

    deinit { buffer.deallocate() }

    /// The address table may fill late.
    private static func address(_ device: borrowing Device, _ port: Int) throws -> GIDEntry {
        let deadlineNs = MonotonicClock.nowNs() + patienceNs
        while true {
            let answer = GIDSelection.automatic.choose(from: try device.gids(port: port))
            if case .chosen(let entry) = answer { return entry }
            if MonotonicClock.nowNs() > deadlineNs { throw VerbsError(.notActive, "\(answer)") }
        }
    }

    var number: UInt32 { pair?.number ?? 0 }

    func connect(
        to other: Endpoint, readsMax: Int = 16, timeoutExponent: UInt8 = 14, retries: UInt8 = 6
    ) throws {
        let path = PathSettings(
            port: 1, gidIndex: gid.index, remoteGID: other.gid.gid, remoteLID: other.port.lid,
            pathMTU: min(port.activeMTU, other.port.activeMTU))
        try pair!.readyToReceive(path: path, remoteNumber: other.number, remotePSN: 77, maxReadsServed: readsMax)
        try pair!.readyToSend(
            psn: 77, timeoutExponent: timeoutExponent, retries: retries, maxReadsInitiated: readsMax)
    }

    static func join(_ one: Endpoint, _ other: Endpoint) throws {
        try one.connect(to: other)
        try other.connect(to: one)
    }

    func pattern(seed: Int) {
        let bytes = memory.assumingMemoryBound(to: UInt8.self)
        for index in 0..<lengthBytes { bytes[index] = UInt8(truncatingIfNeeded: index &* 31 &+ seed &+ index >> 8) }
    }

    func holdsPattern(seed: Int, from: Int = 0, count: Int) -> Bool {
        let bytes = memory.assumingMemoryBound(to: UInt8.self)
        return (from..<from + count).allSatisfy { bytes[$0] == UInt8(truncatingIfNeeded: $0 &* 31 &+ seed &+ $0 >> 8) }
    }

    /// What completes next, sleeping on the completion channel; empty when patience ends.
    func completions(atLeast wanted: Int = 1, patienceNs: UInt64 = Endpoint.patienceNs) throws -> [WorkCompletion] {
        var found: [WorkCompletion] = []
        let deadlineNs = MonotonicClock.nowNs() + patienceNs
        let poller = try EpollQueue()
        try poller.add(queue.descriptor, .reading, token: 1)
        while found.count < wanted, MonotonicClock.nowNs() < deadlineNs {
            try queue.arm()
            let count = try queue.poll(into: buffer)
            found += buffer.prefix(count)
            if count == 0 {
                var ready: [EpollQueue.Ready] = []
                try poller.wait(limitMs: 50, into: &ready)
                try queue.consumeEvent()
            }
        }
        return found
    }
}

/// Memory that ends with its owner.
final class OwnedMemory {
    let base: UnsafeMutableRawPointer

    init(_ lengthBytes: Int) {
        base = .allocate(byteCount: lengthBytes, alignment: 4096)
        base.initializeMemory(as: UInt8.self, repeating: 0, count: lengthBytes)
    }

    deinit { base.deallocate() }
}
