import Glibc
import System

/// Which build this is.
public enum BuildInfo {
    /// The version, as hosts tell it to each other.
    public static let version = "0.1.0"
}

/// What the kernel says of this process, as metrics with the names that Prometheus' own clients use.
enum ProcessFigures {
    /// Descriptors open now.
    static func openDescriptors() -> UInt64 {
        guard let directory = opendir("/proc/self/fd") else { return 0 }
        defer { closedir(directory) }
        var count: UInt64 = 0
        while let entry = readdir(directory) {
            if entry.pointee.d_name.0 != 0x2E { count += 1 }
        }
        // Less the one that reads the directory.
        return count > 0 ? count - 1 : 0
    }

    /// When the process started, in seconds since 1970.
    static func startUnixSeconds() -> Double {
        // Field 22 of stat(5), counted after the command's closing bracket (the command may hold spaces).
        guard let bracket = read("/proc/self/stat").split(separator: ")").last,
            let boot = read("/proc/stat").split(separator: "\n").first(where: { $0.hasPrefix("btime ") })
        else { return 0 }
        let fields = bracket.split(separator: " ")
        guard fields.count > 19, let ticks = Double(fields[19]), let bootSeconds = Double(boot.dropFirst(6))
        else { return 0 }
        return bootSeconds + ticks / Double(sysconf(CInt(_SC_CLK_TCK)))
    }

    static func register(in registry: MetricsRegistry) {
        let start = startUnixSeconds()
        func add(
            _ name: String, _ help: String, _ kind: MetricKind, _ read: @escaping @Sendable () -> MetricSample
        ) {
            registry.collect(name, help, kind: kind) { [read()] }
        }
        add("process_cpu_seconds_total", "CPU time so far, user and system.", .counter) {
            let time = ProcessUsage.processorTimeNs()
            return .init(value: Double(time.userNs + time.systemNs) / 1e9)
        }
        add("process_resident_memory_bytes", "Memory in RAM.", .gauge) {
            .init(value: ProcessUsage.residentBytes() ?? 0)
        }
        add("process_resident_memory_max_bytes", "The most memory ever in RAM.", .gauge) {
            .init(value: ProcessUsage.residentBytesPeak() ?? 0)
        }
        add("process_open_fds", "Open descriptors.", .gauge) { .init(value: openDescriptors()) }
        add("process_start_time_seconds", "When the process started, since 1970.", .gauge) {
            .init(value: start)
        }
    }

    /// A file of /proc, whole (they are small; 64 KiB at most).
    private static func read(_ path: String) -> String {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return "" }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 1 << 16)
        var filled = 0
        while filled < bytes.count {
            let count = bytes.withUnsafeMutableBytes { buffer in
                Glibc.read(descriptor, buffer.baseAddress! + filled, buffer.count - filled)
            }
            if count <= 0 { break }
            filled += count
        }
        return String(decoding: bytes[..<filled], as: UTF8.self)
    }
}
