import Configuration
import Engine
import Memory
import Observability
import Rails
import Swarm
import Transport
import TransportLocal
import TransportTCP

/// The rails of a host: for each transport in use one that listens and serves, and one that dials and reads.
///
/// Two, because receiving and sending each fill a core where the kernel copies.
struct PeerRails {
    /// Where their threads run; empty for anywhere.
    let cpus: [Int]
    var rails: [RailHandle] = []
    var dialing: [TransportKind: [RailNumber]] = [:]
    /// What other hosts are told.
    var addresses: [String] = []

    /// Starts what the configuration asks for; a transport that was demanded and cannot run is an error.
    static func start(
        _ configuration: Configuration, identity: HostIdentity, arena: Arena, cpus: [Int], faults: FaultPlan?,
        mailbox: EngineMailbox, log: Logger
    ) throws -> PeerRails {
        let choice = configuration[Schema.Peer.transport]
        if choice == .rdma {
            throw ConfigurationError(
                .conflict, "peer.transport = rdma: this build has no RDMA transport; use auto, tcp or local")
        }
        // Safety: the arena outlives the rails; `PeerServer.stop` shuts them down before it lets the arena go.
        let memory = [RegionMemory(base: arena.base, lengthBytes: arena.lengthBytes, backing: (arena.memfd, 0))]
        var built = PeerRails(cpus: cpus)
        var isComplete = false
        defer { if !isComplete { for rail in built.rails { rail.shutdown() } } }
        if choice != .local {
            let listen = configuration[Schema.Peer.listen]
            let streams = Int(configuration[Schema.Peer.streams])
            let link = identity.link
            let serve: @Sendable () throws(TransportError) -> TCPTransport = { () throws(TransportError) in
                try TCPTransport(TCPConfiguration(identity: link, listen: listen.description))
            }
            if let faults {
                log.warning("transport faults are being injected", ["plan": .text("\(faults)")])
                try built.add("tcp-serve", memory: memory, mailbox: mailbox) { () throws(TransportError) in
                    try FaultyTransport(serve(), plan: faults)
                }
            } else {
                try built.add("tcp-serve", memory: memory, mailbox: mailbox, serve)
            }
            try built.add("tcp-fetch", memory: memory, mailbox: mailbox) { () throws(TransportError) in
                var dialing = TCPConfiguration(identity: link)
                dialing.dataStreams = streams
                return try TCPTransport(dialing)
            }
            built.dialing[.tcp] = [1]
            if let address = built.rails[0].address {
                let bound = NetworkAddress(address.location) ?? listen
                let shown = try NetworkAddress.advertised(
                    configuration[Schema.Peer.advertise], listening: bound,
                    toward: configuration[Schema.Peer.schedulers] + configuration[Schema.Manager.addresses],
                    key: Schema.Peer.advertise.key.name)
                built.addresses.append("tcp:\(shown)")
            }
        }
        if choice != .tcp {
            let path = configuration[Schema.Peer.socket] + ".pieces"
            let link = identity.link
            do throws(TransportError) {
                try built.add("local-serve", memory: memory, mailbox: mailbox) { () throws(TransportError) in
                    try LocalTransport(LocalConfiguration(identity: link, listenPath: path))
                }
                try built.add("local-fetch", memory: memory, mailbox: mailbox) { () throws(TransportError) in
                    try LocalTransport(LocalConfiguration(identity: link, listenPath: nil))
                }
                built.dialing[.local] = [built.rails.count - 1]
                built.addresses.append("local:\(path)")
            } catch {
                guard choice == .auto else { throw error }
                log.warning("no local transport", ["reason": .text(error.description)])
            }
        }
        isComplete = true
        return built
    }

    private mutating func add<T: PieceTransport>(
        _ name: String, memory: [RegionMemory], mailbox: EngineMailbox,
        _ make: @escaping @Sendable () throws(TransportError) -> T
    ) throws(TransportError) {
        let number = rails.count
        rails.append(
            try RailHandle.start(
                RailConfiguration(name: name, cpus: cpus), memory: memory, transport: make,
                sink: mailbox.sink(of: number)))
    }
}
