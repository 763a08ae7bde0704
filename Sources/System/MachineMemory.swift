import CLinux

/// How much memory may still be taken, by the kernel's estimate and this process's control group.
public enum MachineMemory {
    /// Bytes that can be taken without swapping; nil where the kernel does not say.
    ///
    /// The smaller of `MemAvailable` and what the limit of our control group (version 2) leaves.
    public static func availableBytes(proc: String = "/proc", controlGroups: String = "/sys/fs/cgroup")
        -> UInt64?
    {
        let machine = SystemTree.field("MemAvailable", of: "\(proc)/meminfo").flatMap(kibibytes)
        guard let group = SystemTree.lines("\(proc)/self/cgroup").first(where: { $0.hasPrefix("0::") }) else {
            return machine
        }
        let directory = controlGroups + group.dropFirst(3)
        guard let limit = SystemTree.number("\(directory)/memory.max"),
            let used = SystemTree.number("\(directory)/memory.current")
        else { return machine }
        let left = UInt64(max(0, limit - used))
        return min(machine ?? left, left)
    }

    /// Free huge pages of 2 MiB, on one node or on the whole machine; 0 where the kernel has none.
    public static func freeHugePages(node: Int? = nil, sys: String = "/sys") -> Int {
        let pool = node.map { "\(sys)/devices/system/node/node\($0)" } ?? "\(sys)/kernel/mm"
        return SystemTree.number("\(pool)/hugepages/hugepages-2048kB/free_hugepages") ?? 0
    }

    /// A page's size in bytes: 4096 on most machines.
    public static var pageBytes: Int { sysconf(CInt(_SC_PAGESIZE)) }
}

/// Parses `1234 kB`.
func kibibytes(_ text: String) -> UInt64? {
    text.split(separator: " ").first.flatMap { UInt64($0) }.map { $0 << 10 }
}
