import System
import Transport
import Verbs

/// An open device with all that links share on it: from its opening until it is lost or the transport ends.
///
/// Released by its last reference; what was made from it goes first, whoever holds it.
final class VerbsSession {
    /// A part of registered memory: regions end at the device's bound.
    private final class Chunk {
        let local: MemoryRegion
        /// For binding windows to parts of it, in the domain of what is leased.
        private let leased: MemoryRegion?

        init(local: consuming MemoryRegion, leased: consuming MemoryRegion?) {
            self.local = local
            self.leased = leased
        }

        func appendBind(
            _ window: borrowing MemoryWindow, newKey: UInt32, address: UInt64, lengthBytes: UInt64, id: UInt64,
            to list: inout SendList
        ) {
            switch leased {
            case .some(let region):
                list.appendBind(
                    window, newKey: newKey, region: region, address: address, lengthBytes: lengthBytes, id: id,
                    isSignaled: true)
            case .none:
                preconditionFailure("memory was not registered for windows")
            }
        }
    }

    let device: Device
    let port: Int
    let portAttributes: PortAttributes
    let gid: GIDEntry
    /// What was asked for, where `gid` is only the best there was at that moment.
    private let betterWish: GIDSelection?
    let completions: CompletionQueue
    /// Of our READs: nothing in it can be reached from outside.
    private let fetchDomain: ProtectionDomain
    /// Of what is leased by windows: they are bound to one queue pair each, so all links may share it.
    private var sharedDomain: LeaseDomain?
    private var regions: [[Chunk]] = []
    /// Regions of registered memory have this length but for the last; a multiple of the largest read.
    let chunkBytes: Int
    /// Where READs of generation words land: 8 bytes a lane.
    private let sink: UnsafeMutableRawPointer
    private let sinkBytes: Int
    private let sinkRegion: MemoryRegion

    var completionEndpoint: LinkID?
    var eventEndpoint: LinkID?
    /// Set when the device, its port's address or its completion queue is gone.
    var loss: String?
    /// Set when its links were told to end for that.
    var isGivenUp = false
    var isPortActive = true

    static let completionsWanted = 32_000
    private static let gidPatienceNs: UInt64 = 3_000_000_000

    private init(
        device: consuming Device, port: PortAttributes, gid: GIDEntry, betterWish: GIDSelection? = nil
    ) throws(VerbsError) {
        let entries = min(Self.completionsWanted, device.attributes.completionEntriesMax)
        completions = try CompletionQueue(device, entries: entries)
        fetchDomain = try ProtectionDomain(device)
        let largest = Int(VerbsConfiguration.readBytesMax)
        chunkBytes = max(
            largest, Int(clamping: min(device.attributes.regionBytesMax, UInt64(1) << 40)) / largest * largest)
        sinkBytes = 1 << 20
        sink = .allocate(byteCount: sinkBytes, alignment: 4096)
        sink.initializeMemory(as: UInt8.self, repeating: 0, count: sinkBytes)
        do throws(VerbsError) {
            sinkRegion = try MemoryRegion(in: fetchDomain, base: sink, lengthBytes: sinkBytes, access: .localWrite)
        } catch {
            sink.deallocate()
            throw error
        }
        self.port = port.number
        portAttributes = port
        self.gid = gid
        self.betterWish = betterWish
        self.device = consume device
    }

    // The region of the sink is released by now or soon after, by its handle; the kernel keeps its pages until then.
    deinit { sink.deallocate() }

    /// Opens the first device and port that fit and are usable.
    ///
    /// `isPatient`: waits up to seconds for a port's table of addresses to fill, as it does after a device appears.
    static func open(_ library: VerbsLibrary, _ choice: PathChoice, isPatient: Bool = true) throws(TransportError)
        -> VerbsSession
    {
        var objections: [String] = []
        do throws(VerbsError) {
            let names = try library.deviceNames()
            if let wanted = choice.device, !names.contains(where: { $0.name == wanted }) {
                let others = names.map(\.name).joined(separator: ", ")
                throw VerbsError(
                    .noDevice, "there is no RDMA device \(wanted); there is \(others.isEmpty ? "none" : others)")
            }
            for candidate in names where choice.device == nil || choice.device == candidate.name {
                guard candidate.wire == .infiniBand else {
                    objections.append("\(candidate.name) is \(candidate.wire.rawValue), which is not supported")
                    continue
                }
                do throws(VerbsError) {
                    switch try open(library, candidate.name, choice, isPatient: isPatient) {
                    case .success(let session): return session
                    case .failure(let objection): objections.append(objection.text)
                    }
                } catch {
                    objections.append(error.description)
                }
            }
        } catch {
            throw TransportError(.system, error.description)
        }
        throw TransportError(
            .system,
            objections.isEmpty
                ? "there is no RDMA device; load the NIC's driver, or make a soft one (rdma link add rxe0 type rxe netdev …)"
                : objections.joined(separator: "; "))
    }

    private struct Objection: Error {
        let text: String
    }

    private static func open(
        _ library: VerbsLibrary, _ name: String, _ choice: PathChoice, isPatient: Bool
    ) throws(VerbsError) -> Result<VerbsSession, Objection> {
        let device = try library.open(name)
        let ports = choice.port.map { [$0] } ?? Array(1...max(1, device.attributes.portCount))
        var objections: [String] = []
        for number in ports {
            let port = try device.port(number)
            guard port.isActive else {
                objections.append("port \(number) of \(name) is \(port.state.rawValue)")
                continue
            }
            let until = MonotonicClock.nowNs() + (isPatient ? gidPatienceNs : 0)
            while true {
                let answer = choice.gid.choose(from: try device.gids(port: number))
                let isLate = MonotonicClock.nowNs() >= until
                switch answer {
                case .chosen(let entry):
                    return .success(try VerbsSession(device: device, port: port, gid: entry))
                case .provisional(let entry) where isLate:
                    return .success(
                        try VerbsSession(device: device, port: port, gid: entry, betterWish: choice.gid))
                case .notYet(let why) where isLate:
                    objections.append("port \(number) of \(name) has \(why)")
                case .provisional, .notYet:
                    MonotonicClock.sleep(ns: 10_000_000)
                    continue
                }
                break
            }
        }
        return .failure(Objection(text: objections.joined(separator: "; ")))
    }

    var name: String { device.name }
    var isUsable: Bool { loss == nil && isPortActive }
    var completionsMax: Int { completions.entries }
    /// Reads leave some room to what is rare and must not wait for long: leases, proofs of life.
    var completionsOfReadsMax: Int { completionsMax - completionsMax / 8 }
    var completionDescriptor: CInt { completions.descriptor }
    var eventDescriptor: CInt { device.asyncDescriptor }
    var readsInitiatedMax: UInt8 { UInt8(clamping: max(1, device.attributes.readsInitiatedMax)) }
    var readsServedMax: UInt8 { UInt8(clamping: max(1, device.attributes.readsServedMax)) }

    // MARK: Memory

    /// Registers memory in regions that the device can hold; all or nothing.
    func register(_ memory: RegionMemory, forWindows: Bool) throws(TransportError) {
        do throws(VerbsError) {
            // No window can be bound to a DMA-buf's region: parts of it are leased as regions of their own.
            let forWindows = forWindows && memory.dmaBuf == nil
            // Counted by the kernel once for each registration; a DMA-buf pins nothing of this process.
            let bytes = memory.dmaBuf == nil ? UInt64(memory.lengthBytes) * (forWindows ? 2 : 1) : 0
            if bytes > 0, let objection = MemoryLockLimit.current().objection(toPinning: bytes, on: name) {
                throw objection
            }
            var chunks: [Chunk] = []
            var offset = 0
            while offset < memory.lengthBytes {
                let length = min(chunkBytes, memory.lengthBytes - offset)
                let base = memory.base + offset
                let local = try memory.region(
                    in: fetchDomain, offset: offset, lengthBytes: length, access: [.localWrite, .relaxedOrdering])
                var leased: MemoryRegion?
                if forWindows {
                    let domain = try leaseDomain(shared: true)
                    leased = try MemoryRegion(in: domain.domain, base: base, lengthBytes: length, access: .windowBind)
                }
                chunks.append(Chunk(local: local, leased: leased.take()))
                offset += length
            }
            regions.append(chunks)
        } catch {
            if error.code == .gone { loss = loss ?? error.description }
            throw TransportError(.system, error.description)
        }
    }

    func localKey(of region: RegionID, offset: UInt64) -> UInt32 {
        regions[Int(region.index)][Int(offset / UInt64(chunkBytes))].local.localKey
    }

    /// The domain that a link's leases live in: its own, or that of all windows.
    func leaseDomain(shared: Bool) throws(VerbsError) -> LeaseDomain {
        if shared, let sharedDomain { return sharedDomain }
        let domain = LeaseDomain(try ProtectionDomain(device))
        if shared { sharedDomain = domain }
        return domain
    }

    /// Appends the binding of a window to a part of registered memory that lies in one chunk.
    func appendBind(
        _ window: borrowing MemoryWindow, newKey: UInt32, region: RegionID, offset: UInt64, address: UInt64,
        lengthBytes: UInt64, id: UInt64, to list: inout SendList
    ) {
        chunk(of: region, offset: offset).appendBind(
            window, newKey: newKey, address: address, lengthBytes: lengthBytes, id: id, to: &list)
    }

    private func chunk(of region: RegionID, offset: UInt64) -> Chunk {
        regions[Int(region.index)][Int(offset / UInt64(chunkBytes))]
    }

    /// Finds out by trying what the device enforces of a lease. Blocks for some tens of milliseconds.
    ///
    /// - Throws: `.system` where it enforces too little for anything to be leased.
    func probe() throws(TransportError) -> LeaseEnforcement {
        let found: LeaseEnforcement
        do throws(VerbsError) {
            found = try LeaseProbe.run(device, port: portAttributes, gid: gid)
        } catch {
            throw TransportError(.system, "cannot find out what \(name) enforces of a lease: \(error)")
        }
        guard found.mechanism != nil else {
            throw TransportError(.system, "\(name) cannot keep a reader to its lease (\(found)): use tcp")
        }
        return found
    }

    // MARK: Queue pairs

    func makeFetchQueuePair(requestsMax: Int) throws(VerbsError) -> QueuePair {
        try QueuePair(in: fetchDomain, on: completions, sendRequestsMax: requestsMax)
    }

    func makeServeQueuePair(in domain: LeaseDomain, requestsMax: Int) throws(VerbsError) -> QueuePair {
        try QueuePair(in: domain.domain, on: completions, sendRequestsMax: requestsMax)
    }

    /// Lists the READ of a far side's generation word.
    func appendProbe(_ place: Int, address: UInt64, key: UInt32, id: UInt64, to list: inout SendList) {
        let local = sink + place * 8 % sinkBytes
        local.storeBytes(of: 0, as: UInt64.self)
        list.appendRead(
            localAddress: UInt64(UInt(bitPattern: local)), lengthBytes: 8, localKey: sinkRegion.localKey,
            remoteAddress: address, remoteKey: key, id: id, isSignaled: true)
    }

    /// What a probe of this lane brought.
    func probed(_ place: Int) -> UInt64 { (sink + place * 8 % sinkBytes).load(as: UInt64.self) }

    // MARK: Completions and events

    /// Takes completions; a queue that cannot be polled any more is a lost device.
    func pollCompletions(into buffer: UnsafeMutableBufferPointer<WorkCompletion>) -> Int {
        do throws(VerbsError) {
            return try completions.poll(into: buffer)
        } catch {
            loss = loss ?? error.description
            return 0
        }
    }

    /// Asks for an event at the next completion; whether there will be one.
    func arm() -> Bool {
        do throws(VerbsError) {
            try completions.arm()
            return true
        } catch {
            loss = loss ?? error.description
            return false
        }
    }

    func consumeEvent() {
        do throws(VerbsError) {
            try completions.consumeEvent()
        } catch {
            loss = loss ?? error.description
        }
    }

    /// Whether the port still has the address our links use, and no better one has come; says why not.
    func check() -> String? {
        do throws(VerbsError) {
            let attributes = try device.port(port)
            isPortActive = attributes.isActive
            let entries = try device.gids(port: port)
            guard entries.contains(where: { $0.index == gid.index && $0.gid == gid.gid }) else {
                return "port \(port) of \(name) has lost its address \(gid.gid)"
            }
            if let betterWish, case .chosen(let better) = betterWish.choose(from: entries) {
                return "port \(port) of \(name) has a better address than \(gid.gid) now: \(better.gid)"
            }
            return nil
        } catch {
            return error.description
        }
    }

    // MARK: The far side

    private var linkLayer: UInt8 { portAttributes.linkLayer == .infiniBand ? 1 : 2 }
    private var gidType: UInt8 {
        switch gid.kind {
        case .infiniBand: 0
        case .roceV1: 1
        case .roceV2: 2
        }
    }

    /// - Parameter mtu: the most that the configuration allows: the far side must keep to it as well, or READs hang.
    func offer(
        mtu: PathMTU?, readsInFlightMax: UInt8, keyTag: UInt64, word: GenerationWord, fetchEnds: [LaneEnd],
        serveEnds: [LaneEnd]
    ) -> LinkOffer {
        let bytes = gid.gid.bytes
        func half(_ range: Range<Int>) -> UInt64 { bytes[range].reduce(0) { $0 << 8 | UInt64($1) } }
        return LinkOffer(
            linkLayer: linkLayer, gidType: gidType, gid: (half(0..<8), half(8..<16)), lid: portAttributes.lid,
            mtuBytes: UInt16(min(portAttributes.activeMTU, mtu ?? .bytes4096).bytes),
            readsInitiatedMax: min(readsInFlightMax, readsInitiatedMax),
            readsServedMax: min(readsInFlightMax, readsServedMax), keyTag: keyTag, wordAddress: word.address,
            wordKey: word.remoteKey, word: word.value, fetchEnds: fetchEnds, serveEnds: serveEnds)
    }

    /// Why the far side's port and ours cannot be connected; nil when they can.
    func objection(to theirs: LinkOffer) -> String? {
        if theirs.linkLayer != linkLayer {
            return "one port is InfiniBand, the other Ethernet; use another device or tcp"
        }
        if theirs.gidType != gidType {
            return "one address is RoCE v1, the other RoCE v2; choose GIDs of one kind on both hosts"
        }
        return nil
    }

    func path(to theirs: LinkOffer, _ choice: PathChoice) -> PathSettings {
        func bytes(_ word: UInt64) -> [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: word >> (56 - 8 * $0)) } }
        let theirMTU = PathMTU.allCases.last { $0.bytes <= Int(theirs.mtuBytes) } ?? .bytes256
        let mtu = min(portAttributes.activeMTU, theirMTU, choice.mtu ?? .bytes4096)
        return PathSettings(
            port: port, gidIndex: gid.index,
            remoteGID: linkLayer == 2 ? GID(bytes(theirs.gid.0) + bytes(theirs.gid.1)) : nil, remoteLID: theirs.lid,
            serviceLevel: choice.serviceLevel, trafficClass: choice.trafficClass, hopLimit: choice.hopLimit,
            pathMTU: mtu)
    }

    /// What a failed completion means for its link.
    func failure(_ completion: WorkCompletion, of lane: VerbsLane, name far: String) -> TransportError {
        let place = "queue pair \(lane.number) of \(name) port \(port)"
        switch completion.status {
        case .remoteAccess:
            return TransportError(.accessDenied, "\(far) refused a READ on \(place): the lease is over or never was")
        case .retriesExceeded:
            return TransportError(
                .timedOut, "\(far) does not answer on \(place): the host, the cable or the way there is gone")
        case .flushed:
            return TransportError(.system, "\(place) failed under the link to \(far)")
        default:
            return TransportError(
                .system,
                "\(place) failed under the link to \(far): \(completion.status) (vendor \(completion.vendorError))")
        }
    }
}

extension RegionMemory {
    /// Registers a part of it with a device: by its address, or by its DMA-buf.
    func region(
        in domain: borrowing ProtectionDomain, offset: Int, lengthBytes: Int, access: MemoryAccess
    ) throws(VerbsError) -> MemoryRegion {
        guard let dmaBuf else {
            return try MemoryRegion(in: domain, base: base + offset, lengthBytes: lengthBytes, access: access)
        }
        return try MemoryRegion(
            in: domain, dmaBuf: dmaBuf.descriptor, offsetBytes: dmaBuf.offset + UInt64(offset),
            lengthBytes: lengthBytes,
            virtualAddress: UInt64(UInt(bitPattern: base + offset)), access: access)
    }
}

/// A protection domain in which nothing lies but what is leased.
final class LeaseDomain {
    let domain: ProtectionDomain
    init(_ domain: consuming ProtectionDomain) { self.domain = domain }
}

/// Eight bytes that the far side of one link READs to know that this side's device answers, and for this link.
final class GenerationWord {
    let value: UInt64
    private let memory: UnsafeMutableRawPointer
    private var region: MemoryRegion?
    let remoteKey: UInt32

    init(in domain: LeaseDomain) throws(VerbsError) {
        value = RandomNumber.make().high
        // A page of its own: nothing else becomes readable with it.
        memory = .allocate(byteCount: 4096, alignment: 4096)
        memory.storeBytes(of: value, as: UInt64.self)
        do throws(VerbsError) {
            let region = try MemoryRegion(in: domain.domain, base: memory, lengthBytes: 8, access: .remoteRead)
            remoteKey = region.remoteKey
            self.region = consume region
        } catch {
            memory.deallocate()
            throw error
        }
    }

    var address: UInt64 { UInt64(UInt(bitPattern: memory)) }

    /// Puts another value in its place; `value` stays.
    func forge() { memory.storeBytes(of: ~value, as: UInt64.self) }

    deinit {
        // Before its memory: the kernel pins the page, but nobody shall read what comes to live there.
        region = nil
        memory.deallocate()
    }
}

extension CompletionStatus {
    /// What it means for a read.
    var failure: TransportError.Code? {
        switch self {
        case .success: nil
        case .remoteAccess: .accessDenied
        default: .linkClosed
        }
    }
}
