/// A run of bytes in an arena, on loan: taken by `Arena.take`, given back exactly once.
///
/// A slot is a name, not a resource: copying it copies no memory, and dropping it frees none. It becomes invalid when
/// it is given back, even though another loan may later begin at the same place; the generation tells them apart.
public struct Slot: Hashable, Sendable, CustomStringConvertible {
    /// The number of the arena it is in, unique in this process.
    public let arena: UInt32
    /// How often a loan had begun at this place before.
    public let generation: UInt32
    /// Where it begins, in bytes from the arena's base: a multiple of `capacityBytes`.
    public let offset: Int
    /// How many bytes it has, a power of two: at least what was asked for.
    public let capacityBytes: Int

    /// Arena, offset, length and generation, for logs and traps.
    public var description: String {
        "slot \(arena):\(offset)+\(capacityBytes) (generation \(generation))"
    }
}

/// How much of an arena is on loan.
public struct ArenaUsage: Hashable, Sendable {
    /// All its bytes.
    public internal(set) var totalBytes: Int
    /// Bytes on loan, by the slots' capacity.
    public internal(set) var takenBytes = 0
    /// Slots on loan.
    public internal(set) var takenSlots = 0
    /// The most bytes that were on loan at once.
    public internal(set) var takenBytesPeak = 0
    /// How often there was no slot to take.
    public internal(set) var refusals: UInt64 = 0
    /// Bytes not on loan; they need not lie in one run.
    public var freeBytes: Int { totalBytes - takenBytes }
}
