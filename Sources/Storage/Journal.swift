import Artifacts

/// What a task's journal begins with.
struct JournalHeader: Hashable, Sendable {
    /// Bytes of the header on disk.
    static let sizeBytes = 128
    private static let magic = Array("MARTLETJ".utf8)
    private static let version: UInt32 = 1

    /// Whose pieces these are.
    let task: TaskID
    /// The file's size.
    let fileBytes: UInt64
    /// The boot under which the records were appended.
    let boot: BootID

    /// The header on disk; its checksum is the seed of the record chain.
    var bytes: [UInt8] {
        var bytes = JournalHeader.magic
        bytes.append(number: JournalHeader.version)
        bytes.append(number: UInt32(task.digest.algorithm.rawValue))
        bytes.append(padded: task.digest.bytes, to: 32)
        bytes.append(number: fileBytes)
        bytes.append(number: PieceLayout(fileBytes: fileBytes).pieceBytes)
        bytes.append(number: UInt32(0))
        bytes.append(contentsOf: boot.bytes)
        bytes.append(padded: [], to: JournalHeader.sizeBytes - 4 - bytes.count)
        bytes.append(number: JournalChecksum.extend(0, bytes))
        return bytes
    }

    init(task: TaskID, fileBytes: UInt64, boot: BootID) {
        self.task = task
        self.fileBytes = fileBytes
        self.boot = boot
    }

    /// Reads a header; nil when it is short, damaged, of another version, or cut into other pieces than this program
    /// cuts.
    init?(_ bytes: ArraySlice<UInt8>) {
        guard bytes.count >= JournalHeader.sizeBytes else { return nil }
        let whole = Array(bytes.prefix(JournalHeader.sizeBytes))
        guard Array(whole[0..<8]) == JournalHeader.magic,
            whole.number(at: 124, UInt32.self) == JournalChecksum.extend(0, whole[..<124]),
            whole.number(at: 8, UInt32.self) == JournalHeader.version,
            let algorithm = Digest.Algorithm(rawValue: whole[12]),
            let digest = Digest(algorithm, bytes: whole[16..<16 + algorithm.byteCount])
        else { return nil }
        task = TaskID(digest)
        fileBytes = whole.number(at: 48, UInt64.self)
        boot = BootID(bytes: Array(whole[64..<80]))
        guard fileBytes <= Limits.fileBytesMax,
            whole.number(at: 56, UInt32.self) == PieceLayout(fileBytes: fileBytes).pieceBytes
        else { return nil }
    }

    /// Where the record chain begins.
    var chain: UInt32 { bytes.number(at: JournalHeader.sizeBytes - 4, UInt32.self) }
}

/// One line of a task's journal, 48 bytes on disk.
///
/// Kind (1 byte), digest algorithm (1), zero (2), piece (4), value (32), zero (4), checksum (4), little-endian. The
/// checksum continues that of the record before, so a hole or a stale block ends the chain and nothing behind it is
/// believed.
enum JournalRecord: Hashable, Sendable {
    /// Bytes of a record on disk.
    static let sizeBytes = 48

    /// The piece is in the file, whole, and has this digest.
    case kept(PieceIndex, Digest)
    /// The piece turned out wrong and is not held any more.
    case dropped(PieceIndex)
    /// The file was synced: the pieces of the first `covers` records are on the device.
    case checkpoint(covers: UInt64)
    /// The whole file was checked and synced; it was last modified at this time and never is again.
    case complete(modifiedNs: Int64)

    /// The record on disk, continuing `chain`, and where the chain stands after it.
    func encoded(chain: inout UInt32) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(JournalRecord.sizeBytes)
        switch self {
        case .kept(let piece, let digest):
            bytes.append(contentsOf: [1, digest.algorithm.rawValue, 0, 0])
            bytes.append(number: piece.value)
            bytes.append(padded: digest.bytes, to: 32)
        case .dropped(let piece):
            bytes.append(contentsOf: [2, 0, 0, 0])
            bytes.append(number: piece.value)
        case .checkpoint(let covers):
            bytes.append(contentsOf: [3, 0, 0, 0, 0, 0, 0, 0])
            bytes.append(number: covers)
        case .complete(let modifiedNs):
            bytes.append(contentsOf: [4, 0, 0, 0, 0, 0, 0, 0])
            bytes.append(number: modifiedNs)
        }
        bytes.append(padded: [], to: JournalRecord.sizeBytes - 4 - bytes.count)
        chain = JournalChecksum.extend(chain, bytes)
        bytes.append(number: chain)
        return bytes
    }

    /// Reads a record; nil when it does not continue the chain.
    init?(_ slice: ArraySlice<UInt8>, chain: inout UInt32) {
        let bytes = Array(slice)
        guard bytes.count == JournalRecord.sizeBytes else { return nil }
        let next = JournalChecksum.extend(chain, bytes[..<(JournalRecord.sizeBytes - 4)])
        guard bytes.number(at: JournalRecord.sizeBytes - 4, UInt32.self) == next else { return nil }
        switch bytes[0] {
        case 1:
            guard let algorithm = Digest.Algorithm(rawValue: bytes[1]),
                let digest = Digest(algorithm, bytes: bytes[8..<8 + algorithm.byteCount])
            else { return nil }
            self = .kept(PieceIndex(bytes.number(at: 4, UInt32.self)), digest)
        case 2: self = .dropped(PieceIndex(bytes.number(at: 4, UInt32.self)))
        case 3: self = .checkpoint(covers: bytes.number(at: 8, UInt64.self))
        case 4: self = .complete(modifiedNs: bytes.number(at: 8, Int64.self))
        default: return nil
        }
        chain = next
    }
}

/// What a journal proves, after reading it from the start as far as its chain holds.
package struct JournalReplay: Sendable {
    /// The most a journal may hold: every piece kept, dropped and kept again some times over, and checkpoints.
    static func bytesMax(pieces: Int) -> UInt64 {
        UInt64(JournalHeader.sizeBytes) + (UInt64(pieces) * 8 + 65_536) * UInt64(JournalRecord.sizeBytes)
    }

    let header: JournalHeader
    /// Pieces the records say are held, with their digests.
    package private(set) var held: PieceSet
    private(set) var digests: [Digest?]
    /// Held pieces that no checkpoint covers, with the place of their record.
    private(set) var uncovered: [PieceIndex: UInt64] = [:]
    /// When the complete file was last modified; nil while it is not complete.
    private(set) var completeModifiedNs: Int64? = nil
    /// How many records hold, where they end, and where the chain stands there.
    package private(set) var records: UInt64 = 0
    private(set) var endOffset = UInt64(JournalHeader.sizeBytes)
    private(set) var chain: UInt32

    /// Reads a journal; nil when not even its header holds.
    package init?(_ bytes: [UInt8]) {
        guard let header = JournalHeader(bytes[...]) else { return nil }
        self.header = header
        let pieces = PieceLayout(fileBytes: header.fileBytes).count
        held = PieceSet(capacity: pieces)
        digests = Array(repeating: nil, count: pieces)
        chain = header.chain
        var position = JournalHeader.sizeBytes
        while position + JournalRecord.sizeBytes <= bytes.count {
            let next = position + JournalRecord.sizeBytes
            var chain = chain
            guard let record = JournalRecord(bytes[position..<next], chain: &chain), apply(record) else {
                return
            }
            self.chain = chain
            records += 1
            position = next
            endOffset = UInt64(position)
        }
    }

    private mutating func apply(_ record: JournalRecord) -> Bool {
        switch record {
        case .kept(let piece, let digest):
            guard Int(piece.value) < held.capacity else { return false }
            held.insert(piece)
            digests[Int(piece.value)] = digest
            uncovered[piece] = records
        case .dropped(let piece):
            guard Int(piece.value) < held.capacity else { return false }
            held.remove(piece)
            digests[Int(piece.value)] = nil
            uncovered[piece] = nil
            completeModifiedNs = nil
        case .checkpoint(let covers):
            guard covers <= records else { return false }
            uncovered = uncovered.filter { $0.value >= covers }
        case .complete(let modifiedNs):
            guard held.isFull else { return false }
            completeModifiedNs = modifiedNs
        }
        return true
    }
}

extension [UInt8] {
    mutating func append(number: some FixedWidthInteger) {
        Swift.withUnsafeBytes(of: number.littleEndian) { append(contentsOf: $0) }
    }

    mutating func append(padded bytes: [UInt8], to count: Int) {
        append(contentsOf: bytes)
        append(contentsOf: repeatElement(0, count: count - bytes.count))
    }

    func number<Number: FixedWidthInteger>(at offset: Int, _: Number.Type) -> Number {
        (0..<MemoryLayout<Number>.size).reduce(0) {
            $0 | Number(truncatingIfNeeded: self[offset + $1]) << (8 * $1)
        }
    }
}
