import Artifacts
import Digests
import Glibc
import System
import Transport

/// The memory that one side moves bytes from or into, and what every byte of it has to be.
///
/// A page is a copy of one of 64 random pages with its own number and the content's seed stamped over its first 16 bytes:
/// quick to make and to compare, and no two pages are equal.
public final class BenchMemory: Sendable {
    let memory: SharedMemory
    /// How long it is: whole pages of 2 MiB.
    public let lengthBytes: Int

    static let pageBytes = 4096

    /// Takes and touches memory.
    public init(lengthBytes: Int, pages: SharedMemory.Pages = .normal, node: Int? = nil) throws(BenchError) {
        let granule = SharedMemory.hugePageBytes
        let rounded = (lengthBytes + granule - 1) / granule * granule
        self.lengthBytes = rounded
        if let available = MachineMemory.availableBytes(), UInt64(rounded) > available / 4 * 3 {
            throw BenchError(
                .impossible,
                "\(rounded >> 20) MiB of memory are more than three quarters of what is free (\(available >> 20) MiB); give a "
                    + "smaller --memory")
        }
        do throws(Errno) {
            let memory = try SharedMemory(name: "bench", lengthBytes: rounded, pages: pages)
            if let node { try memory.bind(toNode: node) }
            try memory.populate(on: try CPUSet.ofCallingThread())
            self.memory = memory
        } catch {
            let remedy = pages == .huge2MiB ? "; reserve huge pages (vm.nr_hugepages) or leave --pages out" : ""
            throw BenchError(
                .impossible, "\(rounded >> 20) MiB of memory cannot be had: \(error)\(remedy); give a smaller --memory")
        }
    }

    /// As a transport takes it. The memory outlives the transport: its side keeps both.
    var region: RegionMemory {
        RegionMemory(base: memory.base, lengthBytes: lengthBytes, backing: (memory.descriptor, 0))
    }

    func bytes(at offset: Int, _ count: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: memory.base + offset, count: count)
    }

    /// Fills all of it with the content of a seed.
    func fill(seed: UInt64) {
        BenchContent(seed: seed).write(
            into: UnsafeMutableRawBufferPointer(start: memory.base, count: lengthBytes), from: 0)
    }

    /// Makes every byte zero.
    func clear() { memory.base.initializeMemory(as: UInt8.self, repeating: 0, count: lengthBytes) }
}

/// What bytes a source has: a function of a seed and the place.
struct BenchContent: Sendable {
    private let seed: UInt64
    private let pages: [UInt8]
    private static let distinctPages = 64

    init(seed: UInt64) {
        self.seed = seed
        var state = seed | 1
        var pages = [UInt8](repeating: 0, count: Self.distinctPages * BenchMemory.pageBytes)
        pages.withUnsafeMutableBytes { bytes in
            for place in stride(from: 0, to: bytes.count, by: 8) {
                // xorshift64*
                state ^= state >> 12
                state ^= state << 25
                state ^= state >> 27
                bytes.storeBytes(of: state &* 0x2545_F491_4F6C_DD1D, toByteOffset: place, as: UInt64.self)
            }
        }
        self.pages = pages
    }

    /// Writes the content from a place on, both whole pages.
    func write(into target: UnsafeMutableRawBufferPointer, from offset: Int) {
        let size = BenchMemory.pageBytes
        precondition(offset % size == 0 && target.count % size == 0, "content comes in whole pages")
        pages.withUnsafeBytes { pages in
            for place in stride(from: 0, to: target.count, by: size) {
                let page = (offset + place) / size
                let start = target.baseAddress! + place
                start.copyMemory(from: pages.baseAddress! + page % Self.distinctPages * size, byteCount: size)
                start.storeBytes(of: UInt64(page), as: UInt64.self)
                start.storeBytes(of: seed, toByteOffset: 8, as: UInt64.self)
            }
        }
    }

    /// Whether every byte is what it has to be.
    func matches(_ bytes: UnsafeRawBufferPointer, from offset: Int) -> Bool {
        let size = BenchMemory.pageBytes
        return pages.withUnsafeBytes { pages in
            for place in stride(from: 0, to: bytes.count, by: size) {
                let page = (offset + place) / size
                let start = bytes.baseAddress! + place
                guard start.loadUnaligned(as: UInt64.self) == UInt64(page),
                    start.loadUnaligned(fromByteOffset: 8, as: UInt64.self) == seed,
                    memcmp(start + 16, pages.baseAddress! + page % Self.distinctPages * size + 16, size - 16) == 0
                else { return false }
            }
            return true
        }
    }

    /// The digest of every piece of so many bytes, as a download knows it beforehand.
    func digests(lengthBytes: Int, pieceBytes: Int) -> [Digest] {
        let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: pieceBytes, alignment: 64)
        defer { piece.deallocate() }
        return (0..<lengthBytes / pieceBytes).map { number in
            write(into: piece, from: number * pieceBytes)
            return Digests.piece(UnsafeRawBufferPointer(piece))
        }
    }
}
