/// A queue that keeps its room: what goes in first comes out first, and steady use allocates nothing.
package struct Fifo<Element> {
    private var ring: [Element?] = []
    private var head = 0
    /// How many wait.
    package private(set) var count = 0

    /// An empty queue with room for about so many.
    package init(reserving elements: Int = 0) {
        if elements > 0 { makeRoom(for: elements) }
    }

    package var isEmpty: Bool { count == 0 }

    /// The next to come out, changeable in place; traps when empty.
    package var first: Element {
        get { ring[head]! }
        set { ring[head] = newValue }
    }

    package mutating func append(_ element: Element) {
        if count == ring.count { makeRoom(for: count + 1) }
        ring[(head + count) & (ring.count - 1)] = element
        count += 1
    }

    package mutating func popFirst() -> Element? {
        guard count > 0 else { return nil }
        let element = ring[head]
        ring[head] = nil
        head = (head + 1) & (ring.count - 1)
        count -= 1
        return element
    }

    /// Visits all, first to last, changeable in place.
    package mutating func forEach(_ body: (inout Element) -> Void) {
        for place in 0..<count { body(&ring[(head + place) & (ring.count - 1)]!) }
    }

    /// A larger ring; its size is a power of two.
    private mutating func makeRoom(for elements: Int) {
        var places = max(8, ring.count)
        while places < elements { places *= 2 }
        var larger: [Element?] = []
        larger.reserveCapacity(places)
        for place in 0..<count { larger.append(ring[(head + place) & (ring.count - 1)]) }
        while larger.count < places { larger.append(nil) }
        ring = larger
        head = 0
    }
}
