/// CRC-32C (Castagnoli), chained: finds torn, stale and damaged records. It proves nothing about pieces; their digests
/// do.
package enum JournalChecksum {
    private static let table: [UInt32] = (0..<256).map { index in
        (0..<8).reduce(UInt32(index)) { value, _ in value & 1 == 1 ? (value >> 1) ^ 0x82f6_3b78 : value >> 1 }
    }

    /// Continues a checksum over more bytes; begin with 0.
    package static func extend(_ checksum: UInt32, _ bytes: some Collection<UInt8>) -> UInt32 {
        var value = ~checksum
        for byte in bytes { value = table[Int((value ^ UInt32(byte)) & 0xff)] ^ (value >> 8) }
        return ~value
    }
}
