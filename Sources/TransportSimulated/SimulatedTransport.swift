import Artifacts
import System
import Transport

/// What a simulated host is made with.
public struct SimulatedConfiguration: Sendable {
    /// Who we are; the host's name is its address.
    public var identity: LinkIdentity
    /// Bytes a second that leave the host, over all links.
    public var egressBytesPerSecond: UInt64 = 1_250_000_000
    /// Bytes a second that enter the host, over all links.
    public var ingressBytesPerSecond: UInt64 = 1_250_000_000
    /// Links alive, inbound and outbound together.
    public var linksMax = 1024
    /// Reads posted on a link and not completed.
    public var readsPerLinkMax = 64
    /// Exports alive on a link.
    public var exportsPerLinkMax = 256
    /// Bytes of messages sent on a link and not handed over at the far side, before `send` says no.
    public var messageQueueBytesMax = 1 << 20
    /// How long posted reads may go without any progress before the link is given up.
    public var progressLimitNs: UInt64 = 5_000_000_000
    /// Who may have a link.
    public var authenticator: any HandshakeAuthenticator = ClusterNameAuthenticator()

    /// A 10 Gb/s host.
    public init(identity: LinkIdentity) { self.identity = identity }
}

/// Pieces between hosts that exist only in this process, on a `SimulatedNetwork`.
///
/// Bytes are really copied (from the source's memory or file into the reader's, at the moment the source would put them
/// on the wire); their time is reckoned from latency and both hosts' bandwidth. A host that is not polled does nothing,
/// as a stopped process.
public final class SimulatedTransport: PieceTransport {
    /// The largest message.
    public static let messageBytesMax = 64 << 10
    /// The largest single read.
    public static let readBytesMax: UInt32 = 16 << 20

    let configuration: SimulatedConfiguration
    let network: SimulatedNetwork
    let name: String
    /// What this transport is and can do here.
    public let capabilities: TransportCapabilities
    /// Where other hosts reach it; nil while it does not listen.
    public let address: TransportAddress?
    /// What was done so far.
    public internal(set) var counters = TransportCounters()

    var arrivals = Fifo<SimulatedPacket>()
    var isDead = false
    var links: LinkTable<SimulatedLink>
    private var regions: [RegionMemory] = []
    var exports: [ExportID: SimulatedExport] = [:]
    private var lastExport: UInt64 = 0
    var happenings = Happenings()
    private var egressFreeNs: UInt64 = 0
    private var ingressFreeNs: UInt64 = 0
    private var isShutDown = false

    /// Puts a host on the network. Throws `.system` when its name is taken.
    public init(on network: SimulatedNetwork, _ configuration: SimulatedConfiguration) throws(TransportError) {
        self.network = network
        self.configuration = configuration
        name = configuration.identity.host.name
        address = TransportAddress(kind: .simulated, location: name)
        capabilities = TransportCapabilities(
            kind: .simulated, readBytesMax: Self.readBytesMax, readsPerLinkMax: configuration.readsPerLinkMax,
            exportsPerLinkMax: configuration.exportsPerLinkMax, messageBytesMax: Self.messageBytesMax,
            linksMax: configuration.linksMax, exportsFiles: true, receiveCopies: 1)
        links = LinkTable(linksMax: configuration.linksMax)
        guard network.attach(self, name: name) else {
            throw TransportError(.system, "a simulated host named \(name) is on the network already")
        }
    }

    /// Readable when `poll` would find something.
    public var wakeDescriptor: CInt? { nil }

    /// When `poll` wants to be called; 0 for at once, nil for never.
    public var wakeAtNs: UInt64? {
        if !arrivals.isEmpty || !happenings.isEmpty { return 0 }
        var nextNs = network.nextEventNs
        for link in links.all {
            if let due = link.dueNs(progressLimitNs: configuration.progressLimitNs) {
                nextNs = min(nextNs ?? .max, due)
            }
        }
        return nextNs
    }

    // MARK: Memory and exports

    /// Makes memory a target of reads and a possible source of exports.
    public func register(_ memory: RegionMemory) throws(TransportError) -> RegionID {
        try memory.requireMapped(by: capabilities.kind)
        regions.append(memory)
        return RegionID(index: UInt32(regions.count - 1))
    }

    /// Lets one link read exactly this range until `revoke`.
    public func export(_ source: ExportSource, to link: LinkID) throws(TransportError) -> Export {
        guard let target = links[link], target.isUp else {
            throw TransportError(.linkClosed, "\(link) is not up; nothing can be exported to it")
        }
        guard target.exports.count < configuration.exportsPerLinkMax else {
            throw TransportError(
                .limit, "\(target.remote) has \(target.exports.count) exports already; revoke one first")
        }
        lastExport += 1
        let id = ExportID(lastExport)
        let key = network.random().key
        let export = try SimulatedExport(
            id: id, link: link, key: key, source, memory: { self.memory(of: $0) })
        exports[id] = export
        target.exports.insert(id.value)
        target.keys[key] = id
        return Export(id: id, key: key)
    }

    /// Ends an export; `exportRetired` follows.
    public func revoke(_ export: ExportID) {
        guard let entry = exports[export], !entry.isRevoked else { return }
        entry.isRevoked = true
        links[entry.link]?.keys[entry.key] = nil
        retireWhenUnused(entry)
    }

    private func retireWhenUnused(_ export: SimulatedExport) {
        guard export.isRevoked, export.readsActive == 0 else { return }
        exports[export.id] = nil
        links[export.link]?.exports.remove(export.id.value)
        happenings.append(.exportRetired(export.id))
    }

    func memory(of region: RegionID) -> RegionMemory {
        precondition(Int(region.index) < regions.count, "region \(region.index) was never registered")
        return regions[Int(region.index)]
    }

    // MARK: Messages and reads

    /// Sends a message; false when the link cannot take it now.
    public func send(_ message: UnsafeRawBufferPointer, on link: LinkID) -> Bool {
        precondition(
            message.count <= Self.messageBytesMax,
            "a message has at most \(Self.messageBytesMax) bytes, not \(message.count)")
        guard let target = links[link], target.isUp else { return true }
        guard target.unhandedBytes + message.count + 1 <= configuration.messageQueueBytesMax else {
            return false
        }
        target.unhandedBytes += message.count + 1
        counters.messagesSent += 1
        dispatch(.message(link: target.theirs!, Array(message)), on: target)
        return true
    }

    /// Posts reads; how many were taken.
    public func post(_ reads: UnsafeBufferPointer<ReadRequest>) -> Int {
        var taken = 0
        for read in reads {
            let place = read.place(in: memory(of: read.region), readBytesMax: Self.readBytesMax)
            guard let link = links[read.link], link.isUp else {
                counters.readsPosted += 1
                taken += 1
                complete(read.link, tag: read.tag, .linkClosed)
                continue
            }
            guard link.posted.count < configuration.readsPerLinkMax else { break }
            counters.readsPosted += 1
            taken += 1
            link.lastNumber += 1
            if link.posted.isEmpty { link.progressNs = network.nowNs }
            link.posted[link.lastNumber] = SimulatedRead(
                target: place, lengthBytes: Int(read.lengthBytes), tag: read.tag
            )
            dispatch(
                .request(
                    link: link.theirs!, number: link.lastNumber, key: read.key, offset: read.remoteOffset,
                    lengthBytes: Int(read.lengthBytes)), on: link)
        }
        return taken
    }

    private func complete(_ link: LinkID, tag: UInt64, _ failure: TransportError.Code?) {
        if failure == nil { counters.readsCompleted += 1 } else { counters.readsFailed += 1 }
        happenings.append(.readCompleted(ReadCompletion(link: link, tag: tag, failure: failure)))
    }

    /// Sends a small packet over a link, in order.
    private func dispatch(_ packet: SimulatedPacket, on link: SimulatedLink) {
        guard !isDead else { return }
        link.lastArrivalNs = max(link.lastArrivalNs, network.nowNs + network.travelNs())
        network.send(packet, from: name, to: link.remote, arrivingNs: link.lastArrivalNs)
    }

    // MARK: Links

    /// Starts a link; `linkUp` or `linkDown` follows.
    public func connect(to address: TransportAddress, deadlineNs: UInt64) throws(TransportError) -> LinkID {
        guard address.kind == .simulated else {
            throw TransportError(
                .badAddress, "cannot connect to \(address): need simulated: and a host's name")
        }
        let id = links.insert {
            SimulatedLink(id: $0, inbound: false, remote: address.location, deadlineNs: deadlineNs)
        }
        guard let id, let link = links[id] else {
            throw TransportError(.limit, "there are \(links.count) links already; close one first")
        }
        guard network.host(address.location) != nil || network.isCut(name, address.location) else {
            network.send(
                .refusal(link: id, code: .refused), from: name, to: name,
                arrivingNs: network.nowNs + network.travelNs())
            return id
        }
        dispatch(.greeting(from: name, link: id, identity: configuration.identity), on: link)
        return id
    }

    /// Ends a link.
    public func close(_ link: LinkID) {
        guard let target = links[link] else { return }
        takeDown(
            target, TransportError(.linkClosed, "this side closed the link to \(target.remote)"),
            telling: true)
    }

    private func takeDown(_ link: SimulatedLink, _ reason: TransportError, telling: Bool) {
        guard links[link.id] != nil else { return }
        links[link.id] = nil
        if telling, let theirs = link.theirs { dispatch(.closed(link: theirs), on: link) }
        for (_, read) in link.posted.sorted(by: { $0.key < $1.key }) {
            complete(link.id, tag: read.tag, .linkClosed)
        }
        link.posted = [:]
        for export in link.exports.sorted() {
            exports[ExportID(export)] = nil
            happenings.append(.exportRetired(ExportID(export)))
        }
        counters.linksDown += 1
        happenings.append(.linkDown(link.id, reason))
    }

    /// The host dies as a process does whose kernel lives on.
    func resetLinks() {
        for link in links.all {
            if let theirs = link.theirs { dispatch(.closed(link: theirs), on: link) }
        }
    }

    /// Closes every link and delivers what remains.
    public func shutdown(into events: inout some TransportEvents) {
        guard !isShutDown else { return }
        isShutDown = true
        for link in links.all {
            takeDown(link, TransportError(.linkClosed, "this host's transport shut down"), telling: true)
        }
        network.detach(name, self)
        while happenings.deliver(limit: .max, into: &events) > 0 {}
    }

    // MARK: Polling

    /// Hands over what happened, without waiting.
    @discardableResult
    public func poll(nowNs: UInt64, limit: Int, into events: inout some TransportEvents) -> Int {
        precondition(!isShutDown, "a simulated transport is not polled after shutdown")
        guard !isDead else { return 0 }
        network.advance(to: nowNs)
        var handed = happenings.deliver(limit: limit, into: &events)
        while handed < limit, let packet = arrivals.popFirst() {
            receive(packet)
            handed += deliver(limit - handed, into: &events)
        }
        for link in links.all {
            guard let due = link.dueNs(progressLimitNs: configuration.progressLimitNs), nowNs >= due else {
                continue
            }
            let what =
                link.isUp ? "sent no byte of a posted read in time" : "did not complete the handshake in time"
            takeDown(link, TransportError(.timedOut, "\(link.remote) \(what)"), telling: true)
        }
        if handed < limit { handed += deliver(limit - handed, into: &events) }
        return handed
    }

    private func deliver(_ limit: Int, into events: inout some TransportEvents) -> Int {
        happenings.deliver(limit: limit, into: &events)
    }

    private func receive(_ packet: SimulatedPacket) {
        switch packet {
        case .greeting(let from, let theirs, let identity): welcome(from, theirs, identity)
        case .welcome(let from, let link, let theirs, let identity):
            guard let link = links[link], !link.isUp else {
                // Closed or timed out meanwhile: the far side must not keep it.
                return network.send(
                    .closed(link: theirs), from: name, to: from,
                    arrivingNs: network.nowNs + network.travelNs())
            }
            link.theirs = theirs
            comeUp(link, identity)
        case .refusal(let link, let code):
            guard let link = links[link], !link.isUp else { return }
            takeDown(
                link, .refusal(by: link.remote, detail: code.rawValue, own: configuration.identity.cluster),
                telling: false)
        case .message(let link, let bytes):
            guard let link = links[link] else { return }
            // Handed over now: the sender's room is free again.
            if let theirs = link.theirs {
                network.host(link.remote)?.links[theirs]?.unhandedBytes -= bytes.count + 1
            }
            counters.messagesReceived += 1
            happenings.append(.message(link.id, bytes))
        case .request(let link, let number, let key, let offset, let length):
            guard let link = links[link] else { return }
            serve(link, number, key, offset, length)
        case .response(let link, let number, let failure):
            guard let link = links[link], let read = link.posted.removeValue(forKey: number) else { return }
            link.progressNs = max(link.progressNs, network.nowNs)
            if failure == nil {
                counters.receivedBytes += UInt64(read.lengthBytes)
                counters.copiedBytes += UInt64(read.lengthBytes)
            }
            complete(link.id, tag: read.tag, failure)
        case .closed(let link):
            guard let link = links[link] else { return }
            takeDown(link, TransportError(.peerClosed, "\(link.remote) closed the link"), telling: false)
        case .served(let id):
            guard let export = exports[id] else { return }
            export.readsActive -= 1
            retireWhenUnused(export)
        }
    }

    private func welcome(_ from: String, _ theirs: LinkID, _ peer: LinkIdentity) {
        func refuse(_ code: TransportError.Code) {
            counters.handshakesRefused += 1
            network.send(
                .refusal(link: theirs, code: code), from: name, to: from,
                arrivingNs: network.nowNs + network.travelNs())
        }
        guard peer.cluster == configuration.identity.cluster else { return refuse(.wrongCluster) }
        guard configuration.authenticator.admits(peer, proof: nil, inbound: true) else { return refuse(.accessDenied) }
        let id = links.insert { SimulatedLink(id: $0, inbound: true, remote: from, deadlineNs: .max) }
        guard let id, let link = links[id] else { return refuse(.limit) }
        link.theirs = theirs
        dispatch(.welcome(from: name, link: theirs, theirs: id, identity: configuration.identity), on: link)
        comeUp(link, peer)
    }

    private func comeUp(_ link: SimulatedLink, _ peer: LinkIdentity) {
        link.isUp = true
        counters.linksUp += 1
        happenings.append(.linkUp(link.id, peer, inbound: link.inbound))
    }

    /// Puts a read's bytes on the wire: they are in the reader's memory at once, but the reader hears of it when they
    /// would be.
    private func serve(
        _ link: SimulatedLink, _ number: UInt64, _ key: RemoteKey, _ offset: UInt64, _ length: Int
    ) {
        func refuse(_ code: TransportError.Code) {
            if code == .accessDenied { counters.readsDenied += 1 }
            dispatch(.response(link: link.theirs!, number: number, failure: code), on: link)
        }
        guard let export = link.keys[key].flatMap({ exports[$0] }), offset <= export.lengthBytes,
            UInt64(length) <= export.lengthBytes - offset
        else { return refuse(.accessDenied) }
        // A reader that closed, died or is cut off gets no byte.
        guard let reader = network.host(link.remote), !network.isCut(name, link.remote),
            let theirs = reader.links[link.theirs!], let read = theirs.posted[number]
        else { return }
        guard
            export.copy(offset: offset, to: UnsafeMutableRawBufferPointer(start: read.target, count: length))
        else {
            return refuse(.sourceFailed)
        }
        counters.sentBytes += UInt64(length)
        counters.readsServed += 1
        let leftNs = reserve(&egressFreeNs, length, configuration.egressBytesPerSecond, fromNs: network.nowNs)
        let arrivedNs = max(
            leftNs + network.travelNs(),
            reader.reserve(
                &reader.ingressFreeNs, length, reader.configuration.ingressBytesPerSecond,
                fromNs: network.nowNs))
        // Bytes that are on their way are progress.
        theirs.progressNs = max(theirs.progressNs, arrivedNs)
        export.readsActive += 1
        network.send(.served(export.id), from: name, to: name, arrivingNs: leftNs)
        network.send(
            .response(link: link.theirs!, number: number, failure: nil), from: name, to: link.remote,
            arrivingNs: arrivedNs)
    }

    /// Takes a port for so many bytes after what it is busy with; when they are through.
    private func reserve(_ freeNs: inout UInt64, _ bytes: Int, _ bytesPerSecond: UInt64, fromNs: UInt64)
        -> UInt64
    {
        let durationNs = UInt64(bytes).multipliedFullWidth(by: 1_000_000_000)
        freeNs = max(freeNs, fromNs) + max(bytesPerSecond, 1).dividingFullWidth(durationNs).quotient
        return freeNs
    }
}
