import Artifacts
import System

/// Any transport, and what a `FaultPlan` says it does wrong. Without faults it is the transport itself.
///
/// The reading side sees flipped bits, late, withheld and failed reads; the serving side offers flipped bits, swallows
/// messages or freezes: its connections stay open and nobody is answered, as with a stopped process.
public final class FaultyTransport<Base: PieceTransport>: PieceTransport {
    /// What does the work.
    public let base: Base
    let plan: FaultPlan

    private struct ReadMark: Hashable {
        let link: LinkID
        let tag: UInt64
    }

    /// Passes the base's wake-ups on, unless frozen.
    private let gate: EpollQueue
    private var isGateOpen = true
    private var regions: [RegionID: RegionMemory] = [:]
    private var posted: [ReadMark: Fifo<ReadRequest>] = [:]
    /// Completions kept back, and until when.
    private var held: [(releaseNs: UInt64, completion: ReadCompletion)] = []
    private var upLinks: Set<LinkID> = []
    private var nowNs: UInt64 = 0

    /// Wraps a transport, on the rail's thread. Traps when the kernel has no descriptor left: it is a thing of tests.
    public init(_ base: Base, plan: FaultPlan) {
        self.base = base
        self.plan = plan
        do throws(Errno) {
            gate = try EpollQueue()
            if let descriptor = base.wakeDescriptor { try gate.add(descriptor, .reading, token: 0) }
        } catch {
            fatalError("cannot watch a transport: \(error)")
        }
    }

    /// What this transport is and can do here.
    public var capabilities: TransportCapabilities { base.capabilities }
    /// What was done so far.
    public var counters: TransportCounters { base.counters }
    /// Where other hosts reach it; nil while it does not listen.
    public var address: TransportAddress? { base.address }

    /// Readable when `poll` would find something.
    public var wakeDescriptor: CInt? { base.wakeDescriptor == nil ? nil : gate.raw }

    /// When `poll` wants to be called; 0 for at once, nil for never.
    public var wakeAtNs: UInt64? {
        if faults.isFrozen { return nil }
        if plan.state.withLock({ $0.killsLinks }) { return 0 }
        guard let release = held.map(\.releaseNs).min(), release != .max else { return base.wakeAtNs }
        return min(release, base.wakeAtNs ?? .max)
    }

    private var faults: FaultPlan.Faults { plan.state.withLock { $0.faults } }

    // MARK: Memory and exports

    /// Makes memory a target of reads and a possible source of exports.
    public func register(_ memory: RegionMemory) throws(TransportError) -> RegionID {
        let region = try base.register(memory)
        regions[region] = memory
        return region
    }

    /// Lets one link read exactly this range until `revoke`.
    public func export(_ source: ExportSource, to link: LinkID) throws(TransportError) -> Export {
        let isCorrupt = plan.state.withLock { state in
            state.exports += 1
            if let limit = state.faults.freezesAfterExports, state.exports >= limit {
                state.faults.isFrozen = true
            }
            return state.faults.corruptExportsEvery > 0
                && state.exports % state.faults.corruptExportsEvery == 0
        }
        guard isCorrupt else { return try base.export(source, to: link) }
        let length =
            switch source {
            case .memory(_, _, let lengthBytes): lengthBytes
            case .file(_, let range): range.length
            }
        let copy: FileDescriptor
        do throws(Errno) {
            copy = try corruptedCopy(of: source, lengthBytes: Int(length))
        } catch {
            throw TransportError(.sourceFailed, "cannot copy what is to be corrupted: \(error)")
        }
        let export = try base.export(
            .file(descriptor: copy.raw, range: ByteRange(offset: 0, length: length)), to: link)
        plan.state.withLock { $0.tally.exportsCorrupted += 1 }
        return export
    }

    /// A memfd with the source's bytes and one bit flipped in their middle.
    private func corruptedCopy(of source: ExportSource, lengthBytes: Int) throws(Errno) -> FileDescriptor {
        let memory = try SharedMemory(name: "corrupted", lengthBytes: lengthBytes)
        switch source {
        case .memory(let region, let offset, _):
            let source = regions[region]!
            precondition(source.dmaBuf == nil, "memory of a device cannot be corrupted from here")
            memory.base.copyMemory(from: source.base + Int(offset), byteCount: lengthBytes)
        case .file(let descriptor, let range):
            var done = 0
            while done < lengthBytes {
                let count = try FileSource.read(
                    descriptor, offset: range.offset + UInt64(done),
                    into: UnsafeMutableRawBufferPointer(start: memory.base + done, count: lengthBytes - done))
                guard count > 0 else { break }
                done += count
            }
        }
        flipBit(memory.base, lengthBytes)
        return try FileDescriptor.duplicate(of: memory.descriptor)
    }

    private func flipBit(_ base: UnsafeMutableRawPointer, _ lengthBytes: Int) {
        let place = base + lengthBytes / 2
        place.storeBytes(of: place.load(as: UInt8.self) ^ 0x10, as: UInt8.self)
    }

    /// Ends an export; `exportRetired` follows.
    public func revoke(_ export: ExportID) { base.revoke(export) }

    // MARK: Links and messages

    /// Starts a link; `linkUp` or `linkDown` follows.
    public func connect(to address: TransportAddress, deadlineNs: UInt64) throws(TransportError) -> LinkID {
        try base.connect(to: address, deadlineNs: deadlineNs)
    }

    /// Ends a link.
    public func close(_ link: LinkID) { base.close(link) }

    /// Sends a message; false when the link cannot take it now.
    public func send(_ message: UnsafeRawBufferPointer, on link: LinkID) -> Bool {
        let faults = faults
        guard !faults.isFrozen, !faults.swallowsSends, faults.losesMessage?(.sending, message) != true else {
            plan.state.withLock { $0.tally.messagesLost += 1 }
            return true
        }
        return base.send(message, on: link)
    }

    // MARK: Reads

    /// Posts reads; how many were taken.
    public func post(_ reads: UnsafeBufferPointer<ReadRequest>) -> Int {
        for place in reads.indices {
            let failure: TransportError.Code? = plan.state.withLock { state in
                let every = state.faults.failPostsEvery
                guard every > 0, (state.posts + 1) % every == 0 else { return nil }
                state.tally.readsFailed += 1
                return state.faults.failPostsCode
            }
            if let failure {
                held.append(
                    (0, ReadCompletion(link: reads[place].link, tag: reads[place].tag, failure: failure)))
            } else {
                guard base.post(UnsafeBufferPointer(rebasing: reads[place...place])) == 1 else {
                    return place
                }
                posted[ReadMark(link: reads[place].link, tag: reads[place].tag), default: Fifo()].append(
                    reads[place])
            }
            plan.state.withLock { $0.posts += 1 }
        }
        return reads.count
    }

    /// A read ended below: nil when it is kept back.
    fileprivate func pass(_ completion: ReadCompletion) -> ReadCompletion? {
        let mark = ReadMark(link: completion.link, tag: completion.tag)
        let request = posted[mark]?.popFirst()
        if posted[mark]?.isEmpty == true { posted[mark] = nil }
        let faults = faults
        if completion.failure == nil, faults.corruptReadsEvery > 0, let request {
            let isCorrupt = plan.state.withLock { state in
                state.reads += 1
                let isCorrupt = state.reads % faults.corruptReadsEvery == 0
                if isCorrupt { state.tally.readsCorrupted += 1 }
                return isCorrupt
            }
            if isCorrupt {
                flipBit(regions[request.region]!.base + Int(request.localOffset), Int(request.lengthBytes))
            }
        }
        if faults.withholdsCompletions {
            held.append((.max, completion))
        } else if faults.completionDelayNs > 0 {
            held.append((nowNs + faults.completionDelayNs, completion))
        } else {
            return completion
        }
        return nil
    }

    fileprivate func isLost(_ message: UnsafeRawBufferPointer) -> Bool {
        guard faults.losesMessage?(.receiving, message) == true else { return false }
        plan.state.withLock { $0.tally.messagesLost += 1 }
        return true
    }

    fileprivate func linkUp(_ link: LinkID) {
        upLinks.insert(link)
        plan.state.withLock { state in
            state.links += 1
            if let limit = state.faults.freezesAfterLinks, state.links >= limit {
                state.faults.isFrozen = true
            }
        }
    }

    fileprivate func linkDown(_ link: LinkID) { upLinks.remove(link) }

    /// Takes the completions whose time has come, or all of a link.
    fileprivate func release(_ isDue: (UInt64, ReadCompletion) -> Bool) -> [ReadCompletion] {
        guard !held.isEmpty else { return [] }
        let due = held.filter { isDue($0.releaseNs, $0.completion) }.map(\.completion)
        held.removeAll { isDue($0.releaseNs, $0.completion) }
        return due
    }

    // MARK: Polling

    /// Hands over what happened, without waiting.
    @discardableResult
    public func poll(nowNs: UInt64, limit: Int, into events: inout some TransportEvents) -> Int {
        self.nowNs = nowNs
        let faults = faults
        setGate(open: !faults.isFrozen)
        guard !faults.isFrozen else { return 0 }
        if plan.state.withLock({ state in
            defer { state.killsLinks = false }
            return state.killsLinks
        }) {
            for link in upLinks { base.close(link) }
        }
        var handed = 0
        for completion in release({ releaseNs, _ in
            releaseNs <= nowNs || (releaseNs == .max && !faults.withholdsCompletions)
        }) {
            events.readCompleted(completion)
            handed += 1
        }
        guard handed < limit else { return handed }
        return handed
            + withUnsafeMutablePointer(to: &events) { target in
                var filter = FaultyEvents(transport: self, target: target)
                return base.poll(nowNs: nowNs, limit: limit - handed, into: &filter)
            }
    }

    /// Closes every link and delivers what remains.
    public func shutdown(into events: inout some TransportEvents) {
        withUnsafeMutablePointer(to: &events) { target in
            var filter = FaultyEvents(transport: self, target: target)
            base.shutdown(into: &filter)
            for completion in release({ _, _ in true }) { target.pointee.readCompleted(completion) }
        }
    }

    /// A frozen transport wakes nobody: its descriptor would stay readable for ever.
    private func setGate(open: Bool) {
        guard open != isGateOpen, let descriptor = base.wakeDescriptor else { return }
        isGateOpen = open
        if open {
            // A failure leaves it asleep until the next command.
            try? gate.add(descriptor, .reading, token: 0)
        } else {
            gate.remove(descriptor)
        }
    }
}

/// Hands on what the base reports, but for the plan's faults.
private struct FaultyEvents<Base: PieceTransport, Target: TransportEvents>: TransportEvents {
    let transport: FaultyTransport<Base>
    let target: UnsafeMutablePointer<Target>

    mutating func linkUp(_ link: LinkID, peer: LinkIdentity, inbound: Bool) {
        transport.linkUp(link)
        target.pointee.linkUp(link, peer: peer, inbound: inbound)
    }

    mutating func linkDown(_ link: LinkID, reason: TransportError) {
        transport.linkDown(link)
        // Reads complete before their link is down, kept back or not.
        for completion in transport.release({ $1.link == link }) { target.pointee.readCompleted(completion) }
        target.pointee.linkDown(link, reason: reason)
    }

    mutating func message(_ bytes: UnsafeRawBufferPointer, on link: LinkID) {
        if !transport.isLost(bytes) { target.pointee.message(bytes, on: link) }
    }

    mutating func readCompleted(_ completion: ReadCompletion) {
        if let passed = transport.pass(completion) { target.pointee.readCompleted(passed) }
    }

    mutating func exportRetired(_ export: ExportID) { target.pointee.exportRetired(export) }
}
