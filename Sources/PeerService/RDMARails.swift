import Configuration
import Observability
import Rails
import Synchronization
import System
import Transport
import TransportVerbs
import Verbs

/// A rail over one RDMA port, as metrics and logs show it.
struct RDMARail: Sendable {
    let name: String
    let device: String
    let port: Int
    /// The network interface on the same wire; empty where there is none.
    let networkDevice: String
    /// How readers are kept to their lease: `window` or `region`.
    let lease: String
}

extension VerbsConfiguration {
    /// What the configuration says of one port's rail, which listens at `listen`.
    init(_ configuration: Configuration, identity: LinkIdentity, port: VerbsPort, listen: NetworkAddress) {
        self.init(identity: identity, device: port.device, listen: listen.description)
        path.port = port.number
        path.gid = GIDSelection(configuration)
        path.serviceLevel = UInt8(configuration[Schema.Peer.rdmaServiceLevel])
        path.trafficClass = UInt8(configuration[Schema.Peer.rdmaTrafficClass])
        path.mtu =
            switch configuration[Schema.Peer.rdmaMTU] {
            case .auto: nil
            case .bytes256: .bytes256
            case .bytes512: .bytes512
            case .bytes1024: .bytes1024
            case .bytes2048: .bytes2048
            case .bytes4096: .bytes4096
            }
        lanes = configuration[Schema.Peer.rdmaQueuePairs]
        // Only the side that dials reads.
        reverseLanes = 0
        lease =
            switch configuration[Schema.Peer.rdmaLease] {
            case .probed: .probed
            case .window: .window
            case .region: .region
            }
    }
}

/// What a transport was found to be while its rail started, brought from the rail's thread.
final class LeaseFinding: Sendable {
    private let found = Mutex<(lease: String, sentence: String)>(("", ""))

    /// Notes it.
    func note(_ transport: VerbsTransport) {
        let mechanism =
            switch transport.enforcement?.mechanism {
            case .window: "window"
            case .exactRegion: "region"
            case nil: transport.configuredLease.rawValue
            }
        let sentence = transport.enforcement?.description ?? "leases by \(mechanism), as configured"
        found.withLock { $0 = (mechanism, sentence) }
    }

    /// `window` or `region`.
    var lease: String { found.withLock(\.lease) }
    /// What the device enforces, in words.
    var sentence: String { found.withLock(\.sentence) }
}

extension RDMAPorts {
    /// Where other hosts find the rail of a port that listens at `bound`: where it listens for every interface, at the
    /// port's own address, so that control goes the way that pieces go.
    static func advertised(
        _ port: VerbsPort, bound: NetworkAddress, _ configuration: Configuration
    ) throws(ConfigurationError) -> NetworkAddress {
        if bound.isWildcard, let gid = port.gid, gid.kind != .infiniBand, gid.networkDevice != nil,
            !gid.gid.isLinkLocal
        {
            return NetworkAddress(host: gid.gid.description, port: bound.port)
        }
        let configured = configuration[Schema.Peer.advertise].map { NetworkAddress(host: $0.host, port: bound.port) }
        return try NetworkAddress.advertised(
            bound.isWildcard ? configured : nil, listening: bound,
            toward: configuration[Schema.Peer.schedulers] + configuration[Schema.Manager.addresses],
            key: Schema.Peer.rdmaListen.key.name)
    }

    /// Why a port could carry nothing although it is up: the memlock limit is too low for the slots, or the device
    /// cannot be given pages of the store's files, which is what others read. nil when it could, as far as can be told
    /// beforehand.
    func objection(to port: VerbsPort, arenaBytes: Int, store: String) -> String? {
        // Queues, and what liveness needs.
        let besides: UInt64 = 2 << 20
        let limit = MemoryLockLimit.current()
        if let objection = limit.objection(toPinning: UInt64(arenaBytes) + besides, on: port.device) {
            return objection.description
        }
        do throws(Errno) {
            let directory = try Directory(path: store)
            let name = "rdma-probe.\(CurrentProcess.id)"
            let file = try directory.open(name, .createOrOpen)
            try directory.unlink(name)
            try file.truncate(sizeBytes: 4096)
            do throws(VerbsError) {
                try port.probeFile(file.raw, library)
            } catch {
                return error.description
            }
        } catch {
            return "cannot try whether \(port.device) can be given files in \(store): \(error)"
        }
        return nil
    }
}
