import System
import Transport

/// What ends handshakes and links when nothing moves, and proves that idle links live.
extension VerbsTransport {
    /// Has time-outs looked at by then at the latest.
    func scheduleScan(atNs: UInt64) { nextScanNs = min(nextScanNs ?? .max, atNs) }

    func scan() {
        nextScanNs = nil
        for place in 0..<endpoints.placesCount {
            guard case .handshake(let handshake)? = endpoints[place: place] else { continue }
            if nowNs >= handshake.deadlineNs {
                refuse(handshake, nil)
            } else {
                scheduleScan(atNs: handshake.deadlineNs)
            }
        }
        resumeListening()
        scanDevice()
        for place in 0..<links.placesCount {
            if let link = links[place: place] { scan(link) }
        }
    }

    private func scanDevice() {
        if let session {
            if let loss = session.loss { loseSession(loss) }
            if let at = deviceCheckAtNs {
                if nowNs >= at {
                    deviceCheckAtNs = nil
                    checkSession()
                    // Until the port is well again.
                    if self.session?.isPortActive == false { watchDevice() }
                } else {
                    scheduleScan(atNs: at)
                }
            }
        } else if let at = reopenAtNs {
            if nowNs >= at { reopen() } else { scheduleScan(atNs: at) }
        }
    }

    private func scan(_ link: VerbsLink) {
        switch link.state {
        case .draining:
            guard !link.isBuried, !link.isRaising else { return }
            if nowNs >= link.drainDeadlineNs {
                // What the device does not give back ends with its queue pair.
                bury(link)
            } else {
                scheduleScan(atNs: link.drainDeadlineNs)
            }
        case .up:
            if let at = enforceRevocations(link) { scheduleScan(atNs: at) }
            if let reason = silence(link) { takeDown(link, reason) }
        default:
            if link.state == .proving { proveFurther(link) }
            if nowNs >= link.deadlineNs {
                let what =
                    link.state == .proving ? "its READs get no answer" : "it did not complete the handshake in time"
                takeDown(link, TransportError(.timedOut, "no link to \(link.remote): \(what)"))
            } else {
                scheduleScan(atNs: link.deadlineNs)
            }
        }
    }

    /// The reason to give a link up because nothing moves; proves that it lives when that is due.
    private func silence(_ link: VerbsLink) -> TransportError? {
        if let control = link.control, control.queuedBytes > 0 {
            if control.sendStampNs == 0 { control.sendStampNs = nowNs }
            if nowNs - min(control.sendStampNs, nowNs) >= configuration.progressLimitNs {
                return TransportError(
                    .timedOut, "\(link.name) took no message for \(configuration.progressLimitNs / 1_000_000) ms")
            }
        }
        guard nowNs >= link.nextProbeNs else {
            scheduleScan(atNs: link.nextProbeNs)
            return nil
        }
        link.nextProbeNs = nowNs + configuration.livenessIntervalNs
        scheduleScan(atNs: link.nextProbeNs)
        // The process: any byte from it will do.
        if link.hasHeard {
            link.hasHeard = false
            link.pingStampNs = 0
            queue(.ping, on: link)
        } else if link.pingStampNs == 0 {
            link.pingStampNs = nowNs
        } else if nowNs - link.pingStampNs >= configuration.pingLimitNs {
            return TransportError(
                .timedOut, "\(link.name) answered no ping for \(configuration.pingLimitNs / 1_000_000) ms")
        }
        for lane in link.lanes where lane.stalledNs(nowNs) >= configuration.stallLimitNs {
            return TransportError(
                .timedOut,
                "queue pair \(lane.number) under the link to \(link.name) has completed nothing for \(configuration.stallLimitNs / 1_000_000) ms: look at the device"
            )
        }
        // The data plane: reads that are out prove it or fail.
        if link.probesPending == 0, link.readsPosted == 0 {
            if let lane = link.fetchLanes.min(by: { $0.outstanding < $1.outstanding }) { probe(lane, link) }
        }
        return nil
    }

    // MARK: Probes

    /// READs the far side's generation word over every queue pair that it was not READ over yet; as far as there is
    /// room for it now.
    func proveFurther(_ link: VerbsLink) {
        while link.probedLanes < link.fetchLanes.count {
            guard probe(link.fetchLanes[link.probedLanes], link) else {
                return scheduleScan(atNs: nowNs + Self.roomIntervalNs)
            }
            link.probedLanes += 1
        }
    }

    /// How soon a full queue is looked at again.
    static var roomIntervalNs: UInt64 { 1_000_000 }

    /// READs the far side's generation word; false when there is no room for that now.
    @discardableResult
    func probe(_ lane: VerbsLane, _ link: VerbsLink) -> Bool {
        guard let session, lane.room > 0, requestsOutstanding < session.completionsMax else { return false }
        if lane.isListFull { ring(lane) }
        if !lane.hasListed { ringable.append(lane) }
        session.appendProbe(
            lane.place, address: link.theirWord.address, key: link.theirWord.key, id: lane.nextMark(), to: &lane.list)
        lane.note(.probe(lane.place))
        requestsOutstanding += 1
        link.probesPending += 1
        return true
    }

    /// The far side's word has come, or not.
    func probeEnded(_ link: VerbsLink, lane place: Int, _ failure: TransportError.Code?) {
        link.probesPending -= 1
        // The completion itself takes the link down.
        guard failure == nil, let session, link.state == .proving || link.state == .up else { return }
        guard session.probed(place) == link.theirWord.value else {
            return takeDown(
                link,
                TransportError(
                    .peerClosed, "another generation answers at \(link.name)'s place: the link was closed"))
        }
        if link.state == .proving, link.probesPending == 0, link.probedLanes == link.fetchLanes.count { comeUp(link) }
    }
}
