/// Makes inputs out of inputs, the same ones for the same seed.
struct Mutator {
    private var state: UInt64
    private let bytesMax: Int
    private let words: [[UInt8]]

    private static let numbers: [UInt64] = [
        0, 1, 2, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 255, 256, 4095, 4096, 65_535, 65_536, 1 << 20, 1 << 24,
        0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 1 << 32, 1 << 43, 1 << 62, 0x7FFF_FFFF_FFFF_FFFF, 1 << 63, .max - 1,
        .max,
    ]

    init(seed: UInt64, bytesMax: Int, words: [[UInt8]]) {
        state = seed
        self.bytesMax = bytesMax
        self.words = words
    }

    /// SplitMix64.
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ value >> 30) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
        return value ^ value >> 31
    }

    mutating func below(_ count: Int) -> Int { Int(next() % UInt64(count)) }

    /// A changed copy of one input, at times with a part of another.
    mutating func mutated(_ input: [UInt8], other: [UInt8]) -> [UInt8] {
        var bytes = input
        for _ in 0..<(1 << below(4)) { change(&bytes, other) }
        if bytes.count > bytesMax { bytes.removeLast(bytes.count - bytesMax) }
        return bytes
    }

    private mutating func change(_ bytes: inout [UInt8], _ other: [UInt8]) {
        guard !bytes.isEmpty else {
            bytes = below(2) == 0 ? other : (0..<below(32)).map { _ in UInt8(truncatingIfNeeded: next()) }
            return
        }
        let place = below(bytes.count)
        switch below(12) {
        case 0: bytes[place] ^= 1 << UInt8(below(8))
        case 1: bytes[place] = UInt8(truncatingIfNeeded: next())
        case 2: bytes.remove(at: place)
        case 3: bytes.insert(UInt8(truncatingIfNeeded: next()), at: place)
        case 4: bytes.removeLast(bytes.count - place)
        case 5: bytes.removeSubrange(place..<min(bytes.count, place + 1 + below(16)))
        case 6:
            let part = Array(bytes[place..<min(bytes.count, place + 1 + below(32))])
            bytes.insert(contentsOf: part, at: below(bytes.count + 1))
        case 7: number(&bytes, place)
        case 8 where !words.isEmpty:
            bytes.insert(contentsOf: words[below(words.count)], at: place)
        case 9 where !words.isEmpty:
            let word = words[below(words.count)]
            bytes.replaceSubrange(place..<min(bytes.count, place + word.count), with: word)
        case 10 where !other.isEmpty:
            let start = below(other.count)
            bytes.replaceSubrange(place..., with: other[start...])
        default: bytes.swapAt(place, below(bytes.count))
        }
    }

    /// Writes a number that is at some limit, in any width and order.
    private mutating func number(_ bytes: inout [UInt8], _ place: Int) {
        let width = 1 << below(4)
        guard place + width <= bytes.count else { return }
        let value = Mutator.numbers[below(Mutator.numbers.count)]
        let isBig = below(2) == 0
        for index in 0..<width {
            bytes[place + index] = UInt8(truncatingIfNeeded: value >> UInt64(8 * (isBig ? width - 1 - index : index)))
        }
    }
}
