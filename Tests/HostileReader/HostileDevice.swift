import Glibc
import System
import TransportVerbs
import Transport
import Verbs

/// One end of a queue pair of ours.
final class HostileEnd {
    let pair: QueuePair
    let sequence: UInt32
    var number: UInt32 { pair.number }

    init(_ pair: consuming QueuePair, sequence: UInt32) {
        self.pair = pair
        self.sequence = sequence
    }

    var end: LaneEnd { LaneEnd(number: number, packetSequenceNumber: sequence) }
}

/// A device in the hands of somebody who keeps no rule: raw queue pairs, and memory that takes everything.
///
/// Safety: of one thread.
final class HostileDevice {
    let device: Device
    let port: PortAttributes
    let gid: GIDEntry
    let sink: SeededMemory
    /// What stands where the far side looks for our generation word.
    let word: UInt64 = 0x5EED_0F_BAD_5EED
    private let domain: ProtectionDomain
    private let queue: CompletionQueue
    private let region: MemoryRegion
    private var lastID: UInt64 = 0

    static let sinkBytes = 4 << 20
    static let wordOffset = sinkBytes - 4096
    private static let patienceNs: UInt64 = 8_000_000_000

    init(_ name: String) throws {
        device = try VerbsLibrary.load().open(name)
        port = try device.port(1)
        guard case .chosen(let entry) = GIDSelection.automatic.choose(from: try device.gids(port: 1)) else {
            throw TransportError(.system, "\(name) has no address")
        }
        gid = entry
        queue = try CompletionQueue(device, entries: 4096)
        domain = try ProtectionDomain(device)
        sink = SeededMemory(lengthBytes: Self.sinkBytes)
        region = try MemoryRegion(
            in: domain, base: sink.base, lengthBytes: Self.sinkBytes, access: [.localWrite, .remoteRead, .remoteWrite])
        (sink.base + Self.wordOffset).storeBytes(of: word, as: UInt64.self)
    }

    var wordAddress: UInt64 { UInt64(UInt(bitPattern: sink.base + Self.wordOffset)) }
    var key: UInt32 { region.remoteKey }

    func end() throws -> HostileEnd {
        HostileEnd(
            try QueuePair(in: domain, on: queue, sendRequestsMax: 8),
            sequence: UInt32(truncatingIfNeeded: Entropy.uint64()) & 0xFF_FFFF)
    }

    func offer(fetch: [HostileEnd], serve: [HostileEnd]) -> LinkOffer {
        let bytes = gid.gid.bytes
        func half(_ range: Range<Int>) -> UInt64 { bytes[range].reduce(0) { $0 << 8 | UInt64($1) } }
        return LinkOffer(
            linkLayer: port.linkLayer == .infiniBand ? 1 : 2, gidType: gid.kind == .roceV2 ? 2 : 1,
            gid: (half(0..<8), half(8..<16)), lid: port.lid, mtuBytes: UInt16(port.activeMTU.bytes),
            readsInitiatedMax: 16, readsServedMax: 16, keyTag: 7, wordAddress: wordAddress, wordKey: key, word: word,
            fetchEnds: fetch.map(\.end), serveEnds: serve.map(\.end))
    }

    /// Connects an end of ours; it admits everything.
    func raise(_ end: HostileEnd, to far: LaneEnd, of theirs: LinkOffer) throws {
        func bytes(_ word: UInt64) -> [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: word >> (56 - 8 * $0)) } }
        let mtu = PathMTU.allCases.last { $0.bytes <= Int(theirs.mtuBytes) } ?? .bytes256
        let path = PathSettings(
            port: 1, gidIndex: gid.index, remoteGID: GID(bytes(theirs.gid.0) + bytes(theirs.gid.1)),
            pathMTU: min(port.activeMTU, mtu))
        try end.pair.initialise(port: 1, access: [.remoteRead, .remoteWrite])
        try end.pair.readyToReceive(
            path: path, remoteNumber: far.number, remotePSN: far.packetSequenceNumber, maxReadsServed: 16)
        try end.pair.readyToSend(psn: end.sequence, timeoutExponent: 14, retries: 5, maxReadsInitiated: 16)
    }

    /// Posts one READ or WRITE and waits for its end; nil when there is none in time.
    func shoot(
        _ end: HostileEnd, write: Bool = false, at address: UInt64, lengthBytes: Int, key remoteKey: UInt32
    ) throws -> CompletionStatus? {
        lastID += 1
        let id = lastID
        var list = SendList(capacity: 1)
        let local = UInt64(UInt(bitPattern: sink.base))
        if write {
            list.appendWrite(
                localAddress: local, lengthBytes: UInt32(lengthBytes), localKey: region.localKey,
                remoteAddress: address, remoteKey: remoteKey, id: id, isSignaled: true)
        } else {
            sink.blank(offset: 0, lengthBytes: lengthBytes)
            list.appendRead(
                localAddress: local, lengthBytes: UInt32(lengthBytes), localKey: region.localKey,
                remoteAddress: address, remoteKey: remoteKey, id: id, isSignaled: true)
        }
        guard end.pair.post(&list).isComplete else { return .flushed }
        let untilNs = MonotonicClock.nowNs() + Self.patienceNs
        return try withUnsafeTemporaryAllocation(of: WorkCompletion.self, capacity: 16) { batch in
            while true {
                let count = try queue.poll(into: batch)
                for completion in batch[..<count] where completion.id == id { return completion.status }
                if MonotonicClock.nowNs() > untilNs { return nil }
                if count == 0 { MonotonicClock.sleep(ns: 100_000) }
            }
        }
    }
}
