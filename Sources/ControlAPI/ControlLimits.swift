import RPC

/// Bounds that both ends of the control plane must agree on.
public enum ControlLimits {
    /// The longest message: a manifest of 20 000 files with long paths has some 10 MB.
    public static let messageBytesMax = 64 << 20

    /// Options of every server of the control plane, for so many streams at once.
    public static func server(callsMax: Int) -> RPCServerOptions {
        var options = RPCServerOptions()
        options.messageBytesMax = messageBytesMax
        options.callsMax = callsMax
        return options
    }

    /// Options of every client of the control plane.
    public static var channel: RPCChannelOptions {
        var options = RPCChannelOptions()
        options.messageBytesMax = messageBytesMax
        return options
    }
}
