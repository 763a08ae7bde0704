import CVerbs
import Verbs

/// A queue pair.
final class Pair {
    let domain: Domain
    let queue: Queue
    let raw: UnsafeMutablePointer<ibv_qp>
    let number: UInt32
    let requestsMax: Int
    var state = IBV_QPS_RESET
    var access: UInt32 = 0
    /// What the last transitions set.
    var settings = ibv_qp_attr()
    /// Taken, not carried out; in the order of posting.
    var waiting: [Request] = []
    /// Requests taken in all.
    var taken = 0
    /// Requests of which the program knows, by polling, that they have ended.
    var retired = 0
    var isStuck = false
    var nextStatus: CompletionStatus?

    /// A taken request.
    struct Request {
        let raw: ibv_send_wr
        let range: ibv_sge
        let sequence: Int
    }

    init(_ domain: Domain, _ queue: Queue, number: UInt32, requestsMax: Int) {
        self.domain = domain
        self.queue = queue
        self.number = number
        self.requestsMax = requestsMax
        raw = .allocate(capacity: 1)
        raw.initialize(to: ibv_qp())
        raw.pointee.context = domain.context.raw
        raw.pointee.pd = domain.raw
        raw.pointee.send_cq = queue.raw
        raw.pointee.recv_cq = queue.raw
        raw.pointee.qp_num = number
        raw.pointee.qp_type = IBV_QPT_RC
    }

    deinit { raw.deallocate() }

    var device: Device { domain.context.device }

    func announce(_ type: ibv_event_type) {
        var event = ibv_async_event()
        event.event_type = type
        martlet_event_set_pair(&event, raw)
        domain.context.push(event)
    }

    /// Carries a wanted transition out; 0 or an error number.
    func modify(_ wanted: ibv_qp_attr, _ mask: UInt32) -> CInt {
        guard mask & IBV_QP_STATE.rawValue != 0 else { return EINVAL }
        func has(_ bits: [ibv_qp_attr_mask]) -> Bool {
            mask & ~IBV_QP_STATE.rawValue == bits.reduce(0) { $0 | $1.rawValue }
        }
        switch (state, wanted.qp_state) {
        case (_, IBV_QPS_ERR): domain.context.fabric.fail(self)
        case (_, IBV_QPS_RESET):
            forget()
            state = IBV_QPS_RESET
        case (IBV_QPS_RESET, IBV_QPS_INIT):
            guard has([IBV_QP_PKEY_INDEX, IBV_QP_PORT, IBV_QP_ACCESS_FLAGS]), wanted.port_num == 1 else {
                return EINVAL
            }
            access = wanted.qp_access_flags
            state = IBV_QPS_INIT
        case (IBV_QPS_INIT, IBV_QPS_RTR):
            let bits = [
                IBV_QP_AV, IBV_QP_PATH_MTU, IBV_QP_DEST_QPN, IBV_QP_RQ_PSN, IBV_QP_MAX_DEST_RD_ATOMIC,
                IBV_QP_MIN_RNR_TIMER,
            ]
            guard has(bits), wanted.ah_attr.is_global == 1,
                device.gids.contains(where: { $0.index == Int(wanted.ah_attr.grh.sgid_index) }),
                Int(wanted.max_dest_rd_atomic) <= device.settings.readsMax,
                wanted.path_mtu.rawValue <= device.settings.activeMTU.rawValue
            else { return EINVAL }
            settings = wanted
            state = IBV_QPS_RTR
        case (IBV_QPS_RTR, IBV_QPS_RTS):
            let bits = [
                IBV_QP_SQ_PSN, IBV_QP_TIMEOUT, IBV_QP_RETRY_CNT, IBV_QP_RNR_RETRY, IBV_QP_MAX_QP_RD_ATOMIC,
            ]
            guard has(bits), Int(wanted.max_rd_atomic) <= device.settings.readsMax else { return EINVAL }
            settings.sq_psn = wanted.sq_psn
            settings.max_rd_atomic = wanted.max_rd_atomic
            state = IBV_QPS_RTS
        default: return EINVAL
        }
        return 0
    }

    /// Destroyed or reset: nothing that is taken completes any more.
    func forget() {
        device.forgotten += waiting.count
        waiting.removeAll()
        queue.entries.removeAll { $0.pair === self }
        retired = taken
    }

    /// Takes requests from a list; gives the first that is refused, and why.
    func take(
        _ first: UnsafeMutablePointer<ibv_send_wr>
    ) -> (refused: UnsafeMutablePointer<ibv_send_wr>, errorNumber: CInt)? {
        guard state == IBV_QPS_RTS || state == IBV_QPS_ERR || state == IBV_QPS_SQE else { return (first, EINVAL) }
        if device.isRemoved { return (first, EIO) }
        device.doorbells += 1
        var limit: (taken: Int, errorNumber: CInt) = (.max, 0)
        if !device.partialPosts.isEmpty { limit = device.partialPosts.removeFirst() }
        var request: UnsafeMutablePointer<ibv_send_wr>? = first
        var count = 0
        while let one = request {
            if count == limit.taken { return (one, limit.errorNumber) }
            // As rxe's provider does: the place of the number that an invalidation has must be zero.
            if one.pointee.opcode == IBV_WR_BIND_MW, martlet_wr_invalidated_key(one) != 0 { return (one, EINVAL) }
            if taken - retired >= requestsMax { return (one, ENOMEM) }
            let range = one.pointee.num_sge > 0 ? one.pointee.sg_list.pointee : ibv_sge()
            waiting.append(Request(raw: one.pointee, range: range, sequence: taken))
            taken += 1
            device.requests += 1
            count += 1
            request = one.pointee.next
        }
        return nil
    }
}
