/// An RDMA device as people name it, `mlx5_0`, or one port of it, `mlx5_0:2`.
public struct RDMAPortName: Hashable, Sendable, CustomStringConvertible {
    /// The device's name.
    public let device: String
    /// The port, counted from 1; nil for all of them.
    public let port: Int?

    /// Names a device, or one port of it.
    public init(device: String, port: Int? = nil) {
        self.device = device
        self.port = port
    }

    /// Reads `name` or `name:port`; nil when it is neither.
    public init?(_ text: String) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard (1...2).contains(parts.count), let name = parts.first, !name.isEmpty, name.utf8.count <= 63,
            name.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "/") })
        else { return nil }
        var port: Int?
        if parts.count == 2 {
            guard let number = Int(parts[1]), (1...254).contains(number) else { return nil }
            port = number
        }
        self.init(device: String(name), port: port)
    }

    /// The form it is read from.
    public var description: String { port.map { "\(device):\($0)" } ?? device }
}
