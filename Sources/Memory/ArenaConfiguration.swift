/// What an arena is made of.
public struct ArenaConfiguration: Sendable, Hashable {
    /// Whether to back the arena with reserved huge pages of 2 MiB.
    public enum HugePages: Sendable, Hashable {
        /// Use them when enough are free, and say so in the report when not.
        case `try`
        /// Do not use them.
        case off
        /// Fail without them.
        case require
    }

    /// Its name in reports and in `/proc/<pid>/maps`, e.g. `node0`.
    public var name: String
    /// How much memory, all slots together; rounded down to whole slots.
    public var totalBytes: Int
    /// The largest slot, a power of two: room for the largest piece.
    public var slotBytes: Int
    /// The smallest slot, a power of two: what a slot for less takes nevertheless.
    public var smallestSlotBytes: Int
    /// The NUMA node its memory comes from; nil: wherever the kernel likes.
    public var numaNode: Int?
    /// Whether to use reserved huge pages.
    public var hugePages: HugePages
    /// Whether to keep it from being swapped out.
    public var lock: Bool
    /// Whether to touch all pages at the start, so that no page fault meets the first piece.
    public var prefault: Bool

    /// Describes an arena; `Arena.init` checks it.
    public init(
        name: String, totalBytes: Int, slotBytes: Int = 16 << 20, smallestSlotBytes: Int = 1 << 20,
        numaNode: Int? = nil, hugePages: HugePages = .try, lock: Bool = true, prefault: Bool = true
    ) {
        self.name = name
        self.totalBytes = totalBytes
        self.slotBytes = slotBytes
        self.smallestSlotBytes = smallestSlotBytes
        self.numaNode = numaNode
        self.hugePages = hugePages
        self.lock = lock
        self.prefault = prefault
    }
}
