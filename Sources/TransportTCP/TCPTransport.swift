import Artifacts
import System
import Transport

/// Pieces over TCP, one-sidedly as the protocol wants it: the receiver asks with a key, and the bytes go from the
/// kernel
/// straight to their place.
///
/// A link is one control connection (handshake, messages) and a few data connections, tied together by a random ticket.
/// Everything happens on the rail's thread: sockets never block, epoll says which are ready, and each gets at most
/// `turnBytesMax` a turn. The sending side hands the kernel memory or a file's pages and copies nothing itself.
///
/// A far side that breaks the protocol (wrong lengths, unknown numbers, bytes nobody asked for) loses the link; bytes
/// are
/// only ever written inside a posted read. There is no encryption yet: see `HandshakeAuthenticator`.
public final class TCPTransport: PieceTransport {
    /// What an epoll token leads to.
    enum Endpoint {
        case listener
        case handshake(TCPHandshake)
        case control(TCPLink)
        case data(TCPLink, TCPDataStream)
    }

    let configuration: TCPConfiguration
    public let capabilities: TransportCapabilities
    public private(set) var address: TransportAddress?
    public internal(set) var counters = TransportCounters()

    let queue: EpollQueue
    private let listener: TCPSocket?
    var isListenerPaused = false
    var endpoints: LinkTable<Endpoint>
    var links: LinkTable<TCPLink>
    var handshakesPending = 0
    private var regions: [RegionMemory] = []
    var exports: [RandomNumber: TCPExport] = [:]
    private var exportKeys: [ExportID: RandomNumber] = [:]
    private var lastExport: UInt64 = 0
    /// Revoked exports of which the kernel may still hold pages.
    private var draining: [TCPExport] = []
    var happenings = Happenings()
    private var dirty: [TCPLink] = []
    private var resumable: [TCPLink] = []
    private var ready: [EpollQueue.Ready] = []
    /// When time-outs are looked at next; nil when nothing can time out.
    private var nextScanNs: UInt64?
    private var isShutDown = false

    /// Happenings that wait for `poll` before `post` takes no more.
    private static let happeningsMax = 1 << 16
    private static let listenerPauseNs: UInt64 = 100_000_000
    private static let drainIntervalNs: UInt64 = 10_000_000

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
        guard let place = SocketAddress(hostAndPort: listen), let colon = listen.lastIndex(of: ":") else {
            throw TransportError(
                .badAddress, "cannot listen on \(listen): give a numeric host:port, such as 0.0.0.0:7701")
        }
        do throws(Errno) {
            let socket = try Sockets.listen(on: place, kind: .stream, backlog: 256)
            let port = try Sockets.port(of: socket.raw)
            let endpoint = endpoints.insert { _ in .listener }!
            try queue.add(socket.raw, .reading, token: endpoint.token)
            listener = TCPSocket(socket, endpoint: endpoint, interest: .reading)
            address = TransportAddress(kind: .tcp, location: "\(listen[..<colon]):\(port)")
        } catch {
            let remedy =
                error.isAddressInUse ? "another process listens there; choose another port or end it: " : ""
            throw TransportError(error.isAddressInUse ? .addressInUse : .system, "cannot listen on \(listen): \(remedy)\(error)")
        }
    }

    deinit {
        precondition(
            isShutDown || links.count == 0, "a TCP transport was dropped with links; call shutdown first")
    }

    public var wakeDescriptor: CInt? { queue.raw }

    public var wakeAtNs: UInt64? {
        if !happenings.isEmpty || !dirty.isEmpty || !resumable.isEmpty { return 0 }
        return nextScanNs
    }

    // MARK: Memory and exports

    public func register(_ memory: RegionMemory) throws(TransportError) -> RegionID {
        regions.append(memory)
        return RegionID(index: UInt32(regions.count - 1))
    }

    public func export(_ source: ExportSource, to link: LinkID) throws(TransportError) -> Export {
        guard let target = links[link], target.state == .up else {
            throw TransportError(.linkClosed, "\(link) is not up; nothing can be exported to it")
        }
        guard target.exports.count < configuration.exportsPerLinkMax else {
            throw TransportError(
                .limit, "\(target.name) has \(target.exports.count) exports already; revoke one first")
        }
        lastExport += 1
        let id = ExportID(lastExport)
        let export = try makeExport(id, source, for: target)
        exports[export.key] = export
        exportKeys[id] = export.key
        target.exports[id.value] = export
        return Export(id: id, key: export.key.key)
    }

    private func makeExport(_ id: ExportID, _ source: ExportSource, for link: TCPLink) throws(TransportError)
        -> TCPExport
    {
        switch source {
        case .memory(let region, let offset, let length):
            let memory = memory(of: region)
            guard length > 0, offset <= UInt64(memory.lengthBytes),
                length <= UInt64(memory.lengthBytes) - offset
            else {
                throw TransportError(
                    .sourceFailed,
                    "\(length) bytes at \(offset) are not in memory of \(memory.lengthBytes) bytes")
            }
            return TCPExport(id: id, link: link.id, memory: memory.base + Int(offset), lengthBytes: length)
        case .file(let descriptor, let range):
            let fileBytes: UInt64
            do throws(Errno) {
                fileBytes = try FileSource.lengthBytes(of: descriptor)
            } catch {
                throw TransportError(.sourceFailed, "cannot export a file: \(error)")
            }
            guard range.length > 0, range.offset <= fileBytes, range.length <= fileBytes - range.offset else {
                throw TransportError(
                    .sourceFailed,
                    "\(range.length) bytes at \(range.offset) are not in a file of \(fileBytes) bytes")
            }
            do throws(Errno) {
                return try TCPExport(
                    id: id, link: link.id, file: descriptor, offset: range.offset, lengthBytes: range.length,
                    mapped: sendsMapped(to: link))
            } catch {
                throw TransportError(.sourceFailed, "cannot export a file: \(error)")
            }
        }
    }

    private func sendsMapped(to link: TCPLink) -> Bool {
        switch configuration.fileSending {
        case .mmap: true
        case .sendfile: false
        case .auto: Sockets.isLoopback(link.control.socket.descriptor.raw)
        }
    }

    public func revoke(_ export: ExportID) {
        guard let key = exportKeys.removeValue(forKey: export), let entry = exports.removeValue(forKey: key)
        else { return }
        entry.isRevoked = true
        retireWhenUnused(entry)
    }

    /// Reports a revoked export as retired as soon as neither we nor the kernel read it.
    func retireWhenUnused(_ export: TCPExport) {
        guard export.isRevoked, export.readsActive == 0 else { return }
        if export.isHeldByKernel() {
            if draining.isEmpty { scheduleScan(atNs: 0) }
            return draining.append(export)
        }
        links[export.link]?.exports[export.id.value] = nil
        happenings.append(.exportRetired(export.id))
    }

    private func checkDraining(_ nowNs: UInt64) {
        draining.removeAll { export in
            guard let link = links[export.link] else { return true }
            guard !export.isHeldByKernel() else { return false }
            link.exports[export.id.value] = nil
            happenings.append(.exportRetired(export.id))
            return true
        }
        if !draining.isEmpty { scheduleScan(atNs: nowNs + Self.drainIntervalNs) }
    }

    func memory(of region: RegionID) -> RegionMemory {
        precondition(Int(region.index) < regions.count, "region \(region.index) was never registered")
        return regions[Int(region.index)]
    }

    // MARK: Messages and reads

    public func send(_ message: UnsafeRawBufferPointer, on link: LinkID) -> Bool {
        precondition(
            message.count <= TCPConfiguration.messageBytesMax,
            "a message has at most \(TCPConfiguration.messageBytesMax) bytes, not \(message.count)")
        guard let target = links[link], target.state == .up else { return true }
        let bytes = TCPControlStream.lengthBytes + message.count
        guard target.control.queuedBytes + bytes <= configuration.messageQueueBytesMax else { return false }
        target.control.queue(message: message)
        counters.messagesSent += 1
        markDirty(target)
        return true
    }

    public func post(_ reads: UnsafeBufferPointer<ReadRequest>) -> Int {
        var taken = 0
        for read in reads {
            let memory = memory(of: read.region)
            precondition(
                read.lengthBytes > 0 && read.lengthBytes <= TCPConfiguration.readBytesMax,
                "a read has 1 to \(TCPConfiguration.readBytesMax) bytes, not \(read.lengthBytes)")
            precondition(
                read.localOffset <= UInt64(memory.lengthBytes)
                    && UInt64(read.lengthBytes) <= UInt64(memory.lengthBytes) - read.localOffset,
                "a read's place is outside its registered memory")
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
            ask(link, read, key: key, target: memory.base + Int(read.localOffset))
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
    func drop(_ socket: TCPSocket) {
        queue.remove(socket.descriptor.raw)
        endpoints[socket.endpoint] = nil
    }

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

    @discardableResult
    public func poll(nowNs: UInt64, limit: Int, into events: inout some TransportEvents) -> Int {
        precondition(!isShutDown, "a TCP transport is not polled after shutdown")
        var handed = happenings.deliver(limit: limit, into: &events)
        flushDirty(nowNs)
        let unfinished = resumable
        resumable = []
        for link in unfinished {
            link.isResumable = false
            guard links[link.id] != nil else { continue }
            handed += receiveMessages(link, nowNs, limit: limit - handed, parseOnly: true, into: &events)
        }
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
        let waiting = dirty
        dirty = []
        for link in waiting {
            link.isDirty = false
            guard links[link.id] != nil else { continue }
            attempt(link) { () throws(TransportError) in
                try self.flushControl(link, nowNs)
                for case let stream? in link.data where !stream.isConnecting {
                    try self.flushData(link, stream, nowNs)
                }
            }
        }
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

    // MARK: Time

    /// Has time-outs looked at by then at the latest.
    func scheduleScan(atNs: UInt64) { nextScanNs = min(nextScanNs ?? .max, atNs) }

    var scanIntervalNs: UInt64 { max(configuration.progressLimitNs / 8, 1_000_000) }

    private func scan(_ nowNs: UInt64) {
        nextScanNs = nil
        checkDraining(nowNs)
        for endpoint in endpoints.all {
            guard case .handshake(let handshake) = endpoint else { continue }
            if nowNs >= handshake.deadlineNs {
                refuse(handshake, nil)
            } else {
                scheduleScan(atNs: handshake.deadlineNs)
            }
        }
        resumeListening(nowNs)
        for link in links.all {
            if link.state != .up {
                if nowNs >= link.deadlineNs {
                    takeDown(
                        link,
                        TransportError(.timedOut, "\(link.remote) did not complete the handshake in time"))
                } else {
                    scheduleScan(atNs: link.deadlineNs)
                }
            } else if let silent = silence(link, nowNs) {
                takeDown(link, silent)
            }
        }
    }

    /// The reason to give a link up because nothing moves; schedules the next look while something is due.
    private func silence(_ link: TCPLink, _ nowNs: UInt64) -> TransportError? {
        let limit = configuration.progressLimitNs
        func isOverdue(_ stamp: inout UInt64) -> Bool {
            scheduleScan(atNs: nowNs + scanIntervalNs)
            if stamp == 0 { stamp = nowNs }
            return nowNs >= stamp && nowNs - stamp >= limit
        }
        func failure(_ what: String) -> TransportError {
            TransportError(.timedOut, "\(link.name) \(what) for \(limit / 1_000_000) ms")
        }
        if link.control.queuedBytes > 0, isOverdue(&link.control.sendStampNs) {
            return failure("took no message")
        }
        for case let stream? in link.data {
            if !stream.posted.isEmpty, isOverdue(&stream.receiveStampNs) {
                return failure("sent no byte of a posted read")
            }
            if stream.hasToSend, isOverdue(&stream.sendStampNs) {
                return failure("took no byte of a read it asked for")
            }
        }
        return nil
    }

    /// Leaves further connections in the kernel's queue until there is room for them again.
    func pauseListening(_ nowNs: UInt64) {
        guard let listener else { return }
        if !isListenerPaused {
            isListenerPaused = true
            try? queue.change(listener.descriptor.raw, [], token: listener.endpoint.token)
        }
        scheduleScan(atNs: nowNs + Self.listenerPauseNs)
    }

    private func resumeListening(_ nowNs: UInt64) {
        guard isListenerPaused, let listener else { return }
        guard handshakesPending < configuration.pendingHandshakesMax else { return pauseListening(nowNs) }
        isListenerPaused = false
        try? queue.change(listener.descriptor.raw, .reading, token: listener.endpoint.token)
    }

    var listenerDescriptor: CInt? { listener?.descriptor.raw }
}
