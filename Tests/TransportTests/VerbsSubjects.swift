import Artifacts
import Foundation
import System
import Transport
import TransportVerbs
import Verbs

extension ContractSubject {
    /// Real devices, where there are any, with each kind of lease; with `MARTLET_RDMA=required` there have to be.
    static let rdma: [ContractSubject] = {
        let isRequired = ProcessInfo.processInfo.environment["MARTLET_RDMA"] == "required"
        guard isRequired || !VerbsNetwork.places.isEmpty else { return [] }
        return [
            ContractSubject(name: "rdma", serves: false, pings: true) { VerbsNetwork(.probed) },
            ContractSubject(name: "rdma, regions", serves: false, pings: true) { VerbsNetwork(.region) },
            ContractSubject(name: "rdma, windows", serves: false, pings: true) { VerbsNetwork(.window) },
        ]
    }()
}

/// Hosts on the RDMA devices of this machine, one after the other.
final class VerbsNetwork: ContractNetwork {
    /// A device and the address of its network interface.
    struct Place {
        let device: String
        let address: String
    }

    static let library = try? VerbsLibrary.load()

    /// Every device with an active port and an IPv4 address.
    static let places: [Place] = {
        guard let library, let names = try? library.deviceNames() else { return [] }
        return names.compactMap { description in
            guard let device = try? library.open(description.name), let port = try? device.port(1), port.isActive,
                let entries = try? device.gids(port: 1),
                case .chosen(let entry) = GIDSelection.automatic.choose(from: entries), entry.gid.isIPv4
            else { return nil }
            return Place(device: description.name, address: entry.gid.description)
        }
    }()

    private let lease: VerbsConfiguration.Lease
    private var count = 0

    init(_ lease: VerbsConfiguration.Lease) { self.lease = lease }

    func makeTransport(identity: LinkIdentity, bounds: ContractBounds) throws -> any PieceTransport {
        guard let library = Self.library, !Self.places.isEmpty else {
            throw TransportError(.system, "RDMA is required, and no device is usable here")
        }
        let place = Self.places[count % Self.places.count]
        count += 1
        var configuration = VerbsConfiguration(
            identity: identity, device: place.device, listen: "\(place.address):0")
        configuration.lease = lease
        configuration.linksMax = bounds.linksMax
        configuration.readsPerLinkMax = bounds.readsPerLinkMax
        configuration.exportsPerLinkMax = bounds.exportsPerLinkMax
        configuration.progressLimitNs = bounds.progressLimitNs
        configuration.handshakeLimitNs = 20_000_000_000
        configuration.livenessIntervalNs = 200_000_000
        configuration.pingLimitNs = 1_000_000_000
        return try VerbsTransport(configuration, library: library)
    }

    var deadAddress: TransportAddress {
        TransportAddress(kind: .rdma, location: "\(Self.places.first?.address ?? "127.0.0.1"):1")
    }
    var foreignAddress: TransportAddress { TransportAddress(kind: .tcp, location: "127.0.0.1:1") }
    func nowNs() -> UInt64 { MonotonicClock.nowNs() }
    func idle() { usleep(200) }
    func close() {}
}
