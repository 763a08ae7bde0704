/// The links of a transport by `LinkID`: a late event of an earlier generation finds nothing.
package struct LinkTable<Link> {
    private var places: [(generation: UInt32, link: Link?)] = []
    private var free: [UInt32] = []
    private var lastGeneration: UInt32 = 0
    private let linksMax: Int

    package init(linksMax: Int) { self.linksMax = linksMax }

    /// How many links there are.
    package var count: Int { places.count - free.count }
    package var isFull: Bool { count >= linksMax }

    /// Takes a place in a new generation; nil when the table is full.
    package mutating func insert(_ make: (LinkID) -> Link) -> LinkID? {
        guard !isFull else { return nil }
        // Never reused: at a thousand links a second the counter lasts for seven weeks of nothing else.
        precondition(lastGeneration < .max, "the generations of links are used up: restart the process")
        lastGeneration += 1
        let index = free.popLast() ?? UInt32(places.count)
        if Int(index) == places.count { places.append((0, nil)) }
        let id = LinkID(index: index, generation: lastGeneration)
        places[Int(index)] = (lastGeneration, make(id))
        return id
    }

    package subscript(_ id: LinkID) -> Link? {
        get {
            guard Int(id.index) < places.count, places[Int(id.index)].generation == id.generation else {
                return nil
            }
            return places[Int(id.index)].link
        }
        set {
            guard Int(id.index) < places.count, places[Int(id.index)].generation == id.generation,
                places[Int(id.index)].link != nil
            else { return }
            places[Int(id.index)].link = newValue
            if newValue == nil { free.append(id.index) }
        }
    }

    /// All links, in an array of their own.
    package var all: [Link] { places.compactMap(\.link) }

    /// How many places there are, taken or not: to visit all links without an array of them.
    package var placesCount: Int { places.count }

    /// The link at a place; nil where there is none.
    package subscript(place index: Int) -> Link? { places[index].link }
}
