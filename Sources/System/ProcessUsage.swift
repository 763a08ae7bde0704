import CLinux

/// What this process has used so far: memory and processor time.
public enum ProcessUsage {
    /// Bytes of memory in use now (`VmRSS`); nil where /proc is not mounted.
    public static func residentBytes(proc: String = "/proc") -> UInt64? {
        SystemTree.field("VmRSS", of: "\(proc)/self/status").flatMap(kibibytes)
    }

    /// The most bytes of memory that were in use at once (`VmHWM`); nil where /proc is not mounted.
    public static func residentBytesPeak(proc: String = "/proc") -> UInt64? {
        SystemTree.field("VmHWM", of: "\(proc)/self/status").flatMap(kibibytes)
    }

    /// Processor time of all threads, in nanoseconds: in the program itself, and in the kernel on its behalf.
    public static func processorTimeNs() -> (userNs: UInt64, systemNs: UInt64) {
        var usage = rusage()
        getrusage(RUSAGE_SELF, &usage)
        return (nanoseconds(usage.ru_utime), nanoseconds(usage.ru_stime))
    }

    private static func nanoseconds(_ time: timeval) -> UInt64 {
        UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_usec) * 1000
    }
}
