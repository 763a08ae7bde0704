import Testing

@testable import Memory

@Suite("BuddyMap")
struct BuddyMapTests {
    @Test("A fresh map is whole, and gives the lowest block first")
    func fresh() throws {
        var map = BuddyMap(blocks: 3, largestOrder: 4)
        #expect((0...4).map { map.freeBlocks(order: $0) } == [0, 0, 0, 0, 3])
        #expect(map.take(order: 4)?.unit == 0)
        #expect(map.take(order: 4)?.unit == 16)
    }

    @Test("Taking a small block splits a large one into halves")
    func split() {
        var map = BuddyMap(blocks: 1, largestOrder: 4)
        #expect(map.take(order: 0)?.unit == 0)
        #expect((0...4).map { map.freeBlocks(order: $0) } == [1, 1, 1, 1, 0])
    }

    @Test("The smallest block that fits is taken, so that large ones stay whole")
    func bestFit() {
        var map = BuddyMap(blocks: 2, largestOrder: 2)
        #expect(map.take(order: 1)?.unit == 0)
        #expect(map.take(order: 1)?.unit == 2)
        #expect(map.freeBlocks(order: 2) == 1)
    }

    @Test(
        "Giving everything back, in any order, makes the map whole", arguments: [1, 2, 3, 5, 7] as [UInt64])
    func merge(seed: UInt64) throws {
        var map = BuddyMap(blocks: 4, largestOrder: 4)
        var random = SplitMix(state: seed)
        var loans: [(unit: Int, order: Int, generation: UInt32)] = []
        for _ in 0..<2000 {
            if random.below(2) == 0, !loans.isEmpty {
                let loan = loans.remove(at: random.below(loans.count))
                try map.give(back: loan.unit, order: loan.order, generation: loan.generation)
            } else {
                let order = random.below(5)
                if let block = map.take(order: order) {
                    loans.append((block.unit, order, block.generation))
                }
            }
            try expectDisjoint(loans)
        }
        for loan in loans { try map.give(back: loan.unit, order: loan.order, generation: loan.generation) }
        #expect((0...4).map { map.freeBlocks(order: $0) } == [0, 0, 0, 0, 4])
    }

    @Test("A full map refuses, and refuses nothing that fits")
    func exhaustion() throws {
        var map = BuddyMap(blocks: 2, largestOrder: 3)
        for _ in 0..<16 { #expect(map.take(order: 0) != nil) }
        #expect(map.take(order: 0) == nil)
        // Units 4 and 6 are free, but no run of two.
        try map.give(back: 4, order: 0, generation: 0)
        try map.give(back: 6, order: 0, generation: 0)
        #expect(map.take(order: 1) == nil)
        try map.give(back: 5, order: 0, generation: 0)
        #expect(map.take(order: 1)?.unit == 4)
    }

    @Test("What is not on loan is refused by its reason")
    func refusals() throws {
        var map = BuddyMap(blocks: 1, largestOrder: 2)
        let taken = map.take(order: 1)
        let first = try #require(taken)
        #expect(throws: BuddyMap.Refusal.otherSize) { try map.give(back: 0, order: 0, generation: 0) }
        #expect(throws: BuddyMap.Refusal.notTaken) { try map.give(back: 1, order: 0, generation: 0) }
        #expect(throws: BuddyMap.Refusal.notTaken) { try map.give(back: 99, order: 0, generation: 0) }
        try map.give(back: first.unit, order: 1, generation: first.generation)
        #expect(throws: BuddyMap.Refusal.notTaken) {
            try map.give(back: first.unit, order: 1, generation: first.generation)
        }
        let retaken = map.take(order: 1)
        let second = try #require(retaken)
        #expect(second.unit == first.unit)
        #expect(throws: BuddyMap.Refusal.otherLoan) {
            try map.give(back: first.unit, order: 1, generation: first.generation)
        }
    }

    private func expectDisjoint(_ loans: [(unit: Int, order: Int, generation: UInt32)]) throws {
        let sorted = loans.sorted { $0.unit < $1.unit }
        for (one, other) in zip(sorted, sorted.dropFirst()) {
            try #require(one.unit + 1 << one.order <= other.unit, "two loans overlap")
        }
        for loan in loans { try #require(loan.unit % (1 << loan.order) == 0, "a loan is not aligned") }
    }
}

/// Random numbers from a seed, the same everywhere.
struct SplitMix {
    var state: UInt64

    mutating func below(_ limit: Int) -> Int {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return Int((mixed ^ mixed >> 31) % UInt64(limit))
    }
}
