import Configuration
import Engine
import Memory
import Observability
import Rails
import Swarm
import System
import Transport
import TransportLocal
import TransportTCP
import TransportVerbs
import Verbs

/// The rails of a host: one for each RDMA port in use; for other transports one that serves and one that reads.
struct PeerRails {
    var rails: [RailHandle] = []
    var dialing: [TransportKind: [RailNumber]] = [:]
    /// What other hosts are told.
    var addresses: [String] = []
    /// Those over RDMA.
    var rdma: [RDMARail] = []

    private let configuration: Configuration
    private let link: LinkIdentity
    private let security: RailSecurity
    private let placement: Placement
    private let memory: [RegionMemory]
    private let faults: FaultPlan?
    private let mailbox: EngineMailbox
    private let log: Logger

    private init(
        configuration: Configuration, link: LinkIdentity, security: RailSecurity, placement: Placement,
        memory: [RegionMemory], faults: FaultPlan?, mailbox: EngineMailbox, log: Logger
    ) {
        self.configuration = configuration
        self.link = link
        self.security = security
        self.placement = placement
        self.memory = memory
        self.faults = faults
        self.mailbox = mailbox
        self.log = log
    }

    /// Starts what the configuration asks for; a transport that was demanded and cannot run is an error.
    ///
    /// - Parameter ports: the RDMA ports to use; nil for none.
    static func start(
        _ configuration: Configuration, identity: HostIdentity, security: RailSecurity, ports: RDMAPorts?, arena: Arena,
        placement: Placement, faults: FaultPlan?, mailbox: EngineMailbox, log: Logger
    ) throws -> PeerRails {
        let choice = configuration[Schema.Peer.transport]
        // Safety: the arena outlives the rails; `PeerServer.stop` shuts them down before it lets the arena go.
        let memory = [RegionMemory(base: arena.base, lengthBytes: arena.lengthBytes, backing: (arena.memfd, 0))]
        var built = PeerRails(
            configuration: configuration, link: identity.link, security: security, placement: placement, memory: memory,
            faults: faults, mailbox: mailbox, log: log)
        var isComplete = false
        defer { if !isComplete { for rail in built.rails { rail.shutdown() } } }
        if let faults { log.warning("transport faults are being injected", ["plan": .text("\(faults)")]) }
        if let ports { try built.addRDMA(ports) }
        if choice == .auto || choice == .tcp { try built.addTCP() }
        if choice == .auto || choice == .local { try built.addLocal(isDemanded: choice == .local) }
        isComplete = true
        return built
    }

    /// One rail for each port, which serves and reads: a NIC does both at once and no core copies.
    private mutating func addRDMA(_ found: RDMAPorts) throws {
        let isDemanded = configuration[Schema.Peer.transport] == .rdma
        let base = configuration.rdmaListen
        var objections: [String] = []
        for (index, port) in found.ports.enumerated() {
            let store = configuration[Schema.Peer.dataDirectory]
            if let why = found.objection(to: port, arenaBytes: memory[0].lengthBytes, store: store) {
                objections.append(why)
                continue
            }
            guard let number = base.port == 0 ? 0 : UInt16(exactly: Int(base.port) + index) else {
                objections.append("no port is left for \(port.name) behind \(base)")
                continue
            }
            do throws(TransportError) {
                try addRDMA(found.library, port, listen: NetworkAddress(host: base.host, port: number))
            } catch {
                // The others listen as configured or not at all.
                if error.code == .addressInUse || error.code == .badAddress { throw error }
                objections.append(error.description)
            }
        }
        // The same reason on every port is said once.
        let reason = Array(Set(objections)).sorted().joined(separator: "; ")
        let isNamed = !configuration[Schema.Peer.rdmaDevices].isEmpty
        if isDemanded, rdma.isEmpty || (isNamed && !objections.isEmpty) {
            throw ConfigurationError.noRDMA(reason)
        }
        if !objections.isEmpty {
            log.info(rdma.isEmpty ? "no rdma transport" : "not every RDMA port is used", ["reason": .text(reason)])
        }
        for rail in rdma {
            let port = found.ports.first { $0.device == rail.device && $0.number == rail.port }
            guard let port, let own = rails.first(where: { $0.name == rail.name }), let address = own.address else {
                continue
            }
            let bound = NetworkAddress(address.location) ?? base
            addresses.append("rdma:\(try RDMAPorts.advertised(port, bound: bound, configuration))")
        }
    }

    private mutating func addRDMA(
        _ library: VerbsLibrary, _ port: VerbsPort, listen: NetworkAddress
    ) throws(TransportError) {
        var settings = VerbsConfiguration(configuration, identity: link, port: port, listen: listen)
        (settings.security, settings.authenticator) = (security.links, security.authenticator)
        let name = "rdma-\(port.name)"
        let finding = LeaseFinding()
        let make: @Sendable () throws(TransportError) -> VerbsTransport = { [settings] () throws(TransportError) in
            let transport = try VerbsTransport(settings, library: library)
            finding.note(transport)
            return transport
        }
        let cpus = placement.cpus(nearRDMADevice: port.device)
        // Pieces pass whole: the transport cuts them and spreads them over its queue pairs.
        let readBytesMax = VerbsConfiguration.readBytesMax
        if let faults {
            try add(name, cpus: cpus, readBytesMax: readBytesMax) { () throws(TransportError) in
                try FaultyTransport(make(), plan: faults)
            }
        } else {
            try add(name, cpus: cpus, readBytesMax: readBytesMax, make)
        }
        dialing[.rdma, default: []].append(rails.count - 1)
        rdma.append(
            RDMARail(
                name: name, device: port.device, port: port.number, networkDevice: port.gid?.networkDevice ?? "",
                lease: finding.lease))
        log.info(
            "rdma rail",
            [
                "rail": .text(name), "address": .text("\(port.gid.map { "\($0.gid)" } ?? "none")"),
                "listens": .text(rails.last?.address?.location ?? ""), "lease": .text(finding.sentence),
            ])
    }

    /// A rail that listens and serves, and one that dials and reads: receiving and sending each fill a core where the
    /// kernel copies.
    private mutating func addTCP() throws {
        let listen = configuration[Schema.Peer.listen]
        let streams = configuration[Schema.Peer.streams]
        let (link, security) = (link, security)
        let serve: @Sendable () throws(TransportError) -> TCPTransport = { () throws(TransportError) in
            var serving = TCPConfiguration(identity: link, listen: listen.description)
            (serving.security, serving.authenticator) = (security.links, security.authenticator)
            return try TCPTransport(serving)
        }
        if let faults {
            try add("tcp-serve") { () throws(TransportError) in try FaultyTransport(serve(), plan: faults) }
        } else {
            try add("tcp-serve", serve)
        }
        let serving = rails.count - 1
        try add("tcp-fetch") { () throws(TransportError) in
            var dialing = TCPConfiguration(identity: link)
            (dialing.security, dialing.authenticator) = (security.links, security.authenticator)
            dialing.dataStreams = streams
            return try TCPTransport(dialing)
        }
        dialing[.tcp] = [rails.count - 1]
        if let address = rails[serving].address {
            let bound = NetworkAddress(address.location) ?? listen
            let shown = try NetworkAddress.advertised(
                configuration[Schema.Peer.advertise], listening: bound,
                toward: configuration[Schema.Peer.schedulers] + configuration[Schema.Manager.addresses],
                key: Schema.Peer.advertise.key.name)
            addresses.append("tcp:\(shown)")
        }
    }

    private mutating func addLocal(isDemanded: Bool) throws(TransportError) {
        let path = configuration[Schema.Peer.socket] + ".pieces"
        let link = link
        do throws(TransportError) {
            try add("local-serve") { () throws(TransportError) in
                try LocalTransport(LocalConfiguration(identity: link, listenPath: path))
            }
            try add("local-fetch") { () throws(TransportError) in
                try LocalTransport(LocalConfiguration(identity: link, listenPath: nil))
            }
            dialing[.local] = [rails.count - 1]
            addresses.append("local:\(path)")
        } catch {
            guard !isDemanded else { throw error }
            log.warning("no local transport", ["reason": .text(error.description)])
        }
    }

    private mutating func add<T: PieceTransport>(
        _ name: String, cpus: [Int]? = nil, readBytesMax: UInt32? = nil,
        _ make: @escaping @Sendable () throws(TransportError) -> T
    ) throws(TransportError) {
        let number = rails.count
        rails.append(
            try RailHandle.start(
                RailConfiguration(name: name, cpus: cpus ?? placement.cpus, readBytesMax: readBytesMax),
                memory: memory, transport: make, sink: mailbox.sink(of: number)))
    }
}
