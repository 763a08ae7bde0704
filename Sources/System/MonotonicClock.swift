import CLinux

/// Time for waits and rates: nanoseconds of `CLOCK_MONOTONIC`, from an arbitrary start.
public enum MonotonicClock {
    /// Now, in nanoseconds.
    public static func nowNs() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    /// Blocks the thread for about so long: never on a rail, never in the cooperative pool.
    public static func sleep(ns: UInt64) {
        let untilNs = nowNs() + ns
        while true {
            let now = nowNs()
            guard now < untilNs else { return }
            var wait = timespec(
                tv_sec: Int((untilNs - now) / 1_000_000_000), tv_nsec: Int((untilNs - now) % 1_000_000_000))
            nanosleep(&wait, nil)
        }
    }
}
