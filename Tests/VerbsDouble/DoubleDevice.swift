import Verbs

/// What a device of the double is like.
public struct DoubleDevice: Sendable {
    /// Its name.
    public var name: String
    /// Its port's addresses.
    public var gids: [GIDEntry]
    /// Whether windows enforce their range; rxe's do not.
    public var windowsBoundRange = true
    /// Whether a window is void on other queue pairs than the one it is bound to.
    public var windowsBindToPair = true
    /// Whether there are windows.
    public var hasWindows = true
    /// Whether a region refuses what it was not registered for.
    public var regionsRefuseWrites = true
    /// READs served and initiated at once.
    public var readsMax = 16
    /// Queue pairs.
    public var queuePairsMax = 1024
    /// Regions.
    public var regionsMax = 65_536
    /// The largest region.
    public var regionBytesMax: UInt64 = 1 << 40
    /// Entries of a completion queue.
    public var completionEntriesMax = 32_767
    /// The largest packet.
    public var activeMTU = PathMTU.bytes4096
    /// Whether the port is up at first.
    public var isUp = true
    /// Whether it says it is a soft device.
    public var isSoft = false
    /// Whether it can be given another device's memory by a DMA-buf.
    public var takesDMABufs = true
    /// Whether relaxed ordering is refused.
    public var refusesRelaxedOrdering = false

    /// A device with one RoCE v2 address, 10.77.0.`host`.
    public init(_ name: String, host: UInt8) {
        self.name = name
        gids = [GIDEntry(index: 1, gid: GID(ipv4: 10, 77, 0, host), kind: .roceV2)]
    }
}
