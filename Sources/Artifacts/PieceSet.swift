/// A set of pieces of one file, one bit a piece.
///
/// A piece goes absent → present and never back within one map; merging maps is a union.
public struct PieceSet: Hashable, Sendable {
    /// How many pieces the file has; members are below it.
    public let capacity: Int
    /// How many pieces are in the set.
    public internal(set) var count: Int
    @usableFromInline
    var words: [UInt64]

    /// An empty set for a file of `capacity` pieces.
    public init(capacity: Int) {
        self.capacity = capacity
        count = 0
        words = Array(repeating: 0, count: (capacity + 63) / 64)
    }

    /// Every piece of a file of `capacity` pieces.
    public static func full(capacity: Int) -> PieceSet {
        var set = PieceSet(capacity: capacity)
        for piece in 0..<capacity { set.insert(PieceIndex(piece)) }
        return set
    }

    /// Reads the wire form: bit `i & 7` (least significant first) of byte `i >> 3` is piece `i`.
    ///
    /// nil when the length is not that of the capacity or a bit beyond the capacity is set.
    public init?(capacity: Int, bytes: some Collection<UInt8>) {
        guard bytes.count == (capacity + 7) / 8 else { return nil }
        self.init(capacity: capacity)
        for (place, byte) in bytes.enumerated() {
            words[place >> 3] |= UInt64(byte) << UInt64(8 * (place & 7))
        }
        if capacity & 63 != 0, let last = words.last, last >> UInt64(capacity & 63) != 0 { return nil }
        count = words.reduce(0) { $0 + $1.nonzeroBitCount }
    }

    /// The wire form, `(capacity + 7) / 8` bytes.
    public var bytes: [UInt8] {
        (0..<(capacity + 7) / 8).map { UInt8(truncatingIfNeeded: words[$0 >> 3] >> UInt64(8 * ($0 & 7))) }
    }

    /// Whether the piece is in the set; false beyond the capacity.
    @inlinable
    public func contains(_ piece: PieceIndex) -> Bool {
        let place = Int(piece.value)
        return place < capacity && words[place >> 6] & (1 << UInt64(place & 63)) != 0
    }

    /// Adds a piece; false when it was there already. Traps beyond the capacity.
    @discardableResult
    public mutating func insert(_ piece: PieceIndex) -> Bool {
        let place = Int(piece.value)
        precondition(place < capacity, "\(piece) is outside a set of \(capacity)")
        let bit: UInt64 = 1 << UInt64(place & 63)
        guard words[place >> 6] & bit == 0 else { return false }
        words[place >> 6] |= bit
        count += 1
        return true
    }

    /// Takes a piece out (a map is being rebuilt: its digests were withdrawn); false when it was not there.
    @discardableResult
    public mutating func remove(_ piece: PieceIndex) -> Bool {
        guard contains(piece) else { return false }
        words[Int(piece.value) >> 6] &= ~(1 << UInt64(piece.value & 63))
        count -= 1
        return true
    }

    /// Adds all of another set of the same capacity.
    public mutating func formUnion(_ other: PieceSet) {
        precondition(capacity == other.capacity, "sets of \(capacity) and \(other.capacity) pieces do not merge")
        for index in words.indices { words[index] |= other.words[index] }
        count = words.reduce(0) { $0 + $1.nonzeroBitCount }
    }

    /// Whether every piece is there.
    public var isFull: Bool { count == capacity }
    /// Whether no piece is there.
    public var isEmpty: Bool { count == 0 }

    /// The pieces in the set, ascending.
    public var members: [PieceIndex] {
        var found: [PieceIndex] = []
        found.reserveCapacity(count)
        for (index, word) in words.enumerated() {
            var rest = word
            while rest != 0 {
                found.append(PieceIndex(index * 64 + rest.trailingZeroBitCount))
                rest &= rest - 1
            }
        }
        return found
    }

    /// The pieces not in the set, ascending.
    public var missing: [PieceIndex] {
        (0..<capacity).lazy.map { PieceIndex($0) }.filter { !contains($0) }
    }
}
