import CVerbs

/// Something that happened to a device, a port or a queue pair (ibv_get_async_event(3)).
public struct AsyncEvent: Hashable, Sendable, CustomStringConvertible {
    /// What happened.
    public enum Kind: Hashable, Sendable {
        /// The port carries traffic again.
        case portActive
        /// The port carries no traffic any more.
        case portError
        /// The port's table of addresses changed.
        case gidChange
        /// The port's subnet address changed.
        case lidChange
        /// The port's partitions changed.
        case partitionChange
        /// The subnet manager changed, or asks for registrations again: nothing to do.
        case subnetChange
        /// The device failed or is being removed: nothing on it works any more.
        case deviceFatal
        /// A queue pair failed.
        case queuePairFatal
        /// A queue pair got a request that it may not serve.
        case queuePairAccess
        /// A queue pair got a malformed request.
        case queuePairRequest
        /// A completion queue overran.
        case completionQueueError
        /// Anything else; its number.
        case other(UInt32)
    }

    /// What happened.
    public let kind: Kind
    /// The port, for what happens to ports.
    public let port: Int?
    /// The queue pair's number, for what happens to queue pairs.
    public let queuePairNumber: UInt32?
    /// The library's words.
    public let description: String

    init(_ raw: ibv_async_event, text: String) {
        var raw = raw
        kind =
            switch raw.event_type {
            case IBV_EVENT_PORT_ACTIVE: .portActive
            case IBV_EVENT_PORT_ERR: .portError
            case IBV_EVENT_GID_CHANGE: .gidChange
            case IBV_EVENT_LID_CHANGE: .lidChange
            case IBV_EVENT_PKEY_CHANGE: .partitionChange
            case IBV_EVENT_SM_CHANGE, IBV_EVENT_CLIENT_REREGISTER: .subnetChange
            case IBV_EVENT_DEVICE_FATAL: .deviceFatal
            case IBV_EVENT_QP_FATAL: .queuePairFatal
            case IBV_EVENT_QP_ACCESS_ERR: .queuePairAccess
            case IBV_EVENT_QP_REQ_ERR: .queuePairRequest
            case IBV_EVENT_CQ_ERR: .completionQueueError
            default: .other(raw.event_type.rawValue)
            }
        switch raw.event_type {
        case IBV_EVENT_PORT_ACTIVE, IBV_EVENT_PORT_ERR, IBV_EVENT_GID_CHANGE, IBV_EVENT_LID_CHANGE,
            IBV_EVENT_PKEY_CHANGE, IBV_EVENT_SM_CHANGE, IBV_EVENT_CLIENT_REREGISTER:
            port = Int(martlet_event_port(&raw))
            queuePairNumber = nil
        case IBV_EVENT_QP_FATAL, IBV_EVENT_QP_ACCESS_ERR, IBV_EVENT_QP_REQ_ERR, IBV_EVENT_COMM_EST,
            IBV_EVENT_SQ_DRAINED, IBV_EVENT_PATH_MIG, IBV_EVENT_PATH_MIG_ERR, IBV_EVENT_QP_LAST_WQE_REACHED:
            port = nil
            queuePairNumber = martlet_event_pair(&raw)?.pointee.qp_num
        default:
            port = nil
            queuePairNumber = nil
        }
        let place =
            port.map { " (port \($0))" } ?? queuePairNumber.map { " (queue pair \($0))" } ?? ""
        description = text + place
    }
}
