import System
import Transport
import Verbs

/// How a link's queue pairs come up: both sides make theirs, tell each other, connect them, and prove that READs work
/// before anyone is told that the link is up.
extension VerbsTransport {
    /// Makes the queue pairs of a link; those for READs of the far side in a protection domain that knows nothing but
    /// what is leased to it.
    private func makeLanes(_ link: VerbsLink, fetch: Int, serve: Int) throws(TransportError) {
        guard let session, session.isUsable else {
            throw TransportError(.system, "no link to \(link.name): \(unusableReason)")
        }
        do throws(VerbsError) {
            let domain = try session.leaseDomain(shared: leasesByWindow)
            link.domain = domain
            link.word = try GenerationWord(in: domain)
            for index in 0..<fetch {
                let queuePair = try session.makeFetchQueuePair(requestsMax: configuration.workRequestsPerLaneMax)
                add(.fetch, index, queuePair, configuration.workRequestsPerLaneMax, to: link)
            }
            for index in 0..<serve {
                let queuePair = try session.makeServeQueuePair(in: domain, requestsMax: Self.serveRequestsMax)
                add(.serve, index, queuePair, Self.serveRequestsMax, to: link)
            }
        } catch {
            throw TransportError(.system, "no link to \(link.name): \(error)")
        }
    }

    /// On a queue pair we serve through: only windows are bound and ended there.
    private static var serveRequestsMax: Int { 64 }

    private func add(
        _ role: VerbsLane.Role, _ index: Int, _ queuePair: consuming QueuePair, _ requestsMax: Int, to link: VerbsLink
    ) {
        let place = freeLanes.popLast() ?? lanes.count
        if place == lanes.count { lanes.append((0, nil)) }
        lanes[place].generation &+= 1
        let lane = VerbsLane(
            link: link.id, role: role, place: place, generation: lanes[place].generation, index: index,
            queuePair: queuePair, packetSequenceNumber: UInt32(truncatingIfNeeded: Entropy.uint64()) & 0xFF_FFFF,
            requestsMax: requestsMax, listMax: min(requestsMax, 64))
        lanes[place].lane = lane
        switch role {
        case .fetch: link.fetchLanes.append(lane)
        case .serve: link.serveLanes.append(lane)
        }
    }

    private func ownOffer(_ link: VerbsLink) -> LinkOffer {
        guard let session, let word = link.word else {
            preconditionFailure("a link without queue pairs makes no offer")
        }
        func end(_ lane: VerbsLane) -> LaneEnd {
            LaneEnd(number: lane.number, packetSequenceNumber: lane.packetSequenceNumber)
        }
        return session.offer(
            mtu: configuration.path.mtu, readsInFlightMax: configuration.readsInFlightMax, keyTag: link.ownTag,
            word: word,
            fetchEnds: link.fetchLanes.map(end), serveEnds: link.serveLanes.map(end))
    }

    /// Outbound: makes our ends and tells the far side of them.
    func offer(_ link: VerbsLink) throws(TransportError) {
        try makeLanes(link, fetch: configuration.lanes, serve: configuration.reverseLanes)
        link.state = .offered
        queue(.offer(ownOffer(link)), on: link)
    }

    /// Inbound: makes our ends for those of the far side, and connects them.
    func takeOffer(_ offer: LinkOffer, _ link: VerbsLink) throws(TransportError) {
        guard !offer.fetchEnds.isEmpty else {
            throw TransportError(.protocolBroken, "\(link.name) offered no queue pairs; the link was closed")
        }
        do throws(TransportError) {
            try match(offer, link)
            try makeLanes(link, fetch: offer.serveEnds.count, serve: offer.fetchEnds.count)
        } catch {
            // The far side learns why; this side's own words say more.
            queue(.declined(error.code.rawValue), on: link)
            try flushControl(link)
            throw error
        }
        raise(link, to: offer) { [unowned self] in
            link.state = .answered
            queue(.answer(ownOffer(link)), on: link)
        }
    }

    /// Outbound: connects our ends to those of the far side.
    func takeAnswer(_ answer: LinkOffer, _ link: VerbsLink) throws(TransportError) {
        guard answer.serveEnds.count == link.fetchLanes.count, answer.fetchEnds.count == link.serveLanes.count else {
            throw TransportError(
                .protocolBroken, "\(link.name) has other queue pairs than it was offered; the link was closed")
        }
        try match(answer, link)
        raise(link, to: answer) { [unowned self] in
            attempt(link) { () throws(TransportError) in try prove(link) }
        }
    }

    /// Whether the two ports can be connected at all.
    private func match(_ theirs: LinkOffer, _ link: VerbsLink) throws(TransportError) {
        guard let session else { throw TransportError(.system, "no link to \(link.name): \(unusableReason)") }
        if let objection = session.objection(to: theirs) {
            throw TransportError(.system, "no link to \(link.name): \(objection)")
        }
    }

    /// Has the attendant connect our queue pairs to the far side's ends.
    private func raise(_ link: VerbsLink, to theirs: LinkOffer, then: @escaping () -> Void) {
        guard let session else { return }
        link.theirTag = theirs.keyTag
        link.theirWord = (theirs.wordAddress, theirs.wordKey, theirs.word)
        link.state = .raising
        link.isRaising = true
        let raising = LaneRaising(
            fetch: link.fetchLanes, serve: link.serveLanes, theirs: theirs,
            path: session.path(to: theirs, configuration.path), port: session.port,
            pkeyIndex: configuration.path.pkeyIndex,
            readsInitiatedMax: min(
                configuration.readsInFlightMax, session.readsInitiatedMax, theirs.readsServedMax),
            readsServedMax: min(configuration.readsInFlightMax, session.readsServedMax),
            timeoutExponent: configuration.timeoutExponent, retries: configuration.retries)
        attend(builder, for: link.address) {
            raising.raise()
        } then: { [unowned self] failure in
            link.isRaising = false
            guard links[link.id] != nil else { return }
            guard link.state == .raising else { return buryWhenDrained(link) }
            guard let failure else { return then() }
            // The far side need not wait for its time-out.
            if link.inbound { queue(.declined(TransportError.Code.system.rawValue), on: link) }
            attempt(link) { () throws(TransportError) in
                try flushControl(link)
                throw TransportError(.system, "no link to \(link.name): \(failure)")
            }
        }
        link.raisingJob = lastJob
    }

    /// READs the far side's generation word over every queue pair: whoever answers, answers for this link.
    func prove(_ link: VerbsLink) throws(TransportError) {
        link.state = .proving
        guard !link.fetchLanes.isEmpty else { return comeUp(link) }
        proveFurther(link)
    }

    /// A link whose READs come back is up.
    func comeUp(_ link: VerbsLink) {
        if !link.inbound { queue(.ready, on: link) }
        link.state = .up
        if link.inbound { arrivals -= 1 }
        link.wasUp = true
        link.hasHeard = true
        link.nextProbeNs = nowNs + configuration.livenessIntervalNs
        scheduleScan(atNs: link.nextProbeNs)
        counters.linksUp += 1
        happenings.append(.linkUp(link.id, link.peer!, inbound: link.inbound))
        // It may have said something already.
        markResumable(link)
    }
}

/// Brings the queue pairs of one link to where they can be used. Runs on an attendant.
///
/// Safety: the lanes are in the hands of the attendant until its job is reported done (`isRaising`): the rail neither
/// posts on them nor destroys them before.
struct LaneRaising: @unchecked Sendable {
    let fetch: [VerbsLane]
    let serve: [VerbsLane]
    let theirs: LinkOffer
    let path: PathSettings
    let port: Int
    let pkeyIndex: Int
    let readsInitiatedMax: UInt8
    let readsServedMax: UInt8
    let timeoutExponent: UInt8
    let retries: UInt8

    /// Why it failed, or nil.
    func raise() -> String? {
        do throws(VerbsError) {
            for (lane, end) in zip(fetch, theirs.serveEnds) { try raise(lane, end, access: []) }
            for (lane, end) in zip(serve, theirs.fetchEnds) { try raise(lane, end, access: .remoteRead) }
            return nil
        } catch {
            return error.description
        }
    }

    private func raise(_ lane: VerbsLane, _ end: LaneEnd, access: MemoryAccess) throws(VerbsError) {
        try lane.queuePair!.initialise(port: port, pkeyIndex: pkeyIndex, access: access)
        try lane.queuePair!.readyToReceive(
            path: path, remoteNumber: end.number, remotePSN: end.packetSequenceNumber,
            maxReadsServed: Int(readsServedMax))
        try lane.queuePair!.readyToSend(
            psn: lane.packetSequenceNumber, timeoutExponent: timeoutExponent, retries: retries,
            maxReadsInitiated: Int(readsInitiatedMax))
    }
}
