import CVerbs

/// One end of a reliable connection.
///
/// Can transition: `reset` → `initialised` → `readyToReceive` → `readyToSend`; from any state to `failed` (by the
/// device, or by `fail`) and to `reset`. Only `failed` completes what is posted, as flushed; `reset` forgets it
/// without a word, so drain first. Destroying is no fence: what is posted must have completed before its memory is
/// used again.
public struct QueuePair: ~Copyable, @unchecked Sendable {
    // Safety: the library's objects may be used from any thread; `raw` is the handle's.
    @usableFromInline let raw: UnsafeMutablePointer<ibv_qp>
    let handle: Handle<ibv_qp>
    let calls: VerbsCalls
    private let deviceName: String
    /// Its number on the device, which the other end is told.
    public var number: UInt32 { raw.pointee.qp_num }
    /// Requests that can be posted and not yet be known to have completed.
    public var sendRequestsMax: Int { granted }
    private let granted: Int

    /// What it can do now.
    public enum State: String, Hashable, Sendable {
        /// Fresh.
        case reset
        /// Has a port.
        case initialised
        /// Knows the other end, and serves it.
        case readyToReceive
        /// Sends too.
        case readyToSend
        /// Drains.
        case draining
        /// Does nothing; what is posted completes as flushed.
        case failed
        /// The library does not know.
        case unknown
    }

    /// Makes a reliable-connected one, in `reset`, whose completions arrive on `queue` (ibv_create_qp(3)).
    public init(
        in domain: borrowing ProtectionDomain, on queue: borrowing CompletionQueue, sendRequestsMax: Int,
        inlineBytesMax: Int = 0
    ) throws(VerbsError) {
        var attributes = ibv_qp_init_attr()
        attributes.send_cq = queue.raw
        attributes.recv_cq = queue.raw
        attributes.cap.max_send_wr = UInt32(clamping: sendRequestsMax)
        // Nothing is ever received, but some providers want a queue for it.
        attributes.cap.max_recv_wr = 1
        attributes.cap.max_send_sge = 1
        attributes.cap.max_recv_sge = 1
        attributes.cap.max_inline_data = UInt32(clamping: inlineBytesMax)
        attributes.qp_type = IBV_QPT_RC
        let calls = domain.calls
        guard let raw = calls.table.create_qp(domain.handle.raw, &attributes) else {
            throw VerbsError.failed(
                "cannot make a queue pair of \(sendRequestsMax) requests on \(domain.deviceName)", "ibv_create_qp",
                errno: martlet_verbs_errno())
        }
        self.raw = raw
        self.calls = calls
        deviceName = domain.deviceName
        granted = Int(attributes.cap.max_send_wr)
        handle = Handle(
            raw, name: "queue pair \(raw.pointee.qp_num) of \(domain.deviceName)",
            parents: [domain.handle, queue.handle], call: "ibv_destroy_qp"
        ) { calls.table.destroy_qp($0) }
    }

    /// reset → initialised. `access`: what the other end may do through it; empty for one that only fetches.
    public func initialise(port: Int, pkeyIndex: Int = 0, access: MemoryAccess) throws(VerbsError) {
        var attributes = ibv_qp_attr()
        attributes.qp_state = IBV_QPS_INIT
        attributes.pkey_index = UInt16(clamping: pkeyIndex)
        attributes.port_num = UInt8(clamping: port)
        attributes.qp_access_flags = access.rawValue
        try modify(
            &attributes,
            IBV_QP_STATE.rawValue | IBV_QP_PKEY_INDEX.rawValue | IBV_QP_PORT.rawValue
                | IBV_QP_ACCESS_FLAGS.rawValue, "initialise")
    }

    /// initialised → ready to receive: it now knows the other end, and serves it.
    ///
    /// `maxReadsServed`: READs of the other end it serves at once, not more than the device's `readsServedMax`;
    /// `minRNRTimer`: InfiniBand's code for how long the other end waits when there is no receive (12: 0.64 ms).
    /// Throws `invalid` while the port's address is not there yet, `unreachable` where there is no way.
    public func readyToReceive(
        path: PathSettings, remoteNumber: UInt32, remotePSN: UInt32, maxReadsServed: Int, minRNRTimer: UInt8 = 12
    ) throws(VerbsError) {
        var attributes = ibv_qp_attr()
        attributes.qp_state = IBV_QPS_RTR
        attributes.path_mtu = ibv_mtu(rawValue: path.pathMTU.rawValue)
        attributes.dest_qp_num = remoteNumber
        attributes.rq_psn = remotePSN & 0xFF_FFFF
        attributes.max_dest_rd_atomic = UInt8(clamping: maxReadsServed)
        attributes.min_rnr_timer = minRNRTimer
        attributes.ah_attr.port_num = UInt8(clamping: path.port)
        attributes.ah_attr.dlid = path.remoteLID
        attributes.ah_attr.sl = path.serviceLevel
        if let remote = path.remoteGID {
            attributes.ah_attr.is_global = 1
            attributes.ah_attr.grh.dgid = remote.raw
            attributes.ah_attr.grh.sgid_index = UInt8(clamping: path.gidIndex)
            attributes.ah_attr.grh.flow_label = path.flowLabel & 0xF_FFFF
            attributes.ah_attr.grh.hop_limit = path.hopLimit
            attributes.ah_attr.grh.traffic_class = path.trafficClass
        }
        try modify(
            &attributes,
            IBV_QP_STATE.rawValue | IBV_QP_AV.rawValue | IBV_QP_PATH_MTU.rawValue
                | IBV_QP_DEST_QPN.rawValue | IBV_QP_RQ_PSN.rawValue | IBV_QP_MAX_DEST_RD_ATOMIC.rawValue
                | IBV_QP_MIN_RNR_TIMER.rawValue, "connect")
    }

    /// ready to receive → ready to send.
    ///
    /// A dead other end is known after about (`retries` + 1) × 4.096 µs × 2^`timeoutExponent`; rxe takes 7 retries as
    /// infinite, so at most 6 are allowed. `rnrRetries` 7 is infinite by the standard. `maxReadsInitiated`: READs under
    /// way at once, not more than the other end serves.
    public func readyToSend(
        psn: UInt32, timeoutExponent: UInt8 = 14, retries: UInt8 = 6, rnrRetries: UInt8 = 6, maxReadsInitiated: Int
    ) throws(VerbsError) {
        precondition(retries <= 6 && rnrRetries <= 6, "7 retries are infinite: a dead peer would never be known")
        precondition((1...31).contains(timeoutExponent), "exponent 0 waits for ever")
        var attributes = ibv_qp_attr()
        attributes.qp_state = IBV_QPS_RTS
        attributes.sq_psn = psn & 0xFF_FFFF
        attributes.timeout = timeoutExponent
        attributes.retry_cnt = retries
        attributes.rnr_retry = rnrRetries
        attributes.max_rd_atomic = UInt8(clamping: maxReadsInitiated)
        try modify(
            &attributes,
            IBV_QP_STATE.rawValue | IBV_QP_SQ_PSN.rawValue | IBV_QP_TIMEOUT.rawValue
                | IBV_QP_RETRY_CNT.rawValue | IBV_QP_RNR_RETRY.rawValue | IBV_QP_MAX_QP_RD_ATOMIC.rawValue, "start")
    }

    /// Any state → failed: serves nothing any more, and what is posted completes as flushed.
    public func fail() throws(VerbsError) {
        var attributes = ibv_qp_attr()
        attributes.qp_state = IBV_QPS_ERR
        try modify(&attributes, IBV_QP_STATE.rawValue, "stop")
    }

    /// Any state → reset. What is posted is forgotten without completion: only after draining.
    public func reset() throws(VerbsError) {
        var attributes = ibv_qp_attr()
        attributes.qp_state = IBV_QPS_RESET
        try modify(&attributes, IBV_QP_STATE.rawValue, "reset")
    }

    /// Its state now, by asking the device.
    public func state() throws(VerbsError) -> State {
        var attributes = ibv_qp_attr()
        var initial = ibv_qp_init_attr()
        try VerbsError.check(
            calls.table.query_qp(raw, &attributes, CInt(IBV_QP_STATE.rawValue), &initial),
            "cannot query \(handle.name)",
            "ibv_query_qp")
        return switch attributes.qp_state {
        case IBV_QPS_RESET: .reset
        case IBV_QPS_INIT: .initialised
        case IBV_QPS_RTR: .readyToReceive
        case IBV_QPS_RTS: .readyToSend
        case IBV_QPS_SQD: .draining
        case IBV_QPS_SQE, IBV_QPS_ERR: .failed
        default: .unknown
        }
    }

    /// Posts what is in the list with one ringing of the doorbell; what was taken leaves the list. Never blocks or
    /// allocates.
    @inlinable @inline(__always)
    public func post(_ list: inout SendList) -> PostOutcome {
        let count = list.count
        if count == 0 { return PostOutcome(posted: 0, errorNumber: 0) }
        var refused: UnsafeMutablePointer<ibv_send_wr>?
        let result = ibv_post_send(raw, list.requests + list.head, &refused)
        if result == 0 {
            if list.binds > 0 { list.removePosted(count) } else { list.removeAll() }
            return PostOutcome(posted: count, errorNumber: 0)
        }
        return postFailure(result, refused, &list)
    }

    @usableFromInline @inline(never)
    func postFailure(
        _ result: CInt, _ refused: UnsafeMutablePointer<ibv_send_wr>?, _ list: inout SendList
    ) -> PostOutcome {
        let number = VerbsError.number(result)
        let posted = refused.map { $0 - (list.requests + list.head) } ?? 0
        precondition((0..<list.count).contains(posted), "\(handle.name): the provider names a request not in the list")
        list.removePosted(posted)
        return PostOutcome(posted: posted, errorNumber: number == 0 ? EINVAL : number)
    }

    /// Destroys it. May take seconds on soft devices with queued packets: not on a thread that must not wait.
    public consuming func close() throws(VerbsError) { try handle.close() }

    private func modify(_ attributes: inout ibv_qp_attr, _ mask: UInt32, _ step: String) throws(VerbsError) {
        try VerbsError.check(
            calls.table.modify_qp(raw, &attributes, CInt(bitPattern: mask)), "cannot \(step) \(handle.name)",
            "ibv_modify_qp")
    }
}
