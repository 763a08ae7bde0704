import Artifacts
import Glibc
import System
import Transport

/// Pieces between processes of one host, by handing over descriptors: no byte of a piece crosses a socket.
///
/// An export passes a read-only descriptor of the file or memfd with its range over a Unix-domain socket, and the child
/// reads it from the shared page cache straight into its memory: one copy, by the child's own CPU, and none by the
/// parent.
///
/// What a revocation can do here: the child is told to close the descriptor and answers when it has; `exportRetired`
/// follows that answer or the link's end. A child that lies keeps reading: a descriptor that was passed cannot be taken
/// back, and it shows the whole file, not only the range. Therefore only processes of the same user get a link
/// (SO_PEERCRED, both ways; such a process could read our memory anyway), and only content that is verified and does
/// not change any more is exported.
///
/// Reads happen in `poll`, `turnBytesMax` a link and turn, and may wait for the disk where the page cache has lost the
/// file.
public final class LocalTransport: PieceTransport {
    let configuration: LocalConfiguration
    /// What this transport is and can do here.
    public let capabilities: TransportCapabilities
    /// Where other hosts reach it; nil while it does not listen.
    public private(set) var address: TransportAddress?
    /// What was done so far.
    public internal(set) var counters = TransportCounters()

    let queue: EpollQueue
    let listener: LocalFile?
    var isListenerPaused = false
    var links: LinkTable<LocalLink>
    var linksCount = 0
    var pendingCount: Int { links.count - linksCount }
    private var regions: [RegionMemory] = []
    var exportLinks: [ExportID: LinkID] = [:]
    private var lastExport: UInt64 = 0
    var happenings = Happenings()
    /// Links with packets to send or reads to do.
    private var active: [LocalLink] = []
    private var ready: [EpollQueue.Ready] = []
    private let packet = UnsafeMutableRawBufferPointer.allocate(
        byteCount: LocalPacket.bytesMax, alignment: 16)
    var nextScanNs: UInt64?
    private var isShutDown = false

    private static let happeningsMax = 1 << 16
    static let listenerPauseNs: UInt64 = 100_000_000
    static let listenerToken = UInt64.max

    /// Opens the transport, and listens when the configuration says so. A socket that a dead process left behind is
    /// replaced.
    ///
    /// - Throws: `.badAddress` for a path that is too long, `.addressInUse` when another process listens there.
    public init(_ configuration: LocalConfiguration) throws(TransportError) {
        try configuration.check()
        self.configuration = configuration
        capabilities = TransportCapabilities(
            kind: .local, readBytesMax: LocalConfiguration.readBytesMax,
            readsPerLinkMax: configuration.readsPerLinkMax,
            exportsPerLinkMax: configuration.exportsPerLinkMax,
            messageBytesMax: LocalConfiguration.messageBytesMax,
            linksMax: configuration.linksMax, exportsFiles: true, receiveCopies: 1)
        links = LinkTable(linksMax: configuration.linksMax + configuration.pendingHandshakesMax)
        do throws(Errno) {
            queue = try EpollQueue()
        } catch {
            throw TransportError(.system, "cannot watch sockets: \(error)")
        }
        guard let path = configuration.listenPath else {
            listener = nil
            return
        }
        guard let place = SocketAddress(path: path) else {
            throw TransportError(
                .badAddress,
                "cannot listen on \(path): a socket's path has 1 to 107 bytes; choose a shorter one")
        }
        do throws(Errno) {
            let socket = LocalFile(try Self.listen(path, place))
            try queue.add(socket.descriptor.raw, .reading, token: Self.listenerToken)
            listener = socket
            address = TransportAddress(kind: .local, location: path)
        } catch {
            let remedy =
                error.isAddressInUse ? "another process listens there; end it or choose another path: " : ""
            throw TransportError(
                error.isAddressInUse ? .addressInUse : .system, "cannot listen on \(path): \(remedy)\(error)")
        }
    }

    private static func listen(_ path: String, _ place: SocketAddress) throws(Errno) -> FileDescriptor {
        do throws(Errno) {
            return try Sockets.listen(on: place, kind: .packets, backlog: 128)
        } catch {
            guard error.isAddressInUse, isAbandoned(place) else { throw error }
            unlink(path)
            return try Sockets.listen(on: place, kind: .packets, backlog: 128)
        }
    }

    /// Whether nobody answers at a socket's path.
    private static func isAbandoned(_ place: SocketAddress) -> Bool {
        do throws(Errno) {
            _ = try Sockets.connect(to: place, kind: .packets)
            return false
        } catch {
            return error.isConnectionRefused
        }
    }

    deinit {
        precondition(
            isShutDown || links.count == 0, "a local transport was dropped with links; call shutdown first")
        packet.deallocate()
    }

    /// Readable when `poll` would find something.
    public var wakeDescriptor: CInt? { queue.raw }

    /// When `poll` wants to be called; 0 for at once, nil for never.
    public var wakeAtNs: UInt64? { happenings.isEmpty && active.isEmpty ? nextScanNs : 0 }

    // MARK: Memory and exports

    /// Makes memory a target of reads and a possible source of exports.
    public func register(_ memory: RegionMemory) throws(TransportError) -> RegionID {
        try memory.requireMapped(by: capabilities.kind)
        regions.append(memory)
        return RegionID(index: UInt32(regions.count - 1))
    }

    /// Lets one link read exactly this range until `revoke`.
    public func export(_ source: ExportSource, to link: LinkID) throws(TransportError) -> Export {
        guard let target = links[link], target.state == .up else {
            throw TransportError(.linkClosed, "\(link) is not up; nothing can be exported to it")
        }
        guard target.exports.count < configuration.exportsPerLinkMax else {
            throw TransportError(
                .limit, "\(target.name) has \(target.exports.count) exports already; revoke one first")
        }
        let (descriptor, range) = try place(of: source)
        do throws(Errno) {
            let fileBytes = try FileSource.lengthBytes(of: descriptor)
            guard range.length > 0, range.offset <= fileBytes, range.length <= fileBytes - range.offset else {
                throw Errno(0, "\(range.length) bytes at \(range.offset) of \(fileBytes)")
            }
            let file = LocalFile(try Sockets.reopenReadOnly(descriptor))
            lastExport += 1
            let id = ExportID(lastExport)
            let key = RandomNumber.make()
            target.exports[id.value] = LocalExport(id: id, key: key)
            exportLinks[id] = link
            target.queue(.offer(key: key, offset: range.offset, lengthBytes: range.length), passing: file)
            // At once: the key holds from here on. A failure is found again, and reported, by the next poll.
            _ = try? push(target, 0)
            activate(target)
            return Export(id: id, key: key.key)
        } catch {
            throw TransportError(.sourceFailed, "cannot hand over a file's range: \(error)")
        }
    }

    private func place(of source: ExportSource) throws(TransportError) -> (CInt, ByteRange) {
        switch source {
        case .file(let descriptor, let range):
            return (descriptor, range)
        case .memory(let region, let offset, let length):
            let memory = memory(of: region)
            guard length > 0, offset <= UInt64(memory.lengthBytes),
                length <= UInt64(memory.lengthBytes) - offset
            else {
                throw TransportError(
                    .sourceFailed,
                    "\(length) bytes at \(offset) are not in memory of \(memory.lengthBytes) bytes")
            }
            guard let backing = memory.backing else {
                throw TransportError(
                    .sourceFailed, "memory without a memfd cannot be handed to another process")
            }
            return (backing.descriptor, ByteRange(offset: backing.offset + offset, length: length))
        }
    }

    /// Ends an export; `exportRetired` follows.
    public func revoke(_ export: ExportID) {
        guard let link = exportLinks.removeValue(forKey: export).flatMap({ links[$0] }),
            let entry = link.exports[export.value]
        else { return }
        link.exports[export.value]!.revokedAtNs = 0
        link.queue(.withdrawal(key: entry.key))
        activate(link)
        scheduleScan(atNs: 0)
    }

    private func memory(of region: RegionID) -> RegionMemory {
        precondition(Int(region.index) < regions.count, "region \(region.index) was never registered")
        return regions[Int(region.index)]
    }

    // MARK: Messages and reads

    /// Sends a message; false when the link cannot take it now.
    public func send(_ message: UnsafeRawBufferPointer, on link: LinkID) -> Bool {
        precondition(
            message.count <= LocalConfiguration.messageBytesMax,
            "a message has at most \(LocalConfiguration.messageBytesMax) bytes, not \(message.count)")
        guard let target = links[link], target.state == .up else { return true }
        guard target.queuedMessageBytes + 1 + message.count <= configuration.messageQueueBytesMax else {
            return false
        }
        target.queue(.message(message))
        counters.messagesSent += 1
        activate(target)
        return true
    }

    /// Posts reads; how many were taken.
    public func post(_ reads: UnsafeBufferPointer<ReadRequest>) -> Int {
        var taken = 0
        for read in reads {
            let place = read.place(in: memory(of: read.region), readBytesMax: LocalConfiguration.readBytesMax)
            guard happenings.count < Self.happeningsMax else { break }
            guard let link = links[read.link], link.state == .up else {
                counters.readsPosted += 1
                taken += 1
                complete(read.link, tag: read.tag, .linkClosed)
                continue
            }
            guard link.reads.count < configuration.readsPerLinkMax else { break }
            counters.readsPosted += 1
            taken += 1
            link.reads.append(
                LocalRead(
                    key: RandomNumber(read.key), offset: read.remoteOffset,
                    target: place,
                    lengthBytes: Int(read.lengthBytes), tag: read.tag))
            activate(link)
        }
        return taken
    }

    func complete(_ link: LinkID, tag: UInt64, _ failure: TransportError.Code?) {
        if failure == nil { counters.readsCompleted += 1 } else { counters.readsFailed += 1 }
        happenings.append(.readCompleted(ReadCompletion(link: link, tag: tag, failure: failure)))
    }

    func activate(_ link: LocalLink) {
        guard !link.isActive else { return }
        link.isActive = true
        active.append(link)
    }

    /// Closes every link and delivers what remains.
    public func shutdown(into events: inout some TransportEvents) {
        guard !isShutDown else { return }
        isShutDown = true
        for link in links.all {
            takeDown(link, TransportError(.linkClosed, "this host's transport shut down"))
        }
        if let listener {
            queue.remove(listener.descriptor.raw)
            unlink(configuration.listenPath!)
        }
        active = []
        while happenings.deliver(limit: .max, into: &events) > 0 {}
    }

    // MARK: Polling

    /// Hands over what happened, without waiting.
    @discardableResult
    public func poll(nowNs: UInt64, limit: Int, into events: inout some TransportEvents) -> Int {
        precondition(!isShutDown, "a local transport is not polled after shutdown")
        var handed = happenings.deliver(limit: limit, into: &events)
        ready.removeAll(keepingCapacity: true)
        counters.syscalls += 1
        do throws(Errno) {
            try queue.wait(limitMs: 0, into: &ready)
        } catch {
            preconditionFailure("epoll cannot be asked: \(error)")
        }
        for happening in ready {
            if happening.token == Self.listenerToken {
                accept(nowNs)
                continue
            }
            guard let link = links[LinkID(token: happening.token)] else { continue }
            if happening.interest.contains(.writing) { activate(link) }
            if !happening.interest.isDisjoint(with: [.reading, .broken]) {
                handed += receive(link, nowNs, limit: limit - handed, into: &events)
            }
        }
        // After receiving: ranges that were handed over before a read was posted are known now.
        work(nowNs)
        if let next = nextScanNs, nowNs >= next { scan(nowNs) }
        if handed < limit { handed += happenings.deliver(limit: limit - handed, into: &events) }
        return handed
    }

    /// Sends what waits and reads what was posted, a turn's worth for each link.
    private func work(_ nowNs: UInt64) {
        guard !active.isEmpty else { return }
        let turn = active
        active = []
        for link in turn {
            link.isActive = false
            guard links[link.id] != nil else { continue }
            do throws(TransportError) {
                readTurn(link)
                try flush(link, nowNs)
            } catch {
                takeDown(link, error)
            }
            if !link.reads.isEmpty { activate(link) }
        }
    }

    func flush(_ link: LocalLink, _ nowNs: UInt64) throws(TransportError) {
        if try push(link, nowNs) { return setInterest(link, [.reading]) }
        if link.sendStampNs == 0 { link.sendStampNs = nowNs }
        scheduleScan(atNs: nowNs + scanIntervalNs)
        setInterest(link, [.reading, .writing])
    }

    /// Gives the kernel what it takes; true when nothing is left. `nowNs` is 0 where the time is not known.
    private func push(_ link: LocalLink, _ nowNs: UInt64) throws(TransportError) -> Bool {
        while !link.outgoing.isEmpty {
            let next = link.outgoing.first
            counters.syscalls += 1
            let result = next.bytes.withUnsafeBytes {
                Sockets.sendPacket(link.raw, $0, passing: next.passed?.descriptor.raw)
            }
            switch result {
            case .moved:
                if next.isMessage { link.queuedMessageBytes -= next.bytes.count }
                _ = link.outgoing.popFirst()
                link.sendStampNs = nowNs
            case .wouldBlock, .ended:
                return false
            case .failed(let error):
                throw failure(error, "the link to \(link.name) broke")
            }
        }
        return true
    }

    private func setInterest(_ link: LocalLink, _ interest: EpollQueue.Interest) {
        guard link.interest != interest else { return }
        link.interest = interest
        counters.syscalls += 1
        do throws(Errno) {
            try queue.change(link.raw, interest, token: link.id.token)
        } catch {
            preconditionFailure("a socket of ours cannot be watched: \(error)")
        }
    }

    /// Receives packets, at most 64 a turn and no more messages than `limit`.
    private func receive(
        _ link: LocalLink, _ nowNs: UInt64, limit: Int, into events: inout some TransportEvents
    ) -> Int {
        var handed = 0
        do throws(TransportError) {
            for _ in 0..<64 {
                // In order: what waits (such as this link's linkUp) goes first.
                if handed < limit { handed += happenings.deliver(limit: limit - handed, into: &events) }
                guard handed < limit, happenings.isEmpty else { break }
                var passed: CInt = -1
                counters.syscalls += 1
                let result = Sockets.receivePacket(link.raw, into: packet, passed: &passed)
                let file = passed < 0 ? nil : LocalFile(FileDescriptor(owning: passed))
                switch result {
                case .wouldBlock: return handed
                case .ended: throw TransportError(.peerClosed, "\(link.name) closed the link")
                case .failed(let error) where error.isTooLarge:
                    throw TransportError(
                        .protocolBroken, "\(link.name) sent a packet that is too large; the link was closed")
                case .failed(let error): throw failure(error, "the link to \(link.name) broke")
                case .moved(let count):
                    let bytes = UnsafeRawBufferPointer(rebasing: packet[..<count])
                    if link.state != .up {
                        try takeHandshake(bytes, link, nowNs)
                    } else if let message = try take(bytes, file, link) {
                        counters.messagesReceived += 1
                        handed += 1
                        events.message(message, on: link.id)
                    }
                }
            }
        } catch {
            takeDown(link, error)
        }
        return handed
    }
}
