import Artifacts
import Transport
import Verbs

/// Reads that were posted and have not ended, by place.
struct PostedReads {
    struct Read {
        var link: LinkID
        var tag: UInt64
        var export: UInt64
        var lengthBytes: UInt32
        /// READs of it that have not completed.
        var left: Int
        var failure: TransportError.Code?
    }

    private var reads: [Read] = []
    private var free: [Int] = []

    mutating func insert(_ read: Read) -> Int {
        guard let place = free.popLast() else {
            reads.append(read)
            return reads.count - 1
        }
        reads[place] = read
        return place
    }

    subscript(_ place: Int) -> Read {
        get { reads[place] }
        set { reads[place] = newValue }
    }

    mutating func remove(_ place: Int) { free.append(place) }
}

/// Posting READs and taking completions.
extension VerbsTransport {
    /// Posts reads; how many were taken.
    public func post(_ reads: UnsafeBufferPointer<ReadRequest>) -> Int {
        var taken = 0
        for read in reads {
            let place = read.place(in: memory(of: read.region), readBytesMax: VerbsConfiguration.readBytesMax)
            guard happenings.count < Self.happeningsMax else { break }
            guard let link = links[read.link], link.state == .up, let session else {
                counters.readsPosted += 1
                complete(read.link, tag: read.tag, .linkClosed)
                taken += 1
                continue
            }
            guard link.readsPosted < link.readsMax else { break }
            // What the device would refuse is refused here, where it does not cost the link.
            guard let key = VerbsKey(read.key), key.tag == link.theirTag, !link.isOver(key.export),
                key.covers(offset: read.remoteOffset, lengthBytes: read.lengthBytes),
                key.lane == VerbsKey.anyLane || Int(key.lane) < link.fetchLanes.count, !link.fetchLanes.isEmpty
            else {
                counters.readsPosted += 1
                complete(read.link, tag: read.tag, .accessDenied)
                taken += 1
                continue
            }
            guard list(read, key, at: place, link, session) else { break }
            counters.readsPosted += 1
            taken += 1
        }
        return taken
    }

    /// Cuts a read into READs and lists them on the link's lanes; false when they do not fit now.
    private func list(
        _ read: ReadRequest, _ key: VerbsKey, at place: UnsafeMutableRawPointer, _ link: VerbsLink,
        _ session: VerbsSession
    ) -> Bool {
        let part = UInt64(configuration.workRequestBytes)
        let chunkBytes = UInt64(session.chunkBytes)
        // READs end at multiples of the part and where a registered chunk of the arena ends.
        let firstLocal = read.localOffset
        let endLocal = firstLocal + UInt64(read.lengthBytes)
        func end(after local: UInt64) -> UInt64 {
            let byPart = firstLocal + ((local - firstLocal) / part + 1) * part
            return min(endLocal, byPart, (local / chunkBytes + 1) * chunkBytes)
        }
        var count = 0
        var local = firstLocal
        while local < endLocal {
            local = end(after: local)
            count += 1
        }
        guard requestsOutstanding + count <= session.completionsOfReadsMax else { return false }
        let bound = key.lane == VerbsKey.anyLane ? nil : Int(key.lane)
        let lanes = link.fetchLanes
        // A doorbell costs more than a lane gains: each rings for eight READs at least.
        let spread = bound == nil ? max(1, min(lanes.count, count / Self.readsPerDoorbellMin)) : 1
        let first = bound ?? link.nextLane
        for turn in 0..<spread {
            let share = (turn + 1) * count / spread - turn * count / spread
            guard lanes[(first + turn) % lanes.count].room >= share else { return false }
        }
        if bound == nil { link.nextLane = (first + spread) % lanes.count }
        let posted = self.reads.insert(
            PostedReads.Read(
                link: link.id, tag: read.tag, export: key.export, lengthBytes: read.lengthBytes, left: count,
                failure: nil))
        link.readsPosted += 1
        link.beginRead(of: key.export)
        requestsOutstanding += count
        local = firstLocal
        for turn in 0..<spread {
            let lane = lanes[(first + turn) % lanes.count]
            let share = (turn + 1) * count / spread - turn * count / spread
            for number in 0..<share {
                let next = end(after: local)
                let length = UInt32(next - local)
                if lane.isListFull { ring(lane) }
                if !lane.hasListed { ringable.append(lane) }
                let done = local - firstLocal
                lane.list.appendRead(
                    localAddress: UInt64(UInt(bitPattern: place)) + done, lengthBytes: length,
                    localKey: session.localKey(of: read.region, offset: local),
                    remoteAddress: key.address + read.remoteOffset + done, remoteKey: key.remoteKey,
                    id: lane.nextMark(), isSignaled: lane.isToSignal(length, isLast: number == share - 1))
                lane.note(.read(posted, length))
                local = next
            }
        }
        // A lane that did not take a full list has ended the link: what was listed since then goes with it.
        if link.state == .draining { giveUpListed(link) }
        return true
    }

    private static var readsPerDoorbellMin: Int { 8 }

    // MARK: Doorbells

    /// Posts what was listed: one doorbell a lane.
    func ringDoorbells() {
        guard !ringable.isEmpty else { return }
        for lane in ringable { ring(lane) }
        ringable.removeAll(keepingCapacity: true)
    }

    func ring(_ lane: VerbsLane) {
        guard lane.hasListed, lane.queuePair != nil, let link = links[lane.link], link.state != .draining else {
            return
        }
        counters.syscalls += 1
        counters.doorbells += 1
        counters.workRequests += UInt64(lane.list.count)
        guard let failed = lane.ring(nowNs: nowNs) else { return }
        for work in failed.unposted { end(work, of: link, .linkClosed) }
        takeDown(link, TransportError(.system, "the link to \(link.name) is of no use: \(failed.failure)"))
        mark(lane, link)
    }

    /// Posts a marker behind what a failed queue pair took of a list: the last of that asks for no completion, and if
    /// it succeeded before the queue pair failed, the device would say nothing of it.
    private func mark(_ lane: VerbsLane, _ link: VerbsLink) {
        guard !link.isBuried, !lane.isDrained, let session else { return }
        session.appendProbe(
            lane.place, address: link.theirWord.address, key: link.theirWord.key, id: lane.nextMark(), to: &lane.list)
        lane.note(.marker)
        requestsOutstanding += 1
        // Not taken either: then the drain's limit ends it.
        if let failed = lane.ring(nowNs: nowNs) { for work in failed.unposted { end(work, of: link, .linkClosed) } }
    }

    // MARK: Completions

    /// Takes what the completion queue holds, whether that is anything; arms its event when it is nothing.
    @discardableResult
    func takeCompletions() -> Bool {
        guard let session else { return false }
        var isEmpty = true
        // Bounded: reads posted meanwhile may not keep the rail here.
        for _ in 0..<64 {
            let count = session.pollCompletions(into: completed)
            if count > 0 {
                isEmpty = false
                for completion in completed[..<count] { take(completion) }
            }
            if count == completed.count { continue }
            emptyPolls = isEmpty ? emptyPolls + 1 : 0
            // The rail asks again at once as long as it finds something.
            if isArmed || !isEmpty { break }
            guard requestsOutstanding > 0, emptyPolls >= configuration.spinPolls else { break }
            // Armed, and looked at once more: what came in between raises no event.
            guard session.arm() else { break }
            counters.syscalls += 1
            isArmed = true
            emptyPolls = 0
        }
        return !isEmpty
    }

    private func take(_ completion: WorkCompletion) {
        let place = VerbsLane.place(of: completion.id)
        guard place < lanes.count, lanes[place].generation == VerbsLane.generation(of: completion.id),
            let lane = lanes[place].lane, lane.number == completion.queuePairNumber, let link = links[lane.link]
        else { return }
        while let (work, isMarked) = lane.pop(upTo: completion.id) {
            let failure = isMarked ? completion.status.failure : nil
            end(work, of: link, failure)
            if isMarked { break }
        }
        if completion.status != .success {
            if link.state != .draining {
                takeDown(link, session!.failure(completion, of: lane, name: link.name))
            }
        }
        if link.state == .draining { buryWhenDrained(link) }
    }

    /// A request has ended: with its completion, or because it was never posted.
    func end(_ work: VerbsLane.Work, of link: VerbsLink, _ failure: TransportError.Code?) {
        requestsOutstanding -= 1
        switch work {
        case .read(let place, let lengthBytes):
            if failure == nil { counters.receivedBytes += UInt64(lengthBytes) }
            reads[place].left -= 1
            if let failure, reads[place].failure == nil { reads[place].failure = failure }
            guard reads[place].left == 0 else { return }
            let read = reads[place]
            reads.remove(place)
            link.readsPosted -= 1
            let isStopping = link.endRead(of: read.export, readBytes: read.failure == nil ? read.lengthBytes : 0)
            complete(read.link, tag: read.tag, read.failure)
            if isStopping { acknowledgeWhenStopped(read.export, link) }
        case .probe(let place):
            probeEnded(link, lane: place, failure)
        case .bind(let export):
            link.bindsPending -= 1
            if link.bindsPending == 0 { markDirty(link) }
            if failure != nil { link.exports[export.value]?.isBound = false }
        case .marker:
            break
        case .invalidate(let export):
            if failure == nil, let entry = link.exports[export.value] { windowEnded(entry, link) }
        }
    }

    func complete(_ link: LinkID, tag: UInt64, _ failure: TransportError.Code?) {
        if failure == nil { counters.readsCompleted += 1 } else { counters.readsFailed += 1 }
        happenings.append(.readCompleted(ReadCompletion(link: link, tag: tag, failure: failure)))
    }

    // MARK: Exports of the far side that end

    /// The far side wants an export back: nothing more is posted on it, and it is told when nothing is out.
    func stop(_ export: UInt64, _ link: VerbsLink) {
        link.sources[export, default: ReadSource()].isStopping = true
        acknowledgeWhenStopped(export, link)
    }

    private func acknowledgeWhenStopped(_ export: UInt64, _ link: VerbsLink) {
        guard let source = link.sources[export], source.readsOut == 0 else { return }
        link.forget(source: export)
        guard link.state == .up, let control = link.control else { return }
        control.queue(VerbsFrame.stoppedKind, export, source.readBytes)
        markDirty(link)
    }
}
