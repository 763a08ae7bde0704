import MadeTree
import Glibc
import System
import Testing

@testable import Memory

private let mebibyte = 1 << 20

/// A small arena: 64 MiB in slots of 1 to 16 MiB, without privileges.
private func configuration(
    _ totalBytes: Int = 64 * mebibyte, numaNode: Int? = nil,
    hugePages: ArenaConfiguration.HugePages = .off, lock: Bool = false, prefault: Bool = false
) -> ArenaConfiguration {
    ArenaConfiguration(
        name: "test", totalBytes: totalBytes, numaNode: numaNode, hugePages: hugePages, lock: lock,
        prefault: prefault)
}

@Suite("Arena")
struct ArenaTests {
    @Test("Pieces of 4, 8 and 16 MiB share an arena without waste")
    func mixedSizes() throws {
        let arena = try Arena(configuration())
        let lengths = [16, 8, 4, 4, 16, 8, 8]
        let slots = try lengths.map { try #require(arena.take(lengthBytes: $0 * mebibyte)) }
        #expect(slots.map(\.capacityBytes) == lengths.map { $0 * mebibyte })
        #expect(arena.usage.freeBytes == 0)
        #expect(arena.take(lengthBytes: 1) == nil)
        #expect(Set(slots.map(\.offset)).count == slots.count)
        for slot in slots { arena.give(back: slot) }
        #expect(arena.usage.takenSlots == 0 && arena.usage.takenBytes == 0)
        #expect(arena.usage.takenBytesPeak == 64 * mebibyte && arena.usage.refusals == 1)
        arena.close()
    }

    @Test("A slot has the next power of two, at least the smallest slot")
    func classes() throws {
        let arena = try Arena(configuration())
        for (length, capacity) in [
            (1, mebibyte), (mebibyte, mebibyte), (mebibyte + 1, 2 * mebibyte), (3 * mebibyte, 4 * mebibyte),
            (9 * mebibyte, 16 * mebibyte), (16 * mebibyte, 16 * mebibyte),
        ] {
            let slot = try #require(arena.take(lengthBytes: length))
            #expect(slot.capacityBytes == capacity)
            #expect(arena.bytes(of: slot).count == capacity)
            arena.give(back: slot)
        }
    }

    @Test("No slot is a value, and there is one again after one comes back")
    func exhaustion() throws {
        let arena = try Arena(configuration(32 * mebibyte))
        let first = try #require(arena.take(lengthBytes: 16 * mebibyte))
        let second = try #require(arena.take(lengthBytes: 16 * mebibyte))
        #expect(arena.take(lengthBytes: 16 * mebibyte) == nil)
        arena.give(back: first)
        let third = try #require(arena.take(lengthBytes: 16 * mebibyte))
        #expect(third.offset == first.offset && third != first)
        arena.give(back: second)
        arena.give(back: third)
    }

    @Test("Slots' bytes are their own, and the memfd shows them to readers only")
    func bytes() throws {
        let arena = try Arena(configuration(32 * mebibyte))
        let slots = try (0..<8).map { _ in try #require(arena.take(lengthBytes: 4 * mebibyte)) }
        for (number, slot) in slots.enumerated() {
            memset(arena.bytes(of: slot).baseAddress!, CInt(number + 1), slot.capacityBytes)
        }
        for (number, slot) in slots.enumerated() {
            #expect(arena.bytes(of: slot).allSatisfy { $0 == UInt8(number + 1) })
            var byte: UInt8 = 0
            #expect(
                pread(arena.memfd, &byte, 1, off_t(slot.offset + 12345)) == 1 && byte == UInt8(number + 1))
        }
        // The seals: nobody else may write, shrink or grow it.
        var byte: UInt8 = 9
        #expect(pwrite(arena.memfd, &byte, 1, 0) == -1 && errno == EPERM)
        #expect(ftruncate(arena.memfd, 0) == -1 && errno == EPERM)
        let shared = mmap(nil, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, arena.memfd, 0)
        #expect(shared == MAP_FAILED)
        let readable = mmap(nil, 4096, PROT_READ, MAP_SHARED, arena.memfd, 0)
        #expect(readable != MAP_FAILED)
        munmap(readable, 4096)
        for slot in slots { arena.give(back: slot) }
    }

    @Test("Many threads take and give back at once, and no slot is lent twice")
    func threads() throws {
        let arena = try Arena(configuration(16 * mebibyte))
        let threads = try (0..<4).map { number in
            try PinnedThread(name: "lender-\(number)") {
                var clashes = 0
                for round in 0..<2000 {
                    guard let slot = arena.take(lengthBytes: 1 + round % 4 * mebibyte) else { continue }
                    let bytes = arena.bytes(of: slot)
                    let mark = UInt8(number + 1)
                    for offset in stride(from: 0, to: bytes.count, by: mebibyte) { bytes[offset] = mark }
                    for offset in stride(from: 0, to: bytes.count, by: mebibyte) where bytes[offset] != mark {
                        clashes += 1
                    }
                    arena.give(back: slot)
                }
                return clashes
            }
        }
        #expect(threads.map { $0.join() } == [0, 0, 0, 0])
        #expect(arena.usage.takenBytes == 0)
        #expect(arena.take(lengthBytes: 16 * mebibyte).map { arena.give(back: $0) } != nil)
    }

    @Test("The total is rounded down to whole slots, and two arenas have two numbers")
    func rounding() throws {
        let one = try Arena(configuration(40 * mebibyte))
        let other = try Arena(configuration(16 * mebibyte))
        #expect(one.lengthBytes == 32 * mebibyte && one.usage.totalBytes == 32 * mebibyte)
        #expect(one.number != other.number)
    }

    @Test("Pre-faulting touches every page")
    func prefault() throws {
        let arena = try Arena(configuration(48 * mebibyte, prefault: true))
        var residency = [UInt8](repeating: 0, count: arena.lengthBytes / 4096)
        #expect(mincore(arena.base, arena.lengthBytes, &residency) == 0)
        #expect(residency.allSatisfy { $0 & 1 == 1 })
    }
}

@Suite("Arena on lesser machines")
struct ArenaShortfallTests {
    /// A machine with nodes made by hand; it goes on the real one.
    private func machine(nodes: Int) throws -> MadeTree {
        let tree = try MadeTree()
        for node in 0..<nodes { try tree.write("devices/system/node/node\(node)/cpulist", "\(node)\n") }
        return tree
    }

    @Test("One node: asking for it is fine")
    func oneNode() throws {
        let tree = try machine(nodes: 1)
        let arena = try Arena(configuration(numaNode: 0), topology: Topology(root: tree.path))
        #expect(arena.numaNode == 0)
        #expect(arena.report == [])
    }

    @Test("A node that does not exist is named, and the arena works")
    func missingNode() throws {
        let tree = try machine(nodes: 2)
        let arena = try Arena(configuration(numaNode: 7), topology: Topology(root: tree.path))
        #expect(arena.numaNode == nil)
        #expect(arena.report == ["memory is not bound: this machine has no NUMA node 7, only 0, 1"])
        #expect(arena.take(lengthBytes: 1).map { arena.give(back: $0) } != nil)
    }

    @Test("A kernel that refuses to bind is quoted, and the arena works")
    func refusedBinding() throws {
        // /sys says 1024 nodes; no kernel has the last of them.
        let tree = try MadeTree()
        for node in [0, 1023] { try tree.write("devices/system/node/node\(node)/cpulist", "0\n") }
        let arena = try Arena(
            configuration(numaNode: 1023, prefault: true), topology: Topology(root: tree.path))
        #expect(arena.numaNode == nil)
        #expect(arena.report.count == 1)
        #expect(arena.report[0].hasPrefix("memory is not bound to NUMA node 1023: "))
        #expect(arena.report[0].contains("mbind"))
    }

    @Test("No huge pages: said, and normal ones are used")
    func noHugePages() throws {
        let tree = try machine(nodes: 1)
        let arena = try Arena(configuration(hugePages: .try), topology: Topology(root: tree.path))
        #expect(arena.pages == .normal)
        #expect(arena.report.count == 1)
        #expect(arena.report[0].contains("needs 32 of 2 MiB and 0 are free; reserve them (vm.nr_hugepages)"))
    }

    @Test("Huge pages promised and not to be had: said, and normal ones are used")
    func hugePagesGone() throws {
        let tree = try machine(nodes: 1)
        // /sys promises them; the arena needs one slot more than the machine's pool really holds.
        try tree.write("kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "1000000000\n")
        let totalBytes = (MachineMemory.freeHugePages() / 8 + 1) * 16 * mebibyte
        let arena = try Arena(
            configuration(totalBytes, hugePages: .try), topology: Topology(root: tree.path))
        #expect(arena.pages == .normal && arena.report.count == 1)
    }

    @Test("Huge pages required and missing: an error with the remedy")
    func hugePagesRequired() throws {
        let tree = try machine(nodes: 1)
        let error = #expect(throws: ArenaError.self) {
            try Arena(configuration(hugePages: .require), topology: Topology(root: tree.path))
        }
        #expect(error?.code == .noHugePages)
        #expect(error?.description.contains("vm.nr_hugepages") == true)
    }

    @Test("More memory than there is: an error, not the kernel's killer")
    func tooLarge() {
        let error = #expect(throws: ArenaError.self) { try Arena(configuration(1 << 50)) }
        #expect(error?.code == .notEnoughMemory)
        #expect(error?.description.contains("needs 1024 TiB and ") == true)
    }

    @Test("A configuration that contradicts itself is refused")
    func badConfiguration() {
        for (total, slot, smallest) in [
            (mebibyte, 16 * mebibyte, mebibyte), (64 * mebibyte, 3 * mebibyte, mebibyte),
            (64 * mebibyte, mebibyte, 2 * mebibyte), (64 * mebibyte, mebibyte, 512), (0, mebibyte, mebibyte),
        ] {
            let error = #expect(throws: ArenaError.self) {
                try Arena(
                    ArenaConfiguration(
                        name: "bad", totalBytes: total, slotBytes: slot, smallestSlotBytes: smallest))
            }
            #expect(error?.code == .badConfiguration)
        }
    }

    @Test("Without the right to lock: said with the limit and the remedy, and the arena works")
    func memlock() async {
        await #expect(processExitsWith: .success) {
            // As an ordinary user: root may lock without limit.
            _ = setuid(65534)
            try ResourceLimit.lockedMemory.lower(to: 64 << 10)
            let arena = try Arena(
                ArenaConfiguration(name: "test", totalBytes: 32 << 20, hugePages: .off, lock: true))
            #expect(!arena.isLocked)
            #expect(arena.report.count == 1)
            #expect(
                arena.report.first?.hasPrefix(
                    "memory is not locked: the memlock limit is 64 KiB and the arena has 32 MiB; "
                        + "raise it (LimitMEMLOCK=infinity)") == true)
            let slot = try #require(arena.take(lengthBytes: 1 << 20))
            arena.bytes(of: slot)[0] = 1
            arena.give(back: slot)
        }
    }

    @Test("Resident memory is bounded by the arena, not by what passes through it")
    func residentBytes() async {
        await #expect(processExitsWith: .success) {
            let before = try #require(ProcessUsage.residentBytes())
            let arena = try Arena(
                ArenaConfiguration(name: "test", totalBytes: 64 << 20, hugePages: .off, lock: false))
            for round in 0..<100 {
                let slots = try (0..<4).map { _ in try #require(arena.take(lengthBytes: 16 << 20)) }
                for slot in slots {
                    memset(arena.bytes(of: slot).baseAddress!, CInt(round), slot.capacityBytes)
                }
                for slot in slots { arena.give(back: slot) }
            }
            let peak = try #require(ProcessUsage.residentBytesPeak())
            // 6.25 GiB passed through 64 MiB.
            #expect(peak >= before + 60 << 20)
            #expect(peak - before < 96 << 20)
        }
    }
}

@Suite("Misuse of an arena traps and says what it was")
struct ArenaMisuseTests {
    private func expectTrap(_ result: ExitTest.Result?, _ sentence: String) {
        let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
        #expect(text.contains(sentence), "\(text)")
    }

    @Test("Giving a slot back twice")
    func doubleGiveBack() async {
        let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
            let arena = try small()
            let slot = try #require(arena.take(lengthBytes: 1))
            arena.give(back: slot)
            arena.give(back: slot)
        }
        expectTrap(
            result, "slot 1:0+1048576 (generation 0) was given back to arena small without being on loan")
    }

    @Test("Giving a slot back twice, after somebody else took its place")
    func staleGiveBack() async {
        let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
            let arena = try small()
            let slot = try #require(arena.take(lengthBytes: 1))
            arena.give(back: slot)
            _ = arena.take(lengthBytes: 1)
            arena.give(back: slot)
        }
        expectTrap(result, "without being on loan: otherLoan")
    }

    @Test("A slot of another arena")
    func otherArena() async {
        let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
            let one = try small()
            let other = try small()
            other.give(back: try #require(one.take(lengthBytes: 1)))
        }
        expectTrap(result, "is not of arena small, number 2")
    }

    @Test("Asking for more than the largest slot")
    func tooLong() async {
        let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
            _ = try small().take(lengthBytes: 16 << 20 + 1)
        }
        expectTrap(result, "a slot of 16777217 bytes was asked of arena small, whose largest has 16777216")
    }

    @Test("Closing while a slot is out")
    func closeWhileOut() async {
        let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
            let arena = try small()
            _ = arena.take(lengthBytes: 1)
            arena.close()
        }
        expectTrap(result, "arena small was closed with 1 slots on loan")
    }

    @Test("Taking from a closed arena")
    func takeAfterClose() async {
        let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
            let arena = try small()
            arena.close()
            arena.close()
            _ = arena.take(lengthBytes: 1)
        }
        expectTrap(result, "a slot was asked of arena small, which is closed")
    }
}

private func small() throws -> Arena {
    try Arena(
        ArenaConfiguration(
            name: "small", totalBytes: 16 << 20, hugePages: .off, lock: false, prefault: false))
}
