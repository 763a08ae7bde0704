import RPC

/// Bounds that both ends of the control plane must agree on.
public enum ControlLimits {
    /// The longest message: a manifest of 20 000 files with long paths has some 10 MB.
    public static let messageBytesMax = 64 << 20

    /// Options of every server of the control plane, for so many streams at once, with who stands at its door.
    public static func server(callsMax: Int, gatekeeper: Gatekeeper) -> RPCServerOptions {
        var options = RPCServerOptions()
        options.messageBytesMax = messageBytesMax
        options.callsMax = callsMax
        options.admit = { gatekeeper.admit($0) }
        return options
    }

    /// Options of every client of the control plane.
    public static var channel: RPCChannelOptions {
        var options = RPCChannelOptions()
        options.messageBytesMax = messageBytesMax
        return options
    }
}
