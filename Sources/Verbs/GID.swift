import CVerbs

/// An RDMA address: 16 bytes, an IPv6 address or an IPv4 address mapped into one, or InfiniBand's prefix and number.
public struct GID: Hashable, Sendable, CustomStringConvertible {
    private let high: UInt64
    private let low: UInt64

    /// From its 16 bytes in network order; nil when they are not 16.
    public init?(_ bytes: some Sequence<UInt8>) {
        var words: (UInt64, UInt64) = (0, 0)
        var count = 0
        for byte in bytes {
            if count < 8 { words.0 = words.0 << 8 | UInt64(byte) } else { words.1 = words.1 << 8 | UInt64(byte) }
            count += 1
        }
        guard count == 16 else { return nil }
        (high, low) = words
    }

    /// An IPv4 address as RoCE v2 writes it: `::ffff:a.b.c.d`.
    public init(ipv4 a: UInt8, _ b: UInt8, _ c: UInt8, _ d: UInt8) {
        high = 0
        low = 0xFFFF_0000_0000 | UInt64(a) << 24 | UInt64(b) << 16 | UInt64(c) << 8 | UInt64(d)
    }

    init(_ raw: ibv_gid) {
        var raw = raw
        var bytes = [UInt8](repeating: 0, count: 16)
        martlet_gid_bytes(&raw, &bytes)
        self.init(bytes)!
    }

    /// The 16 bytes in network order.
    public var bytes: [UInt8] {
        (0..<16).map { UInt8(truncatingIfNeeded: ($0 < 8 ? high : low) >> UInt64(8 * (7 - $0 % 8))) }
    }

    /// Not set.
    public var isZero: Bool { high == 0 && low == 0 }
    /// An IPv4 address mapped into IPv6.
    public var isIPv4: Bool { high == 0 && low >> 32 == 0xFFFF }
    /// Of the one network segment: fe80::/10.
    public var isLinkLocal: Bool { high >> 54 == 0xFE80 >> 6 }

    var raw: ibv_gid {
        var raw = ibv_gid()
        martlet_gid_set(&raw, bytes)
        return raw
    }

    /// As an address is written: `10.9.0.1`, or eight groups of hexadecimal digits.
    public var description: String {
        let bytes = bytes
        if isIPv4 { return bytes.suffix(4).map { String($0) }.joined(separator: ".") }
        return stride(from: 0, to: 16, by: 2).map {
            String(UInt16(bytes[$0]) << 8 | UInt16(bytes[$0 + 1]), radix: 16)
        }.joined(separator: ":")
    }
}

/// An address of a port, with what its packets look like.
public struct GIDEntry: Hashable, Sendable {
    /// What packets sent from the address look like; both ends must agree.
    public enum Kind: String, Hashable, Sendable {
        /// InfiniBand.
        case infiniBand
        /// RoCE v1: Ethernet frames of their own kind, which no router forwards.
        case roceV1
        /// RoCE v2: UDP datagrams to port 4791.
        case roceV2
    }

    /// Its place in the port's table.
    public let index: Int
    /// The address.
    public let gid: GID
    /// What packets look like.
    public let kind: Kind
    /// The network interface that has the address; nil on InfiniBand, or when it is in another network namespace.
    public let networkDevice: String?

    /// An entry as a table holds it.
    public init(index: Int, gid: GID, kind: Kind, networkDevice: String? = nil) {
        self.index = index
        self.gid = gid
        self.kind = kind
        self.networkDevice = networkDevice
    }

    init(_ raw: ibv_gid_entry) {
        var name = [CChar](repeating: 0, count: 16)
        let length = raw.ndev_ifindex == 0 ? 0 : martlet_verbs_interface_name(raw.ndev_ifindex, &name)
        let kind: Kind =
            switch raw.gid_type {
            case UInt32(IBV_GID_TYPE_ROCE_V2.rawValue): .roceV2
            case UInt32(IBV_GID_TYPE_ROCE_V1.rawValue): .roceV1
            default: .infiniBand
            }
        self.init(
            index: Int(raw.gid_index), gid: GID(raw.gid), kind: kind,
            networkDevice: length > 0
                ? String(decoding: name.prefix(Int(length)).map { UInt8(bitPattern: $0) }, as: UTF8.self) : nil)
    }
}
