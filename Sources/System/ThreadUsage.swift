import CLinux

/// What a thread has used of processors: `/proc/self/task/*/schedstat`.
public struct ThreadUsage: Sendable, Hashable {
    /// The thread's number.
    public var id: Int
    /// Its name.
    public var name: String
    /// Time on a processor, in nanoseconds.
    public var runNs: UInt64
    /// Time it was ready to run and waited for a processor, in nanoseconds.
    public var waitNs: UInt64

    /// Describes a thread's use.
    public init(id: Int, name: String, runNs: UInt64, waitNs: UInt64) {
        (self.id, self.name, self.runNs, self.waitNs) = (id, name, runNs, waitNs)
    }

    /// Of all threads of this process; empty where the kernel does not count.
    public static func ofProcess(proc: String = "/proc") -> [ThreadUsage] {
        SystemTree.entries("\(proc)/self/task").compactMap { entry in
            let path = "\(proc)/self/task/\(entry)"
            guard let id = Int(entry), let text = SystemTree.text("\(path)/schedstat") else { return nil }
            let numbers = text.split(separator: " ").map { UInt64($0) ?? 0 }
            guard numbers.count >= 2 else { return nil }
            let name = SystemTree.text("\(path)/comm") ?? entry
            return ThreadUsage(id: id, name: name, runNs: numbers[0], waitNs: numbers[1])
        }
    }
}

/// What the whole machine counts, whoever did it.
public enum MachineCounts {
    /// TCP packets sent again by this network namespace; nil where /proc does not say.
    public static func retransmittedSegments(proc: String = "/proc") -> UInt64? {
        let lines = SystemTree.lines("\(proc)/self/net/snmp").filter { $0.hasPrefix("Tcp: ") }
        guard lines.count == 2 else { return nil }
        let names = lines[0].split(separator: " ")
        let values = lines[1].split(separator: " ")
        guard let place = names.firstIndex(of: "RetransSegs"), values.indices.contains(place) else { return nil }
        return UInt64(values[place])
    }

    /// The largest receive and send buffers that the kernel gives a TCP connection by itself, in bytes.
    public static func tcpBufferBytesMax(proc: String = "/proc") -> (receive: UInt64, send: UInt64)? {
        func last(_ name: String) -> UInt64? {
            SystemTree.text("\(proc)/sys/net/ipv4/\(name)")?.split { $0 == "\t" || $0 == " " }.last.flatMap {
                UInt64($0)
            }
        }
        guard let receive = last("tcp_rmem"), let send = last("tcp_wmem") else { return nil }
        return (receive, send)
    }

    /// Which start of this kernel it is: two processes that read the same are on one machine.
    public static func bootID(proc: String = "/proc") -> String? {
        SystemTree.text("\(proc)/sys/kernel/random/boot_id")
    }

    /// A counter of an RDMA device's port, such as `rnr_nak_retry_err` or `out_of_sequence`: all that the driver counts.
    public static func rdmaCounters(device: String, port: Int, sys: String = "/sys") -> [String: UInt64] {
        let path = "\(sys)/class/infiniband/\(device)/ports/\(port)/hw_counters"
        var found: [String: UInt64] = [:]
        for name in SystemTree.entries(path) where name != "lifespan" {
            if let value = SystemTree.text("\(path)/\(name)").flatMap({ UInt64($0) }) { found[name] = value }
        }
        return found
    }

    /// What a PCI device's slot carries: transfers a second and lane, and lanes, as the kernel says it (`16.0 GT/s PCIe`, 16).
    public static func pciLink(address: String, sys: String = "/sys") -> (speed: String, lanes: Int)? {
        let path = "\(sys)/bus/pci/devices/\(address)"
        guard let speed = SystemTree.text("\(path)/current_link_speed"),
            let lanes = SystemTree.number("\(path)/current_link_width"), lanes > 0
        else { return nil }
        return (speed, lanes)
    }
}
