import Glibc
import Transport

/// Memory whose content follows from a seed, so that any process knows what any byte has to be.
///
/// Safety: of one thread; the device writes only where a READ was posted.
final class SeededMemory: @unchecked Sendable {
    let base: UnsafeMutableRawPointer
    let lengthBytes: Int

    /// Zeroed memory, all of it touched.
    init(lengthBytes: Int) {
        let mapped = mmap(
            nil, lengthBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0)
        guard let mapped, mapped != MAP_FAILED else { fatalError("no memory of \(lengthBytes) bytes") }
        base = mapped
        self.lengthBytes = lengthBytes
    }

    /// Memory filled from a seed (splitmix64).
    convenience init(seed: UInt64, lengthBytes: Int) {
        self.init(lengthBytes: lengthBytes)
        let words = base.assumingMemoryBound(to: UInt64.self)
        var state = seed
        for index in 0..<lengthBytes / 8 {
            state &+= 0x9E37_79B9_7F4A_7C15
            var word = state
            word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
            word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
            words[index] = word ^ (word >> 31)
        }
    }

    deinit { munmap(base, lengthBytes) }

    var region: RegionMemory { RegionMemory(base: base, lengthBytes: lengthBytes) }

    /// Whether a range is the same in both.
    func equals(_ other: SeededMemory, offset: Int, lengthBytes: Int) -> Bool {
        memcmp(base + offset, other.base + offset, lengthBytes) == 0
    }

    /// How many bytes differ; counted only where something does.
    func differences(from other: SeededMemory) -> Int {
        if memcmp(base, other.base, lengthBytes) == 0 { return 0 }
        return (0..<lengthBytes).count {
            base.load(fromByteOffset: $0, as: UInt8.self) != other.base.load(fromByteOffset: $0, as: UInt8.self)
        }
    }

    func blank(offset: Int, lengthBytes: Int) { memset(base + offset, 0, lengthBytes) }
}
