import System

/// An arena's memory in the making: mapped, bound, touched, locked, with a sentence for each thing that was asked and
/// could not be done.
struct ArenaBacking: ~Copyable {
    private let memory: SharedMemory
    let pages: SharedMemory.Pages
    let boundNode: Int?
    private(set) var isLocked = false
    private(set) var report: [String] = []

    /// Makes an arena's memory, as much as the machine allows of what was asked.
    static func make(
        _ configuration: ArenaConfiguration, topology: Topology
    ) throws(ArenaError) -> ArenaBacking {
        let lengthBytes = try checkedLength(configuration)
        var report: [String] = []
        var backing: ArenaBacking
        if let huge = try huge(configuration, lengthBytes, topology, &report) {
            backing = huge
        } else {
            backing = try normal(configuration, lengthBytes, topology, &report)
        }
        backing.report = report
        if configuration.lock { backing.lock() }
        return backing
    }

    consuming func release() -> SharedMemory { memory }

    /// Binds, and touches where asked; throws what the kernel says when it has no memory for a page.
    private init(
        _ configuration: ArenaConfiguration, _ lengthBytes: Int, _ pages: SharedMemory.Pages,
        _ topology: Topology, _ report: inout [String]
    ) throws(Errno) {
        let memory = try SharedMemory(name: configuration.name, lengthBytes: lengthBytes, pages: pages)
        let boundNode = Self.bind(memory, configuration.numaNode, topology, &report)
        if configuration.prefault {
            let node = boundNode.flatMap { id in topology.nodes.first { $0.id == id } }
            try memory.populate(on: node?.cpus ?? topology.allowedCPUs)
        }
        self.memory = memory
        self.pages = pages
        self.boundNode = boundNode
    }

    private static func checkedLength(_ configuration: ArenaConfiguration) throws(ArenaError) -> Int {
        let slot = configuration.slotBytes
        let smallest = configuration.smallestSlotBytes
        let page = MachineMemory.pageBytes
        guard smallest >= page, smallest.nonzeroBitCount == 1, slot >= smallest, slot.nonzeroBitCount == 1
        else {
            throw ArenaError(
                .badConfiguration,
                "arena \(configuration.name): slots of \(slot) and \(smallest) bytes; both must be powers of two, "
                    + "the smallest at least a page of \(page) bytes")
        }
        guard configuration.totalBytes >= slot else {
            throw ArenaError(
                .badConfiguration,
                "arena \(configuration.name) of \(readable(configuration.totalBytes)) has no room for one slot of "
                    + "\(readable(slot)); make the arena larger")
        }
        return configuration.totalBytes / slot * slot
    }

    /// Memory of huge pages; nil when normal pages will do and the report says why.
    private static func huge(
        _ configuration: ArenaConfiguration, _ lengthBytes: Int, _ topology: Topology,
        _ report: inout [String]
    ) throws(ArenaError) -> ArenaBacking? {
        if configuration.hugePages == .off { return nil }
        let needed = (lengthBytes + SharedMemory.hugePageBytes - 1) / SharedMemory.hugePageBytes
        let node = topology.nodes.count > 1 ? configuration.numaNode : nil
        let free = MachineMemory.freeHugePages(node: node, sys: topology.root)
        var cause: Errno? = nil
        if free >= needed, lengthBytes % SharedMemory.hugePageBytes == 0 {
            do throws(Errno) {
                var more: [String] = []
                let backing = try ArenaBacking(configuration, lengthBytes, .huge2MiB, topology, &more)
                report += more
                return backing
            } catch {
                cause = error
            }
        }
        let sentence =
            "arena \(configuration.name) does not use huge pages: it needs \(needed) of 2 MiB and \(free) are free; "
            + "reserve them (vm.nr_hugepages) or set huge pages off"
        if configuration.hugePages == .require { throw ArenaError(.noHugePages, sentence, cause: cause) }
        report.append(sentence)
        return nil
    }

    private static func normal(
        _ configuration: ArenaConfiguration, _ lengthBytes: Int, _ topology: Topology,
        _ report: inout [String]
    ) throws(ArenaError) -> ArenaBacking {
        // Touching more than there is would not fail: it would have the kernel end processes, perhaps other people's.
        if let available = MachineMemory.availableBytes(), UInt64(lengthBytes) > available {
            throw ArenaError(
                .notEnoughMemory,
                "arena \(configuration.name) needs \(readable(lengthBytes)) and \(readable(Int(available))) of memory are "
                    + "available; make the arena smaller or free memory")
        }
        do throws(Errno) {
            return try ArenaBacking(configuration, lengthBytes, .normal, topology, &report)
        } catch {
            throw ArenaError(
                .refused,
                "arena \(configuration.name) of \(readable(lengthBytes)) could not be mapped: \(error.message); "
                    + "make the arena smaller or free memory", cause: error)
        }
    }

    private static func bind(
        _ memory: borrowing SharedMemory, _ node: Int?, _ topology: Topology, _ report: inout [String]
    ) -> Int? {
        guard let node else { return nil }
        guard topology.nodes.contains(where: { $0.id == node }) else {
            report.append(
                "memory is not bound: this machine has no NUMA node \(node), only "
                    + topology.nodes.map { "\($0.id)" }.joined(separator: ", "))
            return nil
        }
        // Where there is one node, all memory is on it.
        if topology.nodes.count == 1 { return node }
        do throws(Errno) {
            try memory.bind(toNode: node)
            return node
        } catch {
            report.append(
                "memory is not bound to NUMA node \(node): \(error); allow mbind in the container's policy")
            return nil
        }
    }

    private mutating func lock() {
        // Failing to raise the limit is no news by itself: mlock says what matters.
        let limit = try? ResourceLimit.lockedMemory.raise()
        do throws(Errno) {
            try memory.lock()
            isLocked = true
        } catch {
            let bound = limit?.soft.map { readable(Int(clamping: $0)) } ?? "unlimited"
            report.append(
                "memory is not locked: the memlock limit is \(bound) and the arena has \(readable(memory.lengthBytes)); "
                    + "raise it (LimitMEMLOCK=infinity) [\(error.call): errno \(error.code)]")
        }
    }
}
