import CLinux

/// Time for stamps that people and other hosts read: Unix time. It may jump; never wait by it.
public enum WallClock {
    /// Unix time in milliseconds.
    public static func nowMilliseconds() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return UInt64(time.tv_sec) * 1000 + UInt64(time.tv_nsec) / 1_000_000
    }

    /// Unix time in seconds.
    public static func nowSeconds() -> Int64 { Int64(nowMilliseconds() / 1000) }
}
