import Synchronization
import System

/// Memory for pieces in flight: one mapping, backed by a memfd, bound to a NUMA node, lent out as slots.
///
/// An arena has all its memory from the start, so its size is the bound on what pieces in flight can take. Where
/// the machine or the process's privileges fall short of what was asked (huge pages, locking, binding), it goes on
/// and says so in `report`.
///
/// `take`, `give(back:)` and `usage` are safe from any thread, never wait for memory, and allocate nothing. Bytes of a
/// slot belong to whoever took it. The arena is closed by `close()` or by its last reference, never while slots are
/// out:
/// a NIC may still write there.
public final class Arena: Sendable {
    /// The arena's number, unique in this process: what slots name it by.
    public let number: UInt32
    /// Its name.
    public let name: String
    /// Its length: whole slots of the largest size.
    public let lengthBytes: Int
    /// The largest slot.
    public let slotBytes: Int
    /// The pages it is made of.
    public let pages: SharedMemory.Pages
    /// Whether it is kept from being swapped out.
    public let isLocked: Bool
    /// The NUMA node it is bound to, if it is.
    public let numaNode: Int?
    /// What was asked and could not be done, as sentences with their remedy.
    public let report: [String]
    /// The memfd's descriptor, lent: for sending from it and for handing it, read-only, to another process.
    public let memfd: CInt
    // Safety: the address never changes; whose the bytes are is decided by who took the slot.
    /// Where it begins: for registration with a NIC. Valid until `close()`.
    public nonisolated(unsafe) let base: UnsafeMutableRawPointer

    private let unitBytes: Int
    private let state: Mutex<State>

    private struct State: ~Copyable {
        var map: BuddyMap
        var usage: ArenaUsage
        // nil once closed.
        var memory: SharedMemory?
    }

    private static let numbers = Atomic<UInt32>(1)

    /// Makes an arena: maps, binds, touches and locks its memory.
    ///
    /// Blocks while pages are touched: seconds per GiB on a virtual machine whose host has not lent it the memory yet.
    public init(_ configuration: ArenaConfiguration, topology: Topology = Topology()) throws(ArenaError) {
        let backing = try ArenaBacking.make(configuration, topology: topology)
        number = Self.numbers.wrappingAdd(1, ordering: .relaxed).oldValue
        name = configuration.name
        slotBytes = configuration.slotBytes
        unitBytes = configuration.smallestSlotBytes
        pages = backing.pages
        isLocked = backing.isLocked
        numaNode = backing.boundNode
        report = backing.report
        let memory = backing.release()
        lengthBytes = memory.lengthBytes
        memfd = memory.descriptor
        base = memory.base
        let orders = configuration.slotBytes.trailingZeroBitCount - unitBytes.trailingZeroBitCount
        let map = BuddyMap(blocks: lengthBytes / slotBytes, largestOrder: orders)
        state = Mutex(State(map: map, usage: ArenaUsage(totalBytes: lengthBytes), memory: memory))
    }

    /// Takes a slot with room for `lengthBytes`; nil when there is none now: come back when one was given back.
    ///
    /// The slot's size is the next power of two, at least the smallest slot. Asking for more than `slotBytes` traps.
    public func take(lengthBytes: Int) -> Slot? {
        if lengthBytes <= 0 || lengthBytes > slotBytes {
            fatalError(
                "a slot of \(lengthBytes) bytes was asked of arena \(name), whose largest has \(slotBytes)")
        }
        let units = (lengthBytes - 1) / unitBytes + 1
        let order = Int.bitWidth - (units - 1).leadingZeroBitCount
        let capacityBytes = unitBytes << order
        return state.withLock { state in
            if state.memory == nil { fatalError("a slot was asked of arena \(name), which is closed") }
            guard let block = state.map.take(order: order) else {
                state.usage.refusals &+= 1
                return nil
            }
            state.usage.takenSlots += 1
            state.usage.takenBytes += capacityBytes
            state.usage.takenBytesPeak = max(state.usage.takenBytesPeak, state.usage.takenBytes)
            return Slot(
                arena: number, generation: block.generation, offset: block.unit * unitBytes,
                capacityBytes: capacityBytes)
        }
    }

    /// Gives a slot back. Nobody, a NIC included, may use its bytes any more. A second time, or in another arena,
    /// traps.
    public func give(back slot: Slot) {
        check(slot)
        let order = slot.capacityBytes.trailingZeroBitCount - unitBytes.trailingZeroBitCount
        let refusal: BuddyMap.Refusal? = state.withLock { state in
            do throws(BuddyMap.Refusal) {
                try state.map.give(back: slot.offset / unitBytes, order: order, generation: slot.generation)
            } catch {
                return error
            }
            state.usage.takenSlots -= 1
            state.usage.takenBytes -= slot.capacityBytes
            return nil
        }
        if let refusal {
            fatalError("\(slot) was given back to arena \(name) without being on loan: \(refusal)")
        }
    }

    /// A slot's bytes: `capacityBytes` of them, with whatever the last loan left there.
    ///
    /// Valid while the slot is on loan and the arena is referenced. Costs an addition: safe on a rail.
    public func bytes(of slot: Slot) -> UnsafeMutableRawBufferPointer {
        check(slot)
        // Safety: `check` has found the slot to lie inside the mapping.
        return UnsafeMutableRawBufferPointer(start: base + slot.offset, count: slot.capacityBytes)
    }

    /// How much is on loan now, and was at most.
    public var usage: ArenaUsage { state.withLock { $0.usage } }

    /// Unmaps the memory. Traps while slots are out, and names how many; a second time does nothing.
    public func close() {
        let memory = state.withLock { state in
            if state.usage.takenSlots != 0 {
                fatalError("arena \(name) was closed with \(state.usage.takenSlots) slots on loan")
            }
            return state.memory.take()
        }
        guard let memory else { return }
        do throws(Errno) {
            try memory.close()
        } catch {
            fatalError("arena \(name) cannot be unmapped: \(error)")
        }
    }

    deinit { close() }

    private func check(_ slot: Slot) {
        if slot.arena != number || slot.offset < 0 || slot.offset > lengthBytes - slot.capacityBytes {
            fatalError("\(slot) is not of arena \(name), number \(number)")
        }
    }
}
