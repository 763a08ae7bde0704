import Transport

/// What a reader needs for its READs: 40 bytes, little-endian.
///
/// Tag (8) · export (8) · address (8) · length (8) · rkey (4) · lane (1) · 3 zero bytes. The tag is the exporting
/// side's number for this link: a key that strayed to another link is refused before anything is posted, since a
/// denied READ costs the link it is posted on. That is politeness; what a hostile reader may do is decided by the
/// device.
package struct VerbsKey: Equatable {
    package static let bytes = 40
    package static let anyLane: UInt8 = 255

    package var tag: UInt64
    package var export: UInt64
    package var address: UInt64
    package var lengthBytes: UInt64
    package var remoteKey: UInt32
    /// The only queue pair a window is bound to, or `anyLane`.
    package var lane: UInt8

    init(tag: UInt64, export: UInt64, address: UInt64, lengthBytes: UInt64, remoteKey: UInt32, lane: UInt8) {
        self.tag = tag
        self.export = export
        self.address = address
        self.lengthBytes = lengthBytes
        self.remoteKey = remoteKey
        self.lane = lane
    }

    /// Reads a key; nil when it is not one of this transport.
    package init?(_ key: RemoteKey) {
        let parsed: VerbsKey? = key.withBytes { bytes in
            var reader = WireReader(bytes)
            guard bytes.count == Self.bytes, let tag = reader.read(UInt64.self),
                let export = reader.read(UInt64.self), let address = reader.read(UInt64.self),
                let length = reader.read(UInt64.self), let remoteKey = reader.read(UInt32.self),
                let lane = reader.read(UInt8.self), let zero = reader.read(UInt8.self),
                let zeroes = reader.read(UInt16.self), zero == 0, zeroes == 0,
                !address.addingReportingOverflow(length).overflow
            else { return nil }
            return VerbsKey(
                tag: tag, export: export, address: address, lengthBytes: length, remoteKey: remoteKey, lane: lane)
        }
        guard let parsed else { return nil }
        self = parsed
    }

    var key: RemoteKey {
        let words = (
            tag.littleEndian, export.littleEndian, address.littleEndian, lengthBytes.littleEndian,
            (UInt64(remoteKey) | UInt64(lane) << 32).littleEndian
        )
        return withUnsafeBytes(of: words) { RemoteKey($0)! }
    }

    /// Whether the range lies inside the export.
    func covers(offset: UInt64, lengthBytes count: UInt32) -> Bool {
        offset <= lengthBytes && UInt64(count) <= lengthBytes - offset
    }
}
