import Artifacts
import Swarm
import System
import Transport

/// The loop of one rail: mailbox → transport → poll → sink → sleep until there is something to do.
///
/// Lives on its thread alone, like its transport. It decides nothing about pieces: it cuts them into reads, keeps what
/// a link cannot take at the moment, within bounds, and hands over what happened. What it works with is kept and used
/// again: once it has run for a while, a piece costs it no allocation (`bench-rdma count` proves it).
final class Rail<Transporter: PieceTransport> {
    let configuration: RailConfiguration
    let transport: Transporter
    private let shared: RailShared
    private let sink: RailHandle.Sink
    private let sleep: EpollQueue

    private var commands: [RailCommand] = []
    private var inbox = RailInbox()
    var events: [RailEvent] = []
    var links: [LinkID: RailLink] = [:]
    var pieces = PieceTable(reserving: 256)
    /// Links with messages or pieces that the transport has not taken yet, each once.
    var waitingLinks: [LinkID] = []
    /// Reads on their way to the transport.
    var batch: [ReadRequest] = []
    /// The message on its way to the transport.
    var message = WireWriter(reservingBytes: PeerMessageCodec.messageBytesMax)
    let readBytesMax: UInt64
    private var counters = RailCounters()

    private static var happeningsPerTurnMax: Int { 512 }
    /// Reads given to the transport in one call.
    static var batchReadsMax: Int { 16 }

    /// The thread's body.
    static func run(
        _ configuration: RailConfiguration, memory: [RegionMemory],
        make: () throws(TransportError) -> Transporter,
        shared: RailShared, sink: @escaping RailHandle.Sink
    ) {
        do throws(TransportError) {
            let transport = try make()
            var regions: [RegionID] = []
            for part in memory { regions.append(try transport.register(part)) }
            let rail = try Rail(configuration, transport, shared, sink)
            shared.announce(
                .success(
                    RailMade(
                        capabilities: transport.capabilities, address: transport.address, regions: regions)))
            rail.loop()
        } catch {
            shared.announce(.failure(error))
        }
    }

    private init(
        _ configuration: RailConfiguration, _ transport: Transporter, _ shared: RailShared,
        _ sink: @escaping RailHandle.Sink
    ) throws(TransportError) {
        self.configuration = configuration
        self.transport = transport
        self.shared = shared
        self.sink = sink
        let capabilities = transport.capabilities
        readBytesMax = UInt64(
            min(configuration.readBytesMax ?? capabilities.readBytesPreferred, capabilities.readBytesMax))
        precondition(readBytesMax > 0, "a read has at least one byte")
        // What a usual load needs, so that it need not be found out while pieces wait.
        inbox.happenings.reserveCapacity(Self.happeningsPerTurnMax)
        inbox.ready.reserveCapacity(EpollQueue.readyMax)
        events.reserveCapacity(Self.happeningsPerTurnMax)
        commands.reserveCapacity(RailMailbox.commandsReserved)
        batch.reserveCapacity(Self.batchReadsMax)
        waitingLinks.reserveCapacity(64)
        do throws(Errno) {
            sleep = try EpollQueue()
            try sleep.add(shared.mailbox.wake.raw, .reading, token: 0)
            if let descriptor = transport.wakeDescriptor { try sleep.add(descriptor, .reading, token: 1) }
        } catch {
            throw TransportError(
                .system, "rail \(configuration.name) cannot wait for its transport: \(error)")
        }
    }

    private func loop() {
        while true {
            let isClosing = shared.mailbox.take(into: &commands)
            let isBusy = !commands.isEmpty
            for command in commands { carryOut(command) }
            counters.commands += UInt64(commands.count)
            commands.removeAll(keepingCapacity: true)
            pushWaiting()
            let handed = transport.poll(
                nowNs: MonotonicClock.nowNs(), limit: Self.happeningsPerTurnMax, into: &inbox)
            report()
            // What was just received may have made room.
            pushWaiting()
            deliver()
            if isClosing { break }
            publish()
            if !isBusy && handed == 0 { rest() }
        }
        transport.shutdown(into: &inbox)
        report()
        events.append(.shutDown)
        deliver()
        publish()
    }

    // MARK: Commands

    private func carryOut(_ command: RailCommand) {
        switch command {
        case .connect(let token, let address, let deadlineNs):
            do throws(TransportError) {
                let link = try transport.connect(to: address, deadlineNs: deadlineNs)
                links[link] = RailLink(link)
                events.append(.connecting(token: token, link))
            } catch {
                events.append(.connectFailed(token: token, error))
            }
        case .close(let link):
            drop(link, TransportError(.linkClosed, "this host closed the link"))
        case .send(let message, let link):
            send(message, on: link)
        case .read(let read):
            begin(read)
        case .export(let token, let source, let link):
            do throws(TransportError) {
                events.append(.exported(token: token, .success(try transport.export(source, to: link))))
            } catch {
                events.append(.exported(token: token, .failure(error)))
            }
        case .revoke(let export):
            transport.revoke(export)
        }
    }

    // MARK: Events

    /// Turns what the transport handed over into events and delivers them.
    private func report() {
        for happening in inbox.happenings {
            switch happening {
            case .linkUp(let link, let peer, let inbound):
                if inbound { links[link] = RailLink(link) }
                events.append(.linkUp(link, peer, inbound: inbound))
            case .linkDown(let link, let reason):
                linkDown(link, reason)
            case .message(let link, let message):
                events.append(.message(link, message))
            case .malformed(let link, let why):
                drop(
                    link, TransportError(.protocolBroken, "the far side sent a message that is none: \(why)"))
            case .readCompleted(let completion):
                readEnded(completion)
            case .exportRetired(let export):
                events.append(.exportRetired(export))
            }
        }
        inbox.happenings.removeAll(keepingCapacity: true)
        deliver()
    }

    private func deliver() {
        guard !events.isEmpty else { return }
        var start = 0
        while start < events.count {
            let end = min(start + configuration.eventsPerBatchMax, events.count)
            sink(events[start..<end])
            counters.batches += 1
            start = end
        }
        counters.events += UInt64(events.count)
        events.removeAll(keepingCapacity: true)
    }

    /// Closes a link for a reason of the rail's own, which its `linkDown` will carry.
    func drop(_ link: LinkID, _ reason: TransportError) {
        guard let state = links[link], state.dropReason == nil else { return }
        state.dropReason = reason
        transport.close(link)
    }

    /// A link is down for the transport. It is down for the rail's user once its last piece has ended: reads that were
    /// posted while the news was on its way complete after it.
    private func linkDown(_ link: LinkID, _ reason: TransportError) {
        guard let state = links[link] else { return }
        state.downReason = state.dropReason ?? reason
        endQueued(of: state)
        reportDownWhenEmpty(state)
    }

    func reportDownWhenEmpty(_ link: RailLink) {
        guard let reason = link.downReason, link.openPieces == 0, links[link.id] != nil else { return }
        links[link.id] = nil
        events.append(.linkDown(link.id, reason))
    }

    // MARK: Sleep

    private func rest() {
        let nowNs = MonotonicClock.nowNs()
        var limitMs: Int? = nil
        if let wakeAtNs = transport.wakeAtNs {
            guard wakeAtNs > nowNs else { return }
            limitMs = Int(clamping: (wakeAtNs - nowNs + 999_999) / 1_000_000)
        }
        guard shared.mailbox.goToSleep() else { return }
        counters.waits += 1
        inbox.ready.removeAll(keepingCapacity: true)
        do throws(Errno) {
            try sleep.wait(limitMs: limitMs, into: &inbox.ready)
        } catch {
            preconditionFailure("a rail cannot wait: \(error)")
        }
        shared.mailbox.wakeUp()
        if inbox.ready.contains(where: { $0.token == 0 }) { shared.mailbox.wake.clear() }
    }

    private func publish() {
        counters.turns += 1
        counters.transport = transport.counters
        counters.piecesReading = pieces.count
        let copy = counters
        shared.counters.withLock { $0 = copy }
    }
}

/// What a transport hands over in one poll; messages are decoded while their bytes are lent.
private struct RailInbox: TransportEvents {
    enum Happening {
        case linkUp(LinkID, LinkIdentity, inbound: Bool)
        case linkDown(LinkID, TransportError)
        case message(LinkID, PeerMessage<RemoteKey>)
        case malformed(LinkID, String)
        case readCompleted(ReadCompletion)
        case exportRetired(ExportID)
    }

    var happenings: [Happening] = []
    var ready: [EpollQueue.Ready] = []

    mutating func linkUp(_ link: LinkID, peer: LinkIdentity, inbound: Bool) {
        happenings.append(.linkUp(link, peer, inbound: inbound))
    }

    mutating func linkDown(_ link: LinkID, reason: TransportError) {
        happenings.append(.linkDown(link, reason))
    }

    mutating func message(_ bytes: UnsafeRawBufferPointer, on link: LinkID) {
        do throws(PeerMessageCodec.Malformed) {
            happenings.append(.message(link, try PeerMessageCodec.decode(bytes)))
        } catch {
            happenings.append(.malformed(link, error.description))
        }
    }

    mutating func readCompleted(_ completion: ReadCompletion) {
        happenings.append(.readCompleted(completion))
    }
    mutating func exportRetired(_ export: ExportID) { happenings.append(.exportRetired(export)) }
}
