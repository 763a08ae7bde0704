import Glibc
import Testing

@testable import System

/// Reading past the page cache.
@Suite struct FilesDirectTests {
    @Test func aRangeIsReadWholeOrTheCallerIsToldToReadAsUsual() throws {
        var template = Array("/var/tmp/martlet-direct-XXXXXX".utf8CString)
        let file = FileDescriptor(owning: template.withUnsafeMutableBufferPointer { mkstemp($0.baseAddress!) })
        template.withUnsafeBufferPointer { _ = unlink($0.baseAddress!) }
        let content = (0..<20_001).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        try content.withUnsafeBytes { try file.write($0, at: 0) }
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 32 << 10, alignment: 4096)
        defer { memory.deallocate() }
        for (offset, length) in [(0, 8192), (4096, 5000), (16384, 3617), (16384, 4096), (24576, 1)] {
            // Not every file system can; one that can gives the right bytes.
            guard let count = try file.readDirect(at: UInt64(offset), lengthBytes: length, into: memory) else {
                continue
            }
            let expected = Array(content[min(offset, content.count)..<min(offset + length, content.count)])
            #expect(Array(memory[..<count]) == expected)
        }
        // Never where the device could not: odd offset, odd address, no room for the last block.
        #expect(try file.readDirect(at: 1, lengthBytes: 10, into: memory) == nil)
        let odd = UnsafeMutableRawBufferPointer(rebasing: memory[1...])
        #expect(try file.readDirect(at: 0, lengthBytes: 10, into: odd) == nil)
        let small = UnsafeMutableRawBufferPointer(rebasing: memory[..<4095])
        #expect(try file.readDirect(at: 0, lengthBytes: 10, into: small) == nil)
    }
}
