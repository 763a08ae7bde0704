import System
import Transport
import Verbs

/// How links end: ERR, drain, release, destroy. Nothing is given back before the device is done with it.
extension VerbsTransport {
    /// Ends a link.
    public func close(_ link: LinkID) {
        guard let target = links[link], target.inbound == false || target.state == .up else { return }
        takeDown(target, TransportError(.linkClosed, "this side closed the link to \(target.name)"))
    }

    /// Puts every queue pair into ERR, as a device does on its own account: for tests of what follows.
    package func failQueuePairs() {
        for link in links.all where link.state == .up { failLanes(link) }
    }

    /// Begins the end of a link. Its reads complete as the device gives them back, its exports retire, then it is
    /// reported down.
    func takeDown(_ link: VerbsLink, _ reason: TransportError) {
        guard links[link.id] != nil, link.state != .draining else { return }
        let wasUp = link.state == .up
        link.state = .draining
        link.downReason = reason
        link.drainDeadlineNs = max(nowNs, 1) + configuration.drainLimitNs
        if let control = link.control { drop(control.socket) }
        link.control = nil
        link.bindsPending = 0
        // What has not begun need not begin.
        if link.isRaising, builder.withdraw(link.raisingJob, for: link.address) {
            jobs[link.raisingJob] = nil
            link.isRaising = false
        }
        giveUpListed(link)
        if wasUp || !link.isRaising { failLanes(link) }
        scheduleScan(atNs: link.drainDeadlineNs)
        buryWhenDrained(link)
    }

    /// What waits for a doorbell that will not be rung ends.
    func giveUpListed(_ link: VerbsLink) {
        for lane in link.lanes { for work in lane.unlist() { end(work, of: link, .linkClosed) } }
    }

    private func failLanes(_ link: VerbsLink) {
        for lane in link.lanes {
            do throws(VerbsError) {
                try lane.queuePair?.fail()
            } catch {
                // The device is gone: the drain's limit does it.
                if error.code == .gone { session?.loss = session?.loss ?? error.description }
            }
        }
    }

    /// Destroys the queue pairs of a link that has nothing out, and reports it down.
    func buryWhenDrained(_ link: VerbsLink) {
        guard link.state == .draining, !link.isRaising, !link.isBuried, link.isDrained else { return }
        bury(link)
    }

    /// The device has given everything back, or has had its time: what is left of the link goes.
    func bury(_ link: VerbsLink) {
        link.isBuried = true
        let isClean = link.isDrained
        let remains = LinkRemains(link)
        for lane in link.lanes { free(lane) }
        // A NIC may be at it still: then only a destroyed queue pair says that it is not.
        guard !isClean || !link.exports.isEmpty else {
            attend(reaper, for: link.address) {
                remains.release()
                return nil
            } then: { _ in
            }
            return gone(link)
        }
        attend(reaper, for: link.address) {
            remains.release()
            return nil
        } then: { [unowned self] _ in
            for lane in link.lanes { for work in lane.abandon() { end(work, of: link, .linkClosed) } }
            gone(link)
        }
    }

    private func free(_ lane: VerbsLane) {
        lanes[lane.place].lane = nil
        freeLanes.append(lane.place)
    }

    /// Nothing of the link is left: its exports retire and it is reported down.
    private func gone(_ link: VerbsLink) {
        for export in link.exports.values.sorted(by: { $0.id.value < $1.id.value }) {
            exportLinks[export.id] = nil
            happenings.append(.exportRetired(export.id))
        }
        link.exports = [:]
        links[link.id] = nil
        if link.inbound && !link.wasUp { arrivals -= 1 }
        guard let reason = link.downReason else { preconditionFailure("a link went without a reason") }
        if link.inbound && link.peer != nil && !link.wasUp {
            counters.handshakesRefused += 1
        } else {
            counters.linksDown += 1
            happenings.append(.linkDown(link.id, reason))
        }
        closeLostSession()
    }

    // MARK: The device

    /// The device's own news.
    func takeDeviceEvents() {
        guard let session else { return }
        while true {
            do throws(VerbsError) {
                guard let event = try session.device.nextAsyncEvent() else { break }
                take(event, session)
            } catch {
                return loseSession(error.description)
            }
        }
    }

    private func take(_ event: AsyncEvent, _ session: VerbsSession) {
        switch event.kind {
        case .deviceFatal, .completionQueueError:
            loseSession("\(session.name): \(event)")
        case .queuePairFatal, .queuePairAccess, .queuePairRequest:
            guard let number = event.queuePairNumber,
                let lane = lanes.first(where: { $0.lane?.number == number })?.lane, let link = links[lane.link]
            else { return }
            takeDown(link, TransportError(.system, "queue pair \(number) of \(session.name) failed: \(event)"))
        case .portError where event.port == session.port:
            session.isPortActive = false
            watchDevice()
        case .portActive where event.port == session.port:
            session.isPortActive = true
            checkSession()
        case .gidChange, .lidChange:
            checkSession()
        default:
            break
        }
    }

    /// Asks whether the device, its port and its address are still what the links use.
    func checkSession() {
        guard let session, session.loss == nil else { return }
        if let loss = session.check() { loseSession(loss) }
    }

    /// Has the device looked at again soon: something was wrong with it.
    func watchDevice() {
        let next = nowNs + configuration.reopenIntervalNs
        if deviceCheckAtNs == nil { deviceCheckAtNs = next }
        scheduleScan(atNs: next)
    }

    /// The device is of no use any more: every link ends, then it is closed and looked for again.
    func loseSession(_ reason: String) {
        guard let session else { return }
        session.loss = session.loss ?? reason
        session.isGivenUp = true
        lossReason = reason
        for link in links.all { takeDown(link, TransportError(.system, "the link to \(link.name) is over: \(reason)")) }
        closeLostSession()
    }

    /// Closes a lost device once no link is left on it: the kernel lets it go only then.
    func closeLostSession() {
        guard let lost = session, let loss = lost.loss, links.count == 0, !isShutDown else { return }
        lossReason = loss
        for endpoint in [lost.completionEndpoint, lost.eventEndpoint] {
            if let endpoint { endpoints[endpoint] = nil }
        }
        queue.remove(lost.completionDescriptor)
        queue.remove(lost.eventDescriptor)
        session = nil
        isArmed = false
        requestsOutstanding = 0
        let remains = SessionRemains(lost)
        attend(reaper, for: .unknown) {
            remains.release()
            return nil
        } then: { [unowned self] _ in
            reopenAtNs = nowNs + configuration.reopenIntervalNs
            scheduleScan(atNs: nowNs)
        }
    }

    /// Looks for the device again, and takes it as it finds it.
    func reopen() {
        do throws(TransportError) {
            let session = try VerbsSession.open(library, configuration.path, isPatient: false)
            for memory in regions { try session.register(memory, forWindows: leasesByWindow) }
            self.session = session
            do throws(Errno) {
                try watchSession()
            } catch {
                throw TransportError(.system, "cannot watch \(session.name): \(error)")
            }
            reopenAtNs = nil
            lossReason = ""
            counters.deviceReopenings += 1
        } catch {
            session = nil
            lossReason = error.description
            reopenAtNs = nowNs + configuration.reopenIntervalNs
            scheduleScan(atNs: nowNs + configuration.reopenIntervalNs)
        }
    }

    /// Why there can be no link now: the device is gone, its port is down; nil when nothing is wrong with it.
    public var deviceObjection: String? { session?.isUsable == true ? nil : unusableReason }

    /// Why there is no link to be had now.
    var unusableReason: String {
        guard let session else { return lossReason.isEmpty ? "the device is gone" : lossReason }
        return session.loss ?? "port \(session.port) of \(session.name) is down"
    }

    // MARK: The transport's end

    /// Closes every link, waits until the device is done with its memory, and delivers what remains.
    ///
    /// Takes a drain's limit at most for links whose device does not answer, and as long as the kernel takes to destroy
    /// queue pairs: seconds on a soft device whose packets cannot leave.
    public func shutdown(into events: inout some TransportEvents) {
        guard !isShutDown else { return }
        for link in links.all {
            takeDown(link, TransportError(.linkClosed, "this host's transport shut down"))
        }
        while links.count > 0 || !jobs.isEmpty {
            nowNs = MonotonicClock.nowNs()
            takeCompletions()
            finishJobs(of: builder)
            finishJobs(of: reaper)
            scan()
            if links.count > 0 || !jobs.isEmpty { MonotonicClock.sleep(ns: 200_000) }
        }
        isShutDown = true
        builder.stop()
        reaper.stop()
        for endpoint in endpoints.all {
            if case .handshake(let handshake) = endpoint { drop(handshake.socket) }
        }
        if let listener { drop(listener) }
        listener = nil
        idleExports = []
        lanes = []
        session = nil
        dirty = []
        resumable = []
        ringable = []
        while happenings.deliver(limit: .max, into: &events) > 0 {}
    }
}

/// What of a link lives on the device, on its way to the attendant that lets go of it.
///
/// Safety: the link is off the rail's tables; only the attendant touches these objects from here on, and the rail reads
/// the lanes' bookkeeping after the job is done.
private final class LinkRemains: @unchecked Sendable {
    private let lanes: [VerbsLane]
    private let exports: [VerbsExport]
    private var idleWindows: [LeaseWindow]
    private var word: GenerationWord?
    private var domain: LeaseDomain?

    init(_ link: VerbsLink) {
        lanes = link.lanes
        exports = Array(link.exports.values)
        idleWindows = link.idleWindows
        word = link.word
        domain = link.domain
        link.idleWindows = []
        link.word = nil
        link.domain = nil
    }

    /// Windows first: a bound one holds its queue pair, whose destruction rxe would wait for in vain. Then the queue
    /// pairs, which are in ERR and serve nothing; then what they served.
    func release() {
        for export in exports { export.window = nil }
        idleWindows = []
        for lane in lanes { lane.queuePair = nil }
        for export in exports { export.release() }
        word = nil
        domain = nil
    }
}

/// A lost device, on its way to being closed.
///
/// Safety: nobody else has a reference any more.
private final class SessionRemains: @unchecked Sendable {
    private var session: VerbsSession?
    init(_ session: VerbsSession) { self.session = session }
    func release() { session = nil }
}
