import Artifacts
import Foundation
import System
import Transport
import TransportVerbs
import Verbs
import VerbsDouble

extension ContractSubject {
    /// Real devices, where there are any, with each kind of lease; with `MARTLET_RDMA=required` there have to be.
    static let rdma: [ContractSubject] = {
        let isRequired = ProcessInfo.processInfo.environment["MARTLET_RDMA"] == "required"
        guard isRequired || !VerbsNetwork.places.isEmpty else { return [] }
        return [
            verbs("rdma") { VerbsNetwork(.probed) },
            verbs("rdma, regions") { VerbsNetwork(.region) },
            verbs("rdma, windows") { VerbsNetwork(.window) },
        ]
    }()

    /// The same transport on a device that is played.
    static let verbsDouble: [ContractSubject] = [
        verbs("verbs double") { VerbsNetwork(.probed, double: VerbsDouble()) },
        verbs("verbs double, regions") { VerbsNetwork(.region, double: VerbsDouble()) },
        verbs("verbs double, secured") { VerbsNetwork(.probed, double: VerbsDouble(), security: .made(.one)) },
    ]

    private static func verbs(_ name: String, _ make: @escaping @Sendable () -> any ContractNetwork) -> ContractSubject
    {
        ContractSubject(name: name, serves: false, pings: true, makeNetwork: make)
    }
}

/// Hosts on the RDMA devices of this machine, one after the other.
final class VerbsNetwork: ContractNetwork {
    /// A device and the address of its network interface.
    struct Place {
        let device: String
        let address: String
    }

    static let library = try? VerbsLibrary.load()

    /// Every device with an active port and an IPv4 address of the first one's network.
    static let places: [Place] = {
        guard let library, let names = try? library.deviceNames() else { return [] }
        let all: [Place] = names.compactMap { description in
            guard let device = try? library.open(description.name), let port = try? device.port(1), port.isActive,
                let entries = try? device.gids(port: 1),
                case .chosen(let entry) = GIDSelection.automatic.choose(from: entries), entry.gid.isIPv4
            else { return nil }
            return Place(device: description.name, address: entry.gid.description)
        }
        // Of one network: a machine with several need have no way from one to another.
        func network(_ place: Place) -> Substring {
            place.address[..<(place.address.lastIndex(of: ".") ?? place.address.endIndex)]
        }
        return all.filter { network($0) == network(all[0]) }
    }()

    private let lease: VerbsConfiguration.Lease
    private let library: VerbsLibrary?
    /// Kept: its devices live as long as it does.
    private let double: VerbsDouble?
    private let places: [Place]
    private let security: LinkSecurity?
    private var count = 0

    init(_ lease: VerbsConfiguration.Lease, double: VerbsDouble? = nil, security: LinkSecurity? = nil) {
        self.lease = lease
        self.security = security
        self.double = double
        library = double?.library ?? Self.library
        places =
            double == nil
            ? Self.places : ["double0", "double1"].map { Place(device: $0, address: "127.0.0.1") }
    }

    func makeTransport(identity: LinkIdentity, bounds: ContractBounds) throws -> any PieceTransport {
        guard let library, !places.isEmpty else {
            throw TransportError(.system, "RDMA is required, and no device is usable here")
        }
        let place = places[count % places.count]
        count += 1
        var configuration = VerbsConfiguration(
            identity: identity, device: place.device, listen: "\(place.address):0")
        configuration.lease = lease
        configuration.security = security
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
        TransportAddress(kind: .rdma, location: "\(places.first?.address ?? "127.0.0.1"):1")
    }
    var foreignAddress: TransportAddress { TransportAddress(kind: .tcp, location: "127.0.0.1:1") }
    func nowNs() -> UInt64 { MonotonicClock.nowNs() }
    func idle() { usleep(200) }
    func close() {}
}
