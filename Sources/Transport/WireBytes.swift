/// Writes little-endian fields one after another.
package struct WireWriter {
    package private(set) var bytes: [UInt8] = []

    package init(reservingBytes: Int = 64) { bytes.reserveCapacity(reservingBytes) }

    /// Forgets what was written and keeps the room.
    package mutating func removeAll() { bytes.removeAll(keepingCapacity: true) }

    package mutating func write(_ value: some FixedWidthInteger) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }

    package mutating func write(bytes raw: some Sequence<UInt8>) { bytes.append(contentsOf: raw) }

    /// A text or byte string of at most 255 bytes, with its length before it.
    package mutating func write(short raw: some Collection<UInt8>) {
        precondition(raw.count <= 255, "a short string has at most 255 bytes")
        write(UInt8(raw.count))
        bytes.append(contentsOf: raw)
    }
}

/// Reads little-endian fields one after another; every read beyond the end is nil, so that any bytes can be decoded.
package struct WireReader {
    private var rest: UnsafeRawBufferPointer

    package init(_ bytes: UnsafeRawBufferPointer) { rest = bytes }

    /// How many bytes are left.
    package var count: Int { rest.count }

    package mutating func read<Value: FixedWidthInteger>(_ type: Value.Type = Value.self) -> Value? {
        let size = MemoryLayout<Value>.size
        guard rest.count >= size else { return nil }
        let value = rest.loadUnaligned(as: Value.self)
        rest = UnsafeRawBufferPointer(rebasing: rest[size...])
        return Value(littleEndian: value)
    }

    package mutating func read(count: Int) -> UnsafeRawBufferPointer? {
        guard count >= 0, rest.count >= count else { return nil }
        let part = UnsafeRawBufferPointer(rebasing: rest[..<count])
        rest = UnsafeRawBufferPointer(rebasing: rest[count...])
        return part
    }

    /// What `write(short:)` wrote.
    package mutating func readShort() -> UnsafeRawBufferPointer? {
        guard let length = read(UInt8.self) else { return nil }
        return read(count: Int(length))
    }
}
