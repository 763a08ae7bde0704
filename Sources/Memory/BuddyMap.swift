/// Which parts of an arena are free: the buddy system over units of the smallest slot.
///
/// A block of order n is 2ⁿ units and begins at a multiple of its size. Taking splits a larger block in halves when
/// there is no smaller one; giving back joins a block with its other half as soon as both are free, so that the arena
/// is whole again once all slots are home. The smallest fitting block is taken first, which keeps large ones for large
/// pieces.
///
/// A pure value: no pointer, no lock. All its memory is taken in `init`; taking and giving back cost at most
/// `largestOrder` steps and allocate nothing.
struct BuddyMap {
    /// What begins at a unit.
    private enum State: UInt8 {
        /// Nothing: it is in the middle of a block.
        case inside
        case free
        case taken
    }

    /// Why a block cannot be given back.
    enum Refusal: Error {
        /// No loan begins there: it was given back before, or never taken.
        case notTaken
        /// A loan of another size begins there.
        case otherSize
        /// A later loan begins there: this one was given back before.
        case otherLoan
    }

    /// The order of the largest blocks.
    let largestOrder: Int
    private var states: [State]
    private var orders: [UInt8]
    private var generations: [UInt32]
    // Free blocks of each order, as a doubly linked list through their first units; -1 ends it.
    private var next: [Int32]
    private var previous: [Int32]
    private var heads: [Int32]

    /// A map of `blocks` free blocks of the largest order.
    init(blocks: Int, largestOrder: Int) {
        let units = blocks << largestOrder
        precondition(blocks > 0 && units <= Int(Int32.max), "a buddy map has 1 to 2³¹ units")
        self.largestOrder = largestOrder
        states = Array(repeating: .inside, count: units)
        orders = Array(repeating: 0, count: units)
        generations = Array(repeating: 0, count: units)
        next = Array(repeating: -1, count: units)
        previous = Array(repeating: -1, count: units)
        heads = Array(repeating: -1, count: largestOrder + 1)
        for block in (0..<blocks).reversed() { push(block << largestOrder, order: largestOrder) }
    }

    /// Takes a block of an order; nil when no free block is large enough.
    mutating func take(order: Int) -> (unit: Int, generation: UInt32)? {
        guard var found = (order...largestOrder).first(where: { heads[$0] >= 0 }) else { return nil }
        let unit = Int(heads[found])
        unlink(unit, order: found)
        while found > order {
            found -= 1
            push(unit + 1 << found, order: found)
        }
        states[unit] = .taken
        orders[unit] = UInt8(order)
        return (unit, generations[unit])
    }

    /// Gives a block back and joins it with free neighbours.
    mutating func give(back unit: Int, order: Int, generation: UInt32) throws(Refusal) {
        guard states.indices.contains(unit), states[unit] == .taken else { throw .notTaken }
        guard generations[unit] == generation else { throw .otherLoan }
        guard orders[unit] == order else { throw .otherSize }
        generations[unit] &+= 1
        states[unit] = .inside
        var (unit, order) = (unit, order)
        while order < largestOrder {
            let buddy = unit ^ 1 << order
            guard states[buddy] == .free, orders[buddy] == order else { break }
            unlink(buddy, order: order)
            unit &= ~(1 << order)
            order += 1
        }
        push(unit, order: order)
    }

    /// How many free blocks of an order there are: for tests and diagnostics, it counts them.
    func freeBlocks(order: Int) -> Int {
        var count = 0
        var unit = heads[order]
        while unit >= 0 {
            count += 1
            unit = next[Int(unit)]
        }
        return count
    }

    private mutating func push(_ unit: Int, order: Int) {
        states[unit] = .free
        orders[unit] = UInt8(order)
        previous[unit] = -1
        next[unit] = heads[order]
        if heads[order] >= 0 { previous[Int(heads[order])] = Int32(unit) }
        heads[order] = Int32(unit)
    }

    private mutating func unlink(_ unit: Int, order: Int) {
        if previous[unit] >= 0 { next[Int(previous[unit])] = next[unit] } else { heads[order] = next[unit] }
        if next[unit] >= 0 { previous[Int(next[unit])] = previous[unit] }
        states[unit] = .inside
    }
}
