import Artifacts
import Rails
import System
import Transport
import TransportLocal
import TransportTCP
import TransportVerbs
import Verbs

/// Starts a rail over the transport that a point asks for, as a peer does.
enum BenchRail {
    /// What a rail of one side needs to know besides the point.
    struct Place: Sendable {
        /// Our name on links.
        var name: String
        /// What both sides know and nobody else: links between other clusters are refused.
        var cluster: String
        /// Where to listen, in the transport's own form; nil to dial only.
        var listen: String?
        /// Links that may be alive.
        var linksMax: Int
        /// Whether this side reads: its queue pairs are made for that.
        var reads: Bool
        /// Whether this side is read from.
        var serves: Bool
    }

    static func start(
        _ point: BenchPoint, _ place: Place, memory: BenchMemory, sink: @escaping RailHandle.Sink
    ) throws(BenchError) -> RailHandle {
        guard let host = HostID(place.name) else { throw BenchError(.impossible, "\(place.name) is no host's name") }
        let identity = LinkIdentity(host: host, incarnation: 1, cluster: place.cluster)
        let rail = RailConfiguration(name: place.reads ? "bench-read" : "bench-serve")
        do throws(TransportError) {
            switch point.transport {
            case .tcp:
                return try RailHandle.start(
                    rail, memory: [memory.region],
                    transport: { () throws(TransportError) in
                        var configuration = TCPConfiguration(identity: identity, listen: place.listen)
                        configuration.dataStreams = point.streams
                        configuration.linksMax = place.linksMax
                        configuration.readsPerLinkMax = max(configuration.readsPerLinkMax, point.depth)
                        configuration.receiveBufferBytes = point.socketBufferBytes
                        configuration.sendBufferBytes = point.socketBufferBytes
                        return try TCPTransport(configuration)
                    }, sink: sink)
            case .local:
                return try RailHandle.start(
                    rail, memory: [memory.region],
                    transport: { () throws(TransportError) in
                        var configuration = LocalConfiguration(identity: identity, listenPath: place.listen)
                        configuration.linksMax = place.linksMax
                        return try LocalTransport(configuration)
                    }, sink: sink)
            case .rdma:
                let library: VerbsLibrary
                do throws(VerbsError) {
                    library = try VerbsLibrary.load()
                } catch {
                    throw TransportError(.system, error.description)
                }
                return try RailHandle.start(
                    rail, memory: [memory.region],
                    transport: { () throws(TransportError) in
                        var configuration = VerbsConfiguration(
                            identity: identity, device: point.device.isEmpty ? nil : point.device,
                            listen: place.listen)
                        configuration.lanes = place.reads ? point.streams : 1
                        configuration.reverseLanes = place.serves ? point.streams : 0
                        configuration.linksMax = place.linksMax
                        configuration.readsPerLinkMax = max(configuration.readsPerLinkMax, point.depth)
                        return try VerbsTransport(configuration, library: library)
                    }, sink: sink)
            case .simulated:
                throw TransportError(.system, "a simulated transport moves no bytes")
            }
        } catch {
            throw BenchError(.impossible, "\(point.transport) cannot be used: \(error)")
        }
    }

    /// The ways bytes can move from this machine, each with the reason where it cannot be used.
    static func offers() -> [(kind: TransportKind, objection: String?)] {
        [(.tcp, nil), (.local, nil), (.rdma, rdmaObjection())]
    }

    /// Why so much memory cannot be pinned for RDMA on this machine; nil when it can, or has no device for it.
    static func pinningObjection(bytes: Int) -> String? {
        guard let device = Topology().rdmaDevices.first else { return nil }
        return MemoryLockLimit.current().objection(toPinning: UInt64(bytes), on: device.name)?.description
    }

    private static func rdmaObjection() -> String? {
        do throws(VerbsError) {
            let ports = try VerbsPort.all(try VerbsLibrary.load())
            if ports.contains(where: { $0.isUsable }) { return nil }
            return ports.first?.objection?.sentence ?? "no RDMA device"
        } catch {
            return error.description
        }
    }
}
