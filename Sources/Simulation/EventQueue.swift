/// What is going to happen, by virtual time; of equal times, what was scheduled first.
///
/// A calendar: days of 2^14 ns lie in a ring of 2^14 (a quarter of a second), each an unordered list; the day at hand is a
/// binary heap, small enough for the nearest cache; what is further off waits in a heap of its own. Push and pop touch
/// little memory however much waits, and the order depends on nothing but what was pushed.
struct EventQueue {
    private static let dayBits: UInt64 = 14
    private static let ringBits: UInt64 = 14
    private static let ringMask = (1 << Int(ringBits)) - 1
    private static let none = UInt32.max

    private struct Entry {
        var event: Event
        var next: UInt32
    }

    /// The day at hand: everything before the end of it that still waits.
    private var today = EventHeap()
    private var day: UInt64 = 0
    /// The first entry of each of the following days, and which have any.
    private var ring = [UInt32](repeating: none, count: ringMask + 1)
    private var hasEntries = [UInt64](repeating: 0, count: (ringMask + 1) / 64)
    private var entries: [Entry] = []
    private var free = none
    private var inRing = 0
    /// Beyond the ring.
    private var later = EventHeap()
    private var serial: UInt64 = 0
    private(set) var count = 0
    /// The most that ever waited.
    private(set) var countMax = 0

    /// Schedules an event; a time that has passed means at once.
    @inline(__always)
    mutating func push(
        _ kind: Event.Kind, atNs: UInt64, _ a: some BinaryInteger, _ b: some BinaryInteger = UInt32(0),
        _ rest: UInt64 = 0
    ) {
        serial += 1
        insert(
            Event(
                atNs: atNs, order: serial << 8 | UInt64(kind.rawValue), a: UInt32(truncatingIfNeeded: a),
                b: UInt32(truncatingIfNeeded: b), rest: rest))
    }

    private mutating func insert(_ event: Event) {
        count += 1
        if count > countMax { countMax = count }
        place(event)
    }

    private mutating func place(_ event: Event) {
        let its = event.atNs >> Self.dayBits
        if its <= day { return today.push(event) }
        if its - day > UInt64(Self.ringMask) { return later.push(event) }
        let slot = Int(its) & Self.ringMask
        let entry = Entry(event: event, next: ring[slot])
        if free != Self.none {
            let place = Int(free)
            free = entries[place].next
            entries[place] = entry
            ring[slot] = UInt32(place)
        } else {
            ring[slot] = UInt32(entries.count)
            entries.append(entry)
        }
        hasEntries[slot >> 6] |= 1 << UInt64(slot & 63)
        inRing += 1
    }

    /// Takes the first event; nil when nothing waits.
    mutating func pop() -> Event? {
        while today.isEmpty {
            guard beginNextDay() else { return nil }
        }
        count -= 1
        return today.pop()
    }

    /// Goes on to the next day that has anything; false when there is none.
    private mutating func beginNextDay() -> Bool {
        let nextInRing = inRing > 0 ? day + nextStep() : UInt64.max
        let nextLater = later.first.map { $0.atNs >> Self.dayBits } ?? .max
        guard min(nextInRing, nextLater) != .max else { return false }
        day = min(nextInRing, nextLater)
        let slot = Int(day) & Self.ringMask
        if nextInRing == day {
            var at = ring[slot]
            ring[slot] = Self.none
            hasEntries[slot >> 6] &= ~(1 << UInt64(slot & 63))
            while at != Self.none {
                let entry = entries[Int(at)]
                today.push(entry.event)
                entries[Int(at)].next = free
                free = at
                at = entry.next
                inRing -= 1
            }
        }
        while let first = later.first, first.atNs >> Self.dayBits <= day { today.push(later.pop()) }
        return true
    }

    /// How many days on the next one with entries is; there is one.
    private func nextStep() -> UInt64 {
        let start = (Int(day) + 1) & Self.ringMask
        var word = start >> 6
        var bits = hasEntries[word] & ~((1 << UInt64(start & 63)) - 1)
        while bits == 0 {
            word = (word + 1) & (hasEntries.count - 1)
            bits = hasEntries[word]
        }
        let slot = word << 6 | bits.trailingZeroBitCount
        return UInt64((slot - Int(day)) & Self.ringMask)
    }
}

/// A binary heap of events, the first on top.
struct EventHeap {
    private var events: [Event] = []

    var isEmpty: Bool { events.isEmpty }
    var first: Event? { events.first }

    mutating func push(_ event: Event) {
        events.append(event)
        events.withUnsafeMutableBufferPointer { heap in
            var child = heap.count - 1
            while child > 0 {
                let parent = (child - 1) / 2
                guard event.precedes(heap[parent]) else { break }
                heap[child] = heap[parent]
                child = parent
            }
            heap[child] = event
        }
    }

    /// Takes the first; there is one.
    mutating func pop() -> Event {
        let last = events.removeLast()
        guard !events.isEmpty else { return last }
        return events.withUnsafeMutableBufferPointer { heap in
            let first = heap[0]
            var parent = 0
            while true {
                var child = 2 * parent + 1
                guard child < heap.count else { break }
                if child + 1 < heap.count, heap[child + 1].precedes(heap[child]) { child += 1 }
                guard heap[child].precedes(last) else { break }
                heap[parent] = heap[child]
                parent = child
            }
            heap[parent] = last
            return first
        }
    }
}
