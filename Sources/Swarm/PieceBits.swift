/// One bit for each piece of a download, over `PieceNumbering`'s numbers.
struct PieceBits: Sendable {
    private(set) var words: [UInt64]
    private(set) var count = 0

    init(capacity: Int) { words = Array(repeating: 0, count: (capacity + 63) / 64) }

    func contains(_ number: Int) -> Bool { words[number >> 6] & (1 << UInt64(number & 63)) != 0 }

    /// False when it was there already.
    @discardableResult
    mutating func insert(_ number: Int) -> Bool {
        let bit: UInt64 = 1 << UInt64(number & 63)
        guard words[number >> 6] & bit == 0 else { return false }
        words[number >> 6] |= bit
        count += 1
        return true
    }

    /// False when it was not there.
    @discardableResult
    mutating func remove(_ number: Int) -> Bool {
        let bit: UInt64 = 1 << UInt64(number & 63)
        guard words[number >> 6] & bit != 0 else { return false }
        words[number >> 6] &= ~bit
        count -= 1
        return true
    }
}
