import CVerbs

/// What a device is and its limits, as its driver reports them (ibv_query_device(3)).
public struct DeviceAttributes: Hashable, Sendable {
    /// The firmware's version; empty for soft devices.
    public let firmware: String
    /// The vendor's number, e.g. 0x2c9 for NVIDIA, 0xffffff for rxe.
    public let vendorID: UInt32
    /// The vendor's number of the product.
    public let vendorPartID: UInt32
    /// Whether it is a driver over a network interface (rxe, siw) and the processor copies.
    public let isSoft: Bool
    /// Ports, numbered from 1.
    public let portCount: Int
    /// The largest region.
    public let regionBytesMax: UInt64
    /// Queue pairs.
    public let queuePairsMax: Int
    /// Requests in one queue of a queue pair.
    public let queuePairRequestsMax: Int
    /// Completion queues.
    public let completionQueuesMax: Int
    /// Entries of one completion queue.
    public let completionEntriesMax: Int
    /// Regions.
    public let regionsMax: Int
    /// Windows; 0 when it has none.
    public let windowsMax: Int
    /// Protection domains.
    public let domainsMax: Int
    /// READs of one other end that a queue pair serves at once.
    public let readsServedMax: Int
    /// READs a queue pair may have under way at once.
    public let readsInitiatedMax: Int
    /// Whether it says that it has type-2 windows bound to a queue pair (2B) or to a domain (2A).
    public let hasTypeTwoWindows: Bool

    init(_ raw: ibv_device_attr) {
        firmware = withUnsafeBytes(of: raw.fw_ver) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        vendorID = raw.vendor_id
        vendorPartID = raw.vendor_part_id
        // rxe's and siw's own numbers.
        isSoft = raw.vendor_id == 0xFF_FFFF || raw.vendor_id == 0x62_6D74
        portCount = Int(raw.phys_port_cnt)
        regionBytesMax = raw.max_mr_size
        queuePairsMax = Int(raw.max_qp)
        queuePairRequestsMax = Int(raw.max_qp_wr)
        completionQueuesMax = Int(raw.max_cq)
        completionEntriesMax = Int(raw.max_cqe)
        regionsMax = Int(raw.max_mr)
        windowsMax = Int(raw.max_mw)
        domainsMax = Int(raw.max_pd)
        readsServedMax = Int(raw.max_qp_rd_atom)
        readsInitiatedMax = Int(raw.max_qp_init_rd_atom)
        let windows = IBV_DEVICE_MEM_WINDOW_TYPE_2A.rawValue | IBV_DEVICE_MEM_WINDOW_TYPE_2B.rawValue
        hasTypeTwoWindows = raw.device_cap_flags & windows != 0
    }
}

/// The largest packet of a path.
public enum PathMTU: UInt32, Hashable, Sendable, Comparable, CaseIterable {
    /// 256 bytes.
    case bytes256 = 1
    /// 512 bytes.
    case bytes512
    /// 1024 bytes: RoCE on Ethernet's usual 1500.
    case bytes1024
    /// 2048 bytes.
    case bytes2048
    /// 4096 bytes: InfiniBand, and RoCE where Ethernet's is at least 4200.
    case bytes4096

    /// In bytes.
    public var bytes: Int { 128 << Int(rawValue) }

    /// By size.
    public static func < (one: PathMTU, other: PathMTU) -> Bool { one.rawValue < other.rawValue }
}

/// A port's state and limits (ibv_query_port(3)).
public struct PortAttributes: Hashable, Sendable {
    /// What the port can carry now.
    public enum State: String, Hashable, Sendable {
        /// No signal.
        case down
        /// A signal; not configured yet.
        case initialising
        /// Configured; not open yet.
        case armed
        /// Carries traffic.
        case active
        /// Lost its signal a moment ago.
        case activeDeferred
        /// Anything else.
        case unknown
    }

    /// What is under the transport.
    public enum LinkLayer: String, Hashable, Sendable {
        /// InfiniBand: addressed by LID, and by GID across routers.
        case infiniBand
        /// Ethernet: RoCE (or iWARP), addressed by GID.
        case ethernet
    }

    /// From 1.
    public let number: Int
    /// What it can carry now.
    public let state: State
    /// What is under the transport.
    public let linkLayer: LinkLayer
    /// The largest packet in use.
    public let activeMTU: PathMTU
    /// The largest packet it could use.
    public let largestMTU: PathMTU
    /// The largest message, so the largest READ.
    public let messageBytesMax: UInt32
    /// Its address in an InfiniBand subnet; 0 on Ethernet.
    public let lid: UInt16
    /// Places for addresses.
    public let gidTableLength: Int
    /// Places for partition keys.
    public let partitionTableLength: Int
    /// What the wire carries each way, as the driver says it.
    public let gigabitsPerSecond: Double

    /// Whether it carries traffic now.
    public var isActive: Bool { state == .active }

    init(_ raw: ibv_port_attr, number: Int) {
        self.number = number
        state =
            switch raw.state {
            case IBV_PORT_DOWN: .down
            case IBV_PORT_INIT: .initialising
            case IBV_PORT_ARMED: .armed
            case IBV_PORT_ACTIVE: .active
            case IBV_PORT_ACTIVE_DEFER: .activeDeferred
            default: .unknown
            }
        // 0: drivers of before RoCE, which are InfiniBand's.
        linkLayer = raw.link_layer == UInt8(IBV_LINK_LAYER_ETHERNET) ? .ethernet : .infiniBand
        activeMTU = PathMTU(rawValue: raw.active_mtu.rawValue) ?? .bytes256
        largestMTU = PathMTU(rawValue: raw.max_mtu.rawValue) ?? .bytes256
        messageBytesMax = raw.max_msg_sz
        lid = raw.lid
        gidTableLength = Int(raw.gid_tbl_len)
        partitionTableLength = Int(raw.pkey_tbl_len)
        // InfiniBand's codes for lanes and for gigabits a second of one lane.
        let lanes: Double = [1: 1, 2: 4, 4: 8, 8: 12, 16: 2][raw.active_width] ?? 0
        let perLane: Double = [1: 2.5, 2: 5, 4: 10, 8: 10, 16: 14, 32: 25, 64: 50, 128: 100][raw.active_speed] ?? 0
        gigabitsPerSecond = lanes * perLane
    }
}
