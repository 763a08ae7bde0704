import Artifacts
import Rails
import Synchronization
import System
import Transport
import TransportLocal
import TransportTCP
import TransportVerbs
import Verbs

/// One side of a run: its memory, its rail, and the end it waits for.
///
/// What a side does, it does in its rail's sink, on the rail's thread: nothing but the rail and the transport is
/// measured.
final class Side: Sendable {
    let memory: SharedMemory
    private let rail = Mutex<RailHandle?>(nil)
    private let outcome = Mutex<Result<Measurement, OptionError>?>(nil)
    private let ended: EventCounter

    init(_ options: Options, seed: UInt64?) throws {
        memory = try SharedMemory(name: "bench", lengthBytes: options.memoryBytes)
        ended = try EventCounter()
        // A NIC needs pages that are there.
        Content.fill(UnsafeMutableRawBufferPointer(start: memory.base, count: memory.lengthBytes), seed: seed)
    }

    /// Starts the rail over the transport asked for.
    func start(_ options: Options, name: String, listens: Bool, sink: @escaping RailHandle.Sink) throws -> RailHandle {
        let identity = LinkIdentity(host: HostID(name)!, incarnation: 1, cluster: "bench")
        // Safety: the side outlives its rail, which `main` shuts down first.
        let region = RegionMemory(
            base: memory.base, lengthBytes: memory.lengthBytes, backing: (memory.descriptor, 0))
        let place = listens ? options.address : nil
        let rail = RailConfiguration(name: name, readBytesMax: options.readBytes)
        let started: RailHandle
        switch options.transport {
        case .tcp:
            started = try RailHandle.start(
                rail, memory: [region],
                transport: { () throws(TransportError) in
                    var configuration = TCPConfiguration(identity: identity, listen: place)
                    configuration.dataStreams = options.queuePairs
                    return try TCPTransport(configuration)
                }, sink: sink)
        case .local:
            started = try RailHandle.start(
                rail, memory: [region],
                transport: { () throws(TransportError) in
                    try LocalTransport(LocalConfiguration(identity: identity, listenPath: place))
                }, sink: sink)
        case .rdma:
            let library = try VerbsLibrary.load()
            started = try RailHandle.start(
                rail, memory: [region],
                transport: { () throws(TransportError) in
                    var configuration = VerbsConfiguration(
                        identity: identity, device: options.device.isEmpty ? nil : options.device, listen: place)
                    configuration.lanes = options.queuePairs
                    configuration.reverseLanes = 0
                    configuration.readsPerLinkMax = max(configuration.readsPerLinkMax, options.depth)
                    if options.leasesByWindow { configuration.lease = .window }
                    if let bytes = options.workRequestBytes { configuration.workRequestBytes = bytes }
                    return try VerbsTransport(configuration, library: library)
                }, sink: sink)
        case .simulated:
            throw OptionError("\(options.transport) cannot be measured by this build")
        }
        self.rail.withLock { $0 = started }
        return started
    }

    /// Hands commands to the rail; it takes any number that a bench makes.
    func submit(_ commands: [RailCommand]) {
        guard let rail = rail.withLock({ $0 }) else { return }
        if !rail.submit(commands) { end(.failure(OptionError("the rail takes no more commands"))) }
    }

    /// Says how the run went; the first word counts.
    func end(_ result: Result<Measurement, OptionError>) {
        outcome.withLock { if $0 == nil { $0 = result } }
        ended.signal()
    }

    /// Waits for the run's end, within the limit.
    func await(_ options: Options) throws -> Measurement {
        guard ended.wait(timeoutMs: Int32(clamping: options.limitSeconds * 1000)) else {
            throw OptionError("the run did not end within \(options.limitSeconds) s (--limit-seconds)")
        }
        return try outcome.withLock { $0! }.get()
    }
}

/// The bytes that are read: every piece its own.
enum Content {
    /// Fills memory with a generator's bytes, or with zeros.
    static func fill(_ memory: UnsafeMutableRawBufferPointer, seed: UInt64?) {
        guard var state = seed else {
            _ = memory.initializeMemory(as: UInt8.self, repeating: 0)
            return
        }
        // xorshift64*: any bytes will do, and quickly.
        for word in memory.bindMemory(to: UInt64.self).indices {
            state ^= state >> 12
            state ^= state << 25
            state ^= state >> 27
            memory.storeBytes(of: state &* 0x2545_F491_4F6C_DD1D, toByteOffset: 8 * word, as: UInt64.self)
        }
    }

    static let seed: UInt64 = 0x9E37_79B9_7F4A_7C15
}
