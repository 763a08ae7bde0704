import Artifacts
import Memory

/// A piece in memory, numbered for the process.
public struct ResidentNumber: Hashable, Sendable {
    let value: UInt64
}

/// Pieces kept in slots, ready to be exported from memory: which, since when, and who uses them.
///
/// ```
///   begin ──▶ loading ── loaded ──▶ ready, idle ◀── release ── use ──▶ ready, in use
///                │ failed, forgotten     │ evicted, oldest first          │ forgotten: detached until released
///                ▼                       ▼                                ▼
///              (free)                  (free)                           (free)
/// ```
/// Bookkeeping only: it neither takes slots nor gives them back; what is free is handed to the caller. Pieces of all
/// children and links that want them are shared. Costs of a call: amortised O(1), `forget` O(pieces).
struct ResidentPieces {
    private struct Key: Hashable {
        let task: TaskID
        let piece: PieceIndex
    }

    private struct Entry {
        let key: Key
        let slot: Slot
        var isLoading: Bool
        /// Exports of it, made or being made, that are not retired.
        var uses = 0
        /// Not for new exports any more.
        var isDetached = false
        /// When it became idle, counted.
        var idleSince: UInt64 = 0
        var isIdle: Bool { uses == 0 && !isLoading }
    }

    /// Most bytes of slots it may hold.
    let bytesMax: Int
    /// Bytes of slots it holds.
    private(set) var bytes = 0
    private var entries: [ResidentNumber: Entry] = [:]
    private var numbers: [Key: ResidentNumber] = [:]
    private var last: UInt64 = 0
    /// Pieces in the order in which they became idle; those that were used since are skipped.
    private var idle: [(number: ResidentNumber, since: UInt64)] = []
    private var idleStart = 0
    private var moment: UInt64 = 0

    init(bytesMax: Int) { self.bytesMax = bytesMax }

    var isEmpty: Bool { entries.isEmpty }
    var count: Int { entries.count }
    /// How many notes of idle pieces it keeps, for tests.
    var noted: Int { idle.count }

    /// A piece that may be exported or will be soon.
    func find(_ task: TaskID, _ piece: PieceIndex) -> (number: ResidentNumber, isLoading: Bool)? {
        guard let number = numbers[Key(task: task, piece: piece)], let entry = entries[number] else { return nil }
        return (number, entry.isLoading)
    }

    /// Whether so many more bytes are within its bound.
    func hasRoom(for lengthBytes: Int) -> Bool { bytes + lengthBytes <= bytesMax }

    /// Takes a slot in that will hold a piece (loading), or holds it already. A piece of that name is not there: see
    /// `detach`.
    mutating func insert(_ task: TaskID, _ piece: PieceIndex, _ slot: Slot, isLoading: Bool) -> ResidentNumber {
        let key = Key(task: task, piece: piece)
        precondition(numbers[key] == nil, "\(piece) of \(task) is in memory twice")
        last += 1
        let number = ResidentNumber(value: last)
        entries[number] = Entry(key: key, slot: slot, isLoading: isLoading)
        numbers[key] = number
        bytes += slot.capacityBytes
        if !isLoading { becameIdle(number) }
        return number
    }

    /// A piece is loaded, or could not be: false when it is not to be had (any more).
    mutating func loaded(_ number: ResidentNumber, ok: Bool) -> (isReady: Bool, free: Slot?) {
        guard var entry = entries[number], entry.isLoading else {
            preconditionFailure("piece in memory \(number.value) was not being loaded")
        }
        entry.isLoading = false
        entries[number] = entry
        if !ok { detachEntry(number) }
        guard !entries[number]!.isDetached else { return (false, remove(number)) }
        becameIdle(number)
        return (true, nil)
    }

    /// One more export of it; where it lies.
    mutating func use(_ number: ResidentNumber) -> Slot {
        guard entries[number] != nil, !entries[number]!.isLoading else {
            preconditionFailure("piece in memory \(number.value) is not ready")
        }
        entries[number]!.uses += 1
        return entries[number]!.slot
    }

    /// One export of it is retired; its slot when it is free now.
    mutating func release(_ number: ResidentNumber) -> Slot? {
        guard let uses = entries[number]?.uses, uses > 0 else {
            preconditionFailure("piece in memory \(number.value) was released without being used")
        }
        entries[number]!.uses -= 1
        guard entries[number]!.isIdle else { return nil }
        if entries[number]!.isDetached { return remove(number) }
        becameIdle(number)
        return nil
    }

    /// Forgets the piece that has been idle longest; its slot, or nil when none is idle.
    mutating func evict() -> Slot? {
        while idleStart < idle.count {
            let oldest = idle[idleStart]
            idleStart += 1
            guard let entry = entries[oldest.number], entry.isIdle, entry.idleSince == oldest.since else { continue }
            return remove(oldest.number)
        }
        return nil
    }

    /// What is in memory under this name is not exported anew any more; its slot when it is free now.
    mutating func detach(_ task: TaskID, _ piece: PieceIndex) -> Slot? {
        guard let number = numbers[Key(task: task, piece: piece)] else { return nil }
        detachEntry(number)
        return entries[number]!.isIdle ? remove(number) : nil
    }

    /// The same for all pieces of a task, or all there are.
    mutating func forget(_ task: TaskID?) -> [Slot] {
        let pieces = numbers.keys.filter { task == nil || $0.task == task }
        return pieces.compactMap { detach($0.task, $0.piece) }
    }

    private mutating func detachEntry(_ number: ResidentNumber) {
        guard let entry = entries[number], !entry.isDetached else { return }
        entries[number]!.isDetached = true
        numbers[entry.key] = nil
    }

    private mutating func remove(_ number: ResidentNumber) -> Slot {
        detachEntry(number)
        let entry = entries.removeValue(forKey: number)!
        bytes -= entry.slot.capacityBytes
        return entry.slot
    }

    private mutating func becameIdle(_ number: ResidentNumber) {
        moment += 1
        entries[number]!.idleSince = moment
        // What was used since is stale; it never takes more than the pieces themselves.
        if idle.count > 64 + 2 * entries.count {
            idle = idle[idleStart...].filter { entries[$0.number]?.idleSince == $0.since }
            idleStart = 0
        }
        idle.append((number, moment))
    }
}
