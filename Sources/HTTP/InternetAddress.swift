import CCurl

/// An IPv4 or IPv6 address; IPv4 in IPv6's clothes (mapped, translated) is the IPv4 address that it leads to.
public struct InternetAddress: Hashable, Sendable, CustomStringConvertible {
    /// 4 or 16 bytes, in network order.
    let bytes: [UInt8]

    /// Takes 4 or 16 bytes in network order; nil for another count.
    public init?(bytes given: [UInt8]) {
        guard given.count == 4 || given.count == 16 else { return nil }
        bytes = InternetAddress.embeddedIPv4(given) ?? given
    }

    /// Reads dotted, decimal, octal and hexadecimal IPv4 (`inet_aton(3)`) and IPv6 without brackets or zone; nil for a
    /// name.
    public init?(_ text: some StringProtocol) {
        // Nothing longer is an address, and a NUL would hide what follows it from C.
        guard text.utf8.count <= 64, !text.utf8.contains(0) else { return nil }
        var read = [UInt8](repeating: 0, count: 16)
        let count = martlet_curl_parse_address(String(text), &read)
        guard count > 0 else { return nil }
        self.init(bytes: Array(read.prefix(Int(count))))
    }

    /// IPv4-mapped (::ffff:0:0/96), IPv4-translated (64:ff9b::/96, RFC 6052) and 6to4 (2002::/16): what they lead to.
    private static func embeddedIPv4(_ bytes: [UInt8]) -> [UInt8]? {
        guard bytes.count == 16 else { return nil }
        let mapped: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]
        let translated: [UInt8] = [0, 0x64, 0xFF, 0x9B, 0, 0, 0, 0, 0, 0, 0, 0]
        if bytes.starts(with: mapped) || bytes.starts(with: translated) { return Array(bytes[12...]) }
        return bytes.starts(with: [0x20, 0x02]) ? Array(bytes[2..<6]) : nil
    }

    /// Why no stranger's URL may lead there; nil for an address of the public Internet.
    ///
    /// After IANA's registries of special-purpose addresses, and the clouds' metadata services.
    public var restriction: String? {
        let ranges = bytes.count == 4 ? InternetAddress.restrictedIPv4 : InternetAddress.restrictedIPv6
        if let found = ranges.first(where: { $0.range.contains(self) }) { return found.name }
        // What is not global unicast is for nobody's origin.
        return bytes.count == 16 && bytes[0] & 0xE0 != 0x20 ? "not a global address" : nil
    }

    private static func table(_ rows: [(String, String)]) -> [(range: AddressRange, name: String)] {
        rows.map { (AddressRange($0.0)!, $0.1) }
    }

    private static let restrictedIPv4 = table([
        ("169.254.0.0/16", "link-local, where clouds keep their metadata service"),
        ("168.63.129.16/32", "a cloud's metadata service"),
        ("0.0.0.0/8", "this host"), ("127.0.0.0/8", "loopback"), ("10.0.0.0/8", "private"),
        ("172.16.0.0/12", "private"), ("192.168.0.0/16", "private"), ("100.64.0.0/10", "shared (carrier NAT)"),
        ("192.0.0.0/24", "reserved"), ("192.0.2.0/24", "for documentation"), ("192.88.99.0/24", "reserved"),
        ("198.18.0.0/15", "for benchmarks"), ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"), ("224.0.0.0/4", "multicast"), ("240.0.0.0/4", "reserved"),
    ])

    private static let restrictedIPv6 = table([
        ("fd00:ec2::/32", "a cloud's metadata service"), ("::1/128", "loopback"), ("::/96", "this host"),
        ("fe80::/10", "link-local"), ("fc00::/7", "private"), ("fec0::/10", "private"), ("ff00::/8", "multicast"),
        ("64:ff9b:1::/48", "translated locally"), ("2001::/23", "reserved"), ("2001:db8::/32", "for documentation"),
        ("3fff::/20", "for documentation"),
    ])

    /// Dotted, or eight groups of hexadecimal digits.
    public var description: String {
        if bytes.count == 4 { return bytes.map { String($0) }.joined(separator: ".") }
        return stride(from: 0, to: 16, by: 2)
            .map { String(UInt16(bytes[$0]) << 8 | UInt16(bytes[$0 + 1]), radix: 16) }.joined(separator: ":")
    }
}

/// Addresses with a common beginning: `10.0.0.0/8`, `fd12::/16`, or one address.
public struct AddressRange: Hashable, Sendable {
    private let first: [UInt8]
    private let prefixBits: Int

    /// Reads an address with or without a prefix length; nil for anything else.
    public init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count <= 2, let address = InternetAddress(parts[0]) else { return nil }
        let bitsMax = 8 * address.bytes.count
        guard parts.count == 1 || parts[1].utf8.count <= 3, let bits = parts.count == 1 ? bitsMax : Int(parts[1]),
            (0...bitsMax).contains(bits)
        else { return nil }
        first = address.bytes
        prefixBits = bits
    }

    /// Whether the address begins as these do.
    public func contains(_ address: InternetAddress) -> Bool {
        guard address.bytes.count == first.count else { return false }
        let whole = prefixBits / 8
        guard address.bytes[..<whole] == first[..<whole] else { return false }
        let rest = prefixBits % 8
        guard rest > 0 else { return true }
        return (address.bytes[whole] ^ first[whole]) >> UInt8(8 - rest) == 0
    }
}
