import Artifacts
import System
import Transport

/// Pieces over TCP, one-sidedly as the protocol wants it: the receiver asks with a key, and the bytes go from the
/// kernel straight to their place.
///
/// A link is one control connection (handshake, messages) and a few data connections, tied together by a random ticket.
/// Everything happens on the rail's thread: sockets never block, epoll says which are ready, and each gets at most
/// `turnBytesMax` a turn. The sending side hands the kernel memory or a file's pages and copies nothing itself.
///
/// A far side that breaks the protocol (wrong lengths, unknown numbers, bytes nobody asked for) loses the link; bytes
/// are only ever written inside a posted read. There is no encryption yet: see `HandshakeAuthenticator`.
public final class TCPTransport: PieceTransport {
    /// What an epoll token leads to.
    enum Endpoint {
        case listener
        case handshake(Arrival)
        case control(TCPLink)
        case data(TCPLink, TCPDataStream)
    }

    let configuration: TCPConfiguration
    /// What this transport is and can do here.
    public let capabilities: TransportCapabilities
    /// Where other hosts reach it; nil while it does not listen.
    public private(set) var address: TransportAddress?
    /// What was done so far.
    public internal(set) var counters = TransportCounters()

    let queue: EpollQueue
    let listener: WatchedSocket?
    var isListenerPaused = false
    var endpoints: LinkTable<Endpoint>
    var links: LinkTable<TCPLink>
    var handshakesPending = 0
    private var regions: [RegionMemory] = []
    var exports: [RandomNumber: TCPExport] = [:]
    var exportKeys: [ExportID: RandomNumber] = [:]
    var lastExport: UInt64 = 0
    /// Exports that have retired, to be used again.
    var spareExports: [TCPExport] = []
    /// Revoked exports of which the kernel may still hold pages.
    var draining: [TCPExport] = []
    var happenings = Happenings()
    private var dirty: [TCPLink] = []
    private var resumable: [TCPLink] = []
    /// The links one of these lists held when its turn came; empty otherwise.
    private var turn: [TCPLink] = []
    private var ready: [EpollQueue.Ready] = []
    /// When time-outs are looked at next; nil when nothing can time out.
    var nextScanNs: UInt64?
    private var isShutDown = false

    /// Happenings that wait for `poll` before `post` takes no more.
    private static let happeningsMax = 1 << 16
    static let listenerPauseNs: UInt64 = 100_000_000
    static let drainIntervalNs: UInt64 = 10_000_000

    /// Opens the transport, and listens when the configuration says so.
    ///
    /// - Throws: `.badAddress` for an address that is not numeric, `.addressInUse` when the port is taken, `.system`
    ///   when a setting is impossible.
    public init(_ configuration: TCPConfiguration) throws(TransportError) {
        try configuration.check()
        self.configuration = configuration
        capabilities = TransportCapabilities(
            kind: .tcp, readBytesMax: TCPConfiguration.readBytesMax,
            readsPerLinkMax: configuration.readsPerLinkMax,
            exportsPerLinkMax: configuration.exportsPerLinkMax,
            messageBytesMax: TCPConfiguration.messageBytesMax,
            linksMax: configuration.linksMax, exportsFiles: true, receiveCopies: 1)
        links = LinkTable(linksMax: configuration.linksMax)
        ready.reserveCapacity(EpollQueue.readyMax)
        dirty.reserveCapacity(64)
        resumable.reserveCapacity(64)
        turn.reserveCapacity(64)
        spareExports.reserveCapacity(configuration.exportsPerLinkMax)
        exports.reserveCapacity(configuration.exportsPerLinkMax)
        exportKeys.reserveCapacity(configuration.exportsPerLinkMax)
        endpoints = LinkTable(
            linksMax: 1 + configuration.pendingHandshakesMax
                + configuration.linksMax * (1 + TCPConfiguration.dataStreamsMax))
        do throws(Errno) {
            queue = try EpollQueue()
        } catch {
            throw TransportError(.system, "cannot watch sockets: \(error)")
        }
        guard let listen = configuration.listen else {
            listener = nil
            return
        }
        let socket = try ListeningSocket(.tcp, on: listen)
        address = socket.address
        listener = try socket.watched(by: queue, endpoint: endpoints.insert { _ in .listener }!)
    }

    deinit {
        precondition(
            isShutDown || links.count == 0, "a TCP transport was dropped with links; call shutdown first")
    }

    /// Readable when `poll` would find something.
    public var wakeDescriptor: CInt? { queue.raw }

    /// When `poll` wants to be called; 0 for at once, nil for never.
    public var wakeAtNs: UInt64? {
        if !happenings.isEmpty || !dirty.isEmpty || !resumable.isEmpty { return 0 }
        return nextScanNs
    }

    // MARK: Memory and exports

    /// Makes memory a target of reads and a possible source of exports.
    public func register(_ memory: RegionMemory) throws(TransportError) -> RegionID {
        try memory.requireMapped(by: capabilities.kind)
        regions.append(memory)
        return RegionID(index: UInt32(regions.count - 1))
    }

    func memory(of region: RegionID) -> RegionMemory {
        precondition(Int(region.index) < regions.count, "region \(region.index) was never registered")
        return regions[Int(region.index)]
    }

    // MARK: Messages and reads

    /// Sends a message; false when the link cannot take it now.
    public func send(_ message: UnsafeRawBufferPointer, on link: LinkID) -> Bool {
        precondition(
            message.count <= TCPConfiguration.messageBytesMax,
            "a message has at most \(TCPConfiguration.messageBytesMax) bytes, not \(message.count)")
        guard let target = links[link], target.state == .up else { return true }
        let bytes = ControlStream.lengthBytes + message.count
        guard target.control.queuedBytes + bytes <= configuration.messageQueueBytesMax else { return false }
        target.control.queue(message: message)
        counters.messagesSent += 1
        markDirty(target)
        return true
    }

    /// Posts reads; how many were taken.
    public func post(_ reads: UnsafeBufferPointer<ReadRequest>) -> Int {
        var taken = 0
        for read in reads {
            let place = read.place(in: memory(of: read.region), readBytesMax: TCPConfiguration.readBytesMax)
            guard happenings.count < Self.happeningsMax else { break }
            guard let link = links[read.link], link.state == .up else {
                counters.readsPosted += 1
                complete(read.link, tag: read.tag, .linkClosed)
                taken += 1
                continue
            }
            guard link.readsPosted < link.readsMax else { break }
            counters.readsPosted += 1
            taken += 1
            guard let key = RandomNumber(read.key) else {
                complete(read.link, tag: read.tag, .accessDenied)
                continue
            }
            ask(link, read, key: key, target: place)
        }
        return taken
    }

    private func ask(_ link: TCPLink, _ read: ReadRequest, key: RandomNumber, target: UnsafeMutableRawPointer) {
        let stream = link.shortestStream
        if stream.posted.isEmpty { stream.receiveStampNs = 0 }
        if !stream.hasToSend { stream.sendStampNs = 0 }
        let number = stream.nextNumber
        stream.nextNumber += 1
        stream.posted.append(
            TCPPostedRead(target: target, lengthBytes: read.lengthBytes, number: number, tag: read.tag))
        stream.postedBytes += UInt64(read.lengthBytes)
        link.readsPosted += 1
        TCPFrame.appendRequest(
            length: read.lengthBytes, number: number, key: key, offset: read.remoteOffset,
            to: &stream.requests)
        markDirty(link)
    }

    func complete(_ link: LinkID, tag: UInt64, _ failure: TransportError.Code?) {
        if failure == nil { counters.readsCompleted += 1 } else { counters.readsFailed += 1 }
        happenings.append(.readCompleted(ReadCompletion(link: link, tag: tag, failure: failure)))
    }

    func markDirty(_ link: TCPLink) {
        guard !link.isDirty else { return }
        link.isDirty = true
        dirty.append(link)
    }

    // MARK: Ends

    /// Ends a link.
    public func close(_ link: LinkID) {
        guard let target = links[link], target.inbound == false || target.state == .up else { return }
        takeDown(target, TransportError(.linkClosed, "this side closed the link to \(target.name)"))
    }

    /// Ends a link: reads complete, exports retire, sockets close, then the link is reported down, in this order.
    func takeDown(_ link: TCPLink, _ reason: TransportError) {
        guard links[link.id] != nil else { return }
        links[link.id] = nil
        for case let stream? in link.data {
            // A reset throws away what the kernel has not sent: it holds no page of ours afterwards.
            if !stream.isConnecting { Sockets.closeAbruptly(stream.socket.descriptor.raw) }
            drop(stream.socket)
            while let read = stream.posted.popFirst() { complete(link.id, tag: read.tag, .linkClosed) }
            while stream.serving.popFirst() != nil {}
            stream.payloadTarget = nil
        }
        link.data = []
        drop(link.control.socket)
        for export in link.exports.values.sorted(by: { $0.id.value < $1.id.value }) {
            exports[export.key] = nil
            exportKeys[export.id] = nil
            export.lastSent = []
            happenings.append(.exportRetired(export.id))
        }
        link.exports = [:]
        if link.inbound && link.state != .up {
            counters.handshakesRefused += 1
        } else {
            counters.linksDown += 1
            happenings.append(.linkDown(link.id, reason))
        }
    }

    /// Stops watching a socket; it closes when its last owner lets it go, which is now.
    func drop(_ socket: WatchedSocket) {
        queue.remove(socket.descriptor.raw)
        endpoints[socket.endpoint] = nil
    }

    /// Closes every link and delivers what remains.
    public func shutdown(into events: inout some TransportEvents) {
        guard !isShutDown else { return }
        isShutDown = true
        for link in links.all {
            takeDown(link, TransportError(.linkClosed, "this host's transport shut down"))
        }
        for endpoint in endpoints.all {
            if case .handshake(let handshake) = endpoint { drop(handshake.socket) }
        }
        if let listener { drop(listener) }
        dirty = []
        resumable = []
        draining = []
        while happenings.deliver(limit: .max, into: &events) > 0 {}
    }

    // MARK: Polling

    /// Hands over what happened, without waiting.
    @discardableResult
    public func poll(nowNs: UInt64, limit: Int, into events: inout some TransportEvents) -> Int {
        precondition(!isShutDown, "a TCP transport is not polled after shutdown")
        var handed = happenings.deliver(limit: limit, into: &events)
        flushDirty(nowNs)
        swap(&resumable, &turn)
        for link in turn {
            link.isResumable = false
            guard links[link.id] != nil else { continue }
            handed += receiveMessages(link, nowNs, limit: limit - handed, parseOnly: true, into: &events)
        }
        turn.removeAll(keepingCapacity: true)
        ready.removeAll(keepingCapacity: true)
        counters.syscalls += 1
        do throws(Errno) {
            try queue.wait(limitMs: 0, into: &ready)
        } catch {
            preconditionFailure("epoll cannot be asked: \(error)")
        }
        for happening in ready {
            guard let endpoint = endpoints[LinkID(token: happening.token)] else { continue }
            switch endpoint {
            case .listener: accept(nowNs)
            case .handshake(let handshake): receiveHandshake(handshake, nowNs)
            case .control(let link):
                handed += serveControl(link, happening.interest, nowNs, limit: limit - handed, into: &events)
            case .data(let link, let stream): serveData(link, stream, happening.interest, nowNs)
            }
        }
        // What came in may have made something to send (served reads): within the same turn.
        flushDirty(nowNs)
        if let next = nextScanNs, nowNs >= next { scan(nowNs) }
        if handed < limit { handed += happenings.deliver(limit: limit - handed, into: &events) }
        return handed
    }

    private func flushDirty(_ nowNs: UInt64) {
        guard !dirty.isEmpty else { return }
        swap(&dirty, &turn)
        for link in turn {
            link.isDirty = false
            guard links[link.id] != nil else { continue }
            attempt(link) { () throws(TransportError) in
                try self.flushControl(link, nowNs)
                for case let stream? in link.data where !stream.isConnecting {
                    try self.flushData(link, stream, nowNs)
                }
            }
        }
        turn.removeAll(keepingCapacity: true)
    }

    /// Runs a step of a link; its failure takes the link down.
    func attempt(_ link: TCPLink, _ step: () throws(TransportError) -> Void) {
        do throws(TransportError) {
            try step()
        } catch {
            takeDown(link, error)
        }
    }

    func markResumable(_ link: TCPLink) {
        guard !link.isResumable else { return }
        link.isResumable = true
        resumable.append(link)
    }

    var listenerDescriptor: CInt? { listener?.descriptor.raw }
}
