import Artifacts
import Transport
import TransportVerbs
import Verbs

/// `--name value` pairs.
struct Options {
    private var values: [String: String] = [:]

    init(_ words: some Sequence<String>) throws {
        var name: String?
        for word in words {
            if let given = name {
                values[given] = word
                name = nil
            } else if word.hasPrefix("--") {
                name = String(word.dropFirst(2))
            } else {
                throw TransportError(.system, "\(word) is no option; options are --name value")
            }
        }
        if let name { throw TransportError(.system, "--\(name) has no value") }
    }

    func text(_ name: String, _ usual: String? = nil) throws -> String {
        guard let value = values[name] ?? usual else { throw TransportError(.system, "--\(name) is needed") }
        return value
    }

    func number(_ name: String, _ usual: Int) throws -> Int {
        guard let value = values[name] else { return usual }
        guard let number = Int(value) else { throw TransportError(.system, "--\(name) needs a number, not \(value)") }
        return number
    }

    static let cluster = "wire"

    func identity(_ usual: String) throws -> LinkIdentity {
        let name = try text("name", usual)
        return LinkIdentity(host: HostID(name)!, incarnation: 1, cluster: Self.cluster)
    }

    /// A transport as the options describe it.
    func transport(_ usualName: String, listen: String?) throws -> VerbsTransport {
        var configuration = VerbsConfiguration(identity: try identity(usualName), listen: listen)
        configuration.path.device = values["device"]
        if let lease = values["lease"] {
            guard let chosen = VerbsConfiguration.Lease(rawValue: lease) else {
                throw TransportError(.system, "--lease is probed, window or region")
            }
            configuration.lease = chosen
        }
        configuration.linksMax = try number("links", configuration.linksMax)
        configuration.handshakeLimitNs = UInt64(try number("handshake-limit-ms", 5000)) * 1_000_000
        configuration.revokeLimitNs = UInt64(try number("revoke-limit-ms", 1000)) * 1_000_000
        configuration.pingLimitNs = UInt64(try number("ping-limit-ms", 5000)) * 1_000_000
        return try VerbsTransport(configuration, library: try VerbsLibrary.load())
    }
}
