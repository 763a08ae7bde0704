import CLinux

/// A limit the kernel sets this process: how much memory it may lock, how many descriptors it may hold.
public enum ResourceLimit: Sendable, CaseIterable {
    /// Bytes that may be locked or registered with a NIC (`RLIMIT_MEMLOCK`).
    case lockedMemory
    /// Open descriptors (`RLIMIT_NOFILE`).
    case openFiles

    /// A limit's two values: the one in force, and how far a process may raise it itself.
    public struct Values: Hashable, Sendable {
        /// The value in force; nil: unlimited.
        public var soft: UInt64?
        /// The most `soft` can be raised to; nil: unlimited.
        public var hard: UInt64?

        /// A pair of values.
        public init(soft: UInt64?, hard: UInt64?) {
            self.soft = soft
            self.hard = hard
        }
    }

    /// The values now.
    public func values() throws(Errno) -> Values {
        var limit = rlimit()
        try retrying("getrlimit") { getrlimit(resource, &limit) }
        return Values(soft: Self.bounded(limit.rlim_cur), hard: Self.bounded(limit.rlim_max))
    }

    /// Raises the value in force as far as is allowed without privileges, and gives the values that hold then.
    @discardableResult
    public func raise() throws(Errno) -> Values {
        var limit = rlimit()
        try retrying("getrlimit") { getrlimit(resource, &limit) }
        if limit.rlim_cur != limit.rlim_max {
            limit.rlim_cur = limit.rlim_max
            try retrying("setrlimit") { setrlimit(resource, &limit) }
        }
        return Values(soft: Self.bounded(limit.rlim_cur), hard: Self.bounded(limit.rlim_max))
    }

    /// Sets both values; lowering cannot be undone without privileges.
    public func lower(to value: UInt64) throws(Errno) {
        var limit = rlimit(rlim_cur: rlim_t(value), rlim_max: rlim_t(value))
        try retrying("setrlimit") { setrlimit(resource, &limit) }
    }

    private var resource: __rlimit_resource {
        switch self {
        case .lockedMemory: __RLIMIT_MEMLOCK
        case .openFiles: RLIMIT_NOFILE
        }
    }

    // RLIM_INFINITY is a macro the importer does not see: all bits set.
    private static func bounded(_ value: rlim_t) -> UInt64? { value == rlim_t.max ? nil : UInt64(value) }
}
