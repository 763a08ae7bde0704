import CLinux

/// A numeric internet address with port, or a path of a Unix-domain socket, as the kernel takes it.
///
/// Names are not resolved: that would block. IPv6 hosts stand in brackets: `[::1]:7701`.
public struct SocketAddress: Sendable {
    /// Whether it is a Unix-domain path.
    public let isPath: Bool
    let storage: sockaddr_storage
    let length: UInt32

    /// Parses `host:port`; nil when the host is not numeric or the port is no number up to 65 535.
    public init?(hostAndPort text: String) {
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]) else {
            return nil
        }
        var host = text[..<colon]
        if host.hasPrefix("[") {
            guard host.hasSuffix("]") else { return nil }
            host = host.dropFirst().dropLast()
        } else if host.contains(":") {
            return nil
        }
        var storage = sockaddr_storage()
        let length = martlet_socket_parse(String(host), String(port), &storage)
        guard length > 0 else { return nil }
        self.storage = storage
        self.length = UInt32(length)
        isPath = false
    }

    /// Wraps a path; nil when it is empty or longer than the kernel's 107 bytes.
    public init?(path: String) {
        var storage = sockaddr_storage()
        let length = martlet_socket_path(path, &storage)
        guard length > 0 else { return nil }
        self.storage = storage
        self.length = UInt32(length)
        isPath = true
    }

    var family: CInt { CInt(storage.ss_family) }
}

extension SocketAddress {
    /// The numeric address from which this machine would send to a host: the one others on the way there can reach it at.
    ///
    /// Asks the routing table and sends nothing. Resolves names, so it may block for as long as the resolver takes.
    public static func source(toward host: String, port: UInt16) throws(Errno) -> String {
        var text = [CChar](repeating: 0, count: 64)
        let result = martlet_socket_source(host, String(port), &text, CInt(text.count))
        guard result >= 0 else { throw Errno(-result, "connect (toward \(host))") }
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

/// The IP address of a far side, to tell hosts apart by: who takes how much.
public struct PeerAddress: Hashable, Sendable {
    /// The address as IPv6, IPv4 mapped into it.
    public let high: UInt64
    /// Its lower half.
    public let low: UInt64

    /// From the halves of an IPv6 address.
    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// Nobody's: for a connection whose far side is not known.
    public static let unknown = PeerAddress(high: 0, low: 0)
}
