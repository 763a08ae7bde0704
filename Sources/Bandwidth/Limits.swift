import Glibc
import System

/// What a path could do at best, each measured or read beside the measurement; nil where it cannot be known.
public struct Limits: Sendable, Hashable {
    /// One thread's copy between memory that is in no cache, in bytes a second.
    public var memoryCopy: Double?
    /// A loop of plain send and receive between the two processes, over one TCP connection and the same memory.
    public var rawSocket: Double?
    /// The port's rate, in bytes a second.
    public var lineRate: Double?
    /// What the NIC's slot carries, in bytes a second.
    public var pcie: Double?
    /// The interface it is about.
    public var interface: String?
    /// Its largest packet.
    public var mtuBytes: Int?

    /// Nothing known.
    public init() {}

    /// The smallest of those that bound this path, and its name.
    public func least(isTCP: Bool) -> (name: String, bytesPerSecond: Double)? {
        var all: [(name: String, bytesPerSecond: Double)] = []
        if let memoryCopy { all.append(("memory copy", memoryCopy)) }
        if isTCP, let rawSocket { all.append(("raw socket loop", rawSocket)) }
        if let lineRate { all.append(("line rate", lineRate)) }
        if let pcie { all.append(("PCIe slot", pcie)) }
        return all.min { $0.bytesPerSecond < $1.bytesPerSecond }
    }

    /// What the interface with a local address can do.
    static func ofInterface(address: String, sys: String = "/sys") -> Limits {
        var limits = Limits()
        guard let name = Sockets.interface(of: address) else { return limits }
        limits.interface = name
        guard let device = Topology(root: sys).networkDevices.first(where: { $0.name == name }) else { return limits }
        limits.mtuBytes = device.mtuBytes
        limits.lineRate = device.speedMbps.map { Double($0) * 1e6 / 8 }
        if let pci = device.pci, let link = MachineCounts.pciLink(address: pci.address) {
            limits.pcie = pcieBytesPerSecond(speed: link.speed, lanes: link.lanes)
        }
        return limits
    }

    /// `16.0 GT/s PCIe` and 16 lanes: 31.5 GB/s, without the overhead of PCIe's packets.
    static func pcieBytesPerSecond(speed: String, lanes: Int) -> Double? {
        guard let transfers = speed.split(separator: " ").first.flatMap({ Double($0) }) else { return nil }
        // 2.5 and 5 GT/s are coded 8b/10b, faster ones 128b/130b.
        let share = transfers < 8 ? 0.8 : 128.0 / 130
        return transfers * 1e9 / 8 * share * Double(lanes)
    }

    /// Copies between two halves of memory for about a fifth of a second.
    static func measureMemoryCopy(in memory: BenchMemory) -> Double {
        let half = min(memory.lengthBytes / 2, 512 << 20)
        let block = min(4 << 20, half)
        let startNs = MonotonicClock.nowNs()
        var copied = 0
        var place = 0
        while MonotonicClock.nowNs() - startNs < 200_000_000 || copied < half {
            memcpy(memory.memory.base + half + place, memory.memory.base + place, block)
            copied += block
            place = place + 2 * block <= half ? place + block : 0
            if MonotonicClock.nowNs() - startNs > 1_000_000_000 { break }
        }
        return Double(copied) * 1e9 / Double(MonotonicClock.nowNs() - startNs)
    }
}

/// Plain send and receive over one TCP connection: what sockets give a program that does nothing else.
enum RawLoop {
    /// How long one side waits for the other.
    static let stallLimitMs = 10_000

    /// Sends from memory, or from the page cache behind it, round and round until the far side closes or the time is over.
    static func send(_ socket: CInt, from memory: BenchMemory, messageBytes: Int, fromFile: Bool, limitNs: UInt64) {
        let untilNs = MonotonicClock.nowNs() + limitNs
        var place = 0
        while MonotonicClock.nowNs() < untilNs {
            let count = min(messageBytes, memory.lengthBytes - place)
            let result =
                fromFile
                ? Sockets.sendFile(socket, from: memory.memory.descriptor, offset: UInt64(place), lengthBytes: count)
                : Sockets.send(socket, memory.bytes(at: place, count))
            switch result {
            case .moved(let sent): place = (place + sent) % memory.lengthBytes
            case .wouldBlock:
                guard Sockets.waitReady(socket, writing: true, limitMs: stallLimitMs) else { return }
            case .ended, .failed: return
            }
        }
    }

    /// Receives into memory, round and round for so long; bytes a second, nil when nothing came.
    static func receive(_ socket: CInt, into memory: BenchMemory, messageBytes: Int, durationNs: UInt64) -> Double? {
        var place = 0
        var startNs: UInt64 = 0
        var received = 0
        let warmUpNs = durationNs / 4
        let beganNs = MonotonicClock.nowNs()
        while true {
            let count = min(messageBytes, memory.lengthBytes - place)
            let target = UnsafeMutableRawBufferPointer(start: memory.memory.base + place, count: count)
            switch Sockets.receive(socket, into: target) {
            case .moved(let moved):
                place = (place + moved) % memory.lengthBytes
                let nowNs = MonotonicClock.nowNs()
                if startNs == 0 {
                    if nowNs - beganNs >= warmUpNs { startNs = nowNs }
                    continue
                }
                received += moved
                if nowNs - startNs >= durationNs { return Double(received) * 1e9 / Double(nowNs - startNs) }
            case .wouldBlock:
                guard Sockets.waitReady(socket, writing: false, limitMs: stallLimitMs) else { return nil }
            case .ended, .failed: return nil
            }
        }
    }
}
