import Artifacts

/// How a store is opened.
public struct StoreConfiguration: Sendable {
    /// The data directory; created if missing. One process at a time has it.
    public var directory: String
    /// The most that all tasks together may occupy; nil for as much as the disk has.
    public var budgetBytes: UInt64?
    /// What must stay free on the file system.
    public var freeBytesMin: UInt64
    /// Where tests make the disk fail.
    public var faults: (any StorageFaults)?
    /// The boot to believe journals of; tests pretend another.
    public var boot: BootID

    /// Describes a store: by default no budget, 256 MiB left free, faults as the environment says (tests only), this
    /// boot.
    public init(
        directory: String, budgetBytes: UInt64? = nil, freeBytesMin: UInt64 = 256 << 20,
        faults: (any StorageFaults)? = DiskFullAfter.fromEnvironment(), boot: BootID = .current()
    ) {
        self.directory = directory
        self.budgetBytes = budgetBytes
        self.freeBytesMin = freeBytesMin
        self.faults = faults
        self.boot = boot
    }
}

/// What a store holds of one task: what is announced to schedulers.
public struct TaskInventory: Sendable, Hashable {
    /// Which task.
    public let task: TaskID
    /// The file's size.
    public let sizeBytes: UInt64
    /// The pieces that can be served.
    public let held: PieceSet
    /// Whether the whole file was checked.
    public let isPublished: Bool
}

/// A model as a store knows it.
public struct StoredModel: Sendable, Hashable {
    /// Which model.
    public let id: ModelID
    /// Its files.
    public let manifest: Manifest
    /// Whether every file is published.
    public let isComplete: Bool
    /// Bytes of all its distinct tasks.
    public let totalBytes: UInt64
    /// Bytes of them that are held.
    public let heldBytes: UInt64
    /// Whether it is never evicted.
    public let isPinned: Bool
    /// Whether it is being downloaded, served or exported.
    public let isInUse: Bool
    /// When it was last asked for: seconds since 1970.
    public let lastUsedSeconds: Int64
}

/// How full a store is.
public struct StoreUsage: Sendable, Hashable {
    /// The most it may occupy; nil for no budget.
    public let budgetBytes: UInt64?
    /// What its tasks occupy at their full sizes, downloads included.
    public let usedBytes: UInt64
    /// The part of it that belongs to pinned models.
    public let pinnedBytes: UInt64
    /// What the file system has left, less what running downloads were promised of it.
    public let freeBytes: UInt64
}
