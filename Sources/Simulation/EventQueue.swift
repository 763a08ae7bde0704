/// What is going to happen, by virtual time; of equal times, what was scheduled first.
///
/// A binary heap of small keys over a slab of payloads: push and pop are O(log n), and the order of a run depends on
/// nothing but what was pushed.
struct EventQueue<Event> {
    private struct Key {
        let atNs: UInt64
        let serial: UInt64
        let place: Int

        func precedes(_ other: Key) -> Bool {
            atNs != other.atNs ? atNs < other.atNs : serial < other.serial
        }
    }

    private var keys: [Key] = []
    private var events: [Event?] = []
    private var free: [Int] = []
    private var serial: UInt64 = 0
    /// The most that ever waited.
    private(set) var countMax = 0

    var count: Int { keys.count }

    mutating func push(_ event: Event, atNs: UInt64) {
        let place: Int
        if let last = free.popLast() {
            place = last
            events[place] = event
        } else {
            place = events.count
            events.append(event)
        }
        let key = Key(atNs: atNs, serial: serial, place: place)
        serial += 1
        keys.append(key)
        countMax = max(countMax, keys.count)
        var child = keys.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard key.precedes(keys[parent]) else { break }
            keys[child] = keys[parent]
            child = parent
        }
        keys[child] = key
    }

    mutating func pop() -> (atNs: UInt64, event: Event)? {
        guard let first = keys.first, let last = keys.popLast() else { return nil }
        if !keys.isEmpty {
            var parent = 0
            while true {
                var child = 2 * parent + 1
                guard child < keys.count else { break }
                if child + 1 < keys.count, keys[child + 1].precedes(keys[child]) { child += 1 }
                guard keys[child].precedes(last) else { break }
                keys[parent] = keys[child]
                parent = child
            }
            keys[parent] = last
        }
        guard let event = events[first.place] else { preconditionFailure("an event happened twice") }
        events[first.place] = nil
        free.append(first.place)
        return (first.atNs, event)
    }
}
