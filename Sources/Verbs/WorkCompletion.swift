import CVerbs

/// The end of a posted request, as the device reported it.
///
/// After anything but success only `id`, `status`, `queuePairNumber` and `vendorError` mean something (ibv_poll_cq(3)).
@frozen public struct WorkCompletion: Sendable {
    @usableFromInline var raw: ibv_wc

    /// An empty place to poll into.
    @inlinable public init() { raw = ibv_wc() }

    /// The number the request was posted with.
    @inlinable public var id: UInt64 { raw.wr_id }
    /// How it ended.
    @inlinable public var status: CompletionStatus { CompletionStatus(rawValue: raw.status.rawValue) }
    /// The queue pair it was posted to.
    @inlinable public var queuePairNumber: UInt32 { raw.qp_num }
    /// The vendor's word on a failure.
    @inlinable public var vendorError: UInt32 { raw.vendor_err }
    /// Whether it did what it was to do.
    @inlinable public var isSuccess: Bool { raw.status == IBV_WC_SUCCESS }
}

/// How a request ended.
@frozen public struct CompletionStatus: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    /// libibverbs' number.
    public let rawValue: UInt32

    /// From libibverbs' number.
    @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Done.
    @inlinable public static var success: CompletionStatus { .init(rawValue: 0) }
    /// More bytes than may be.
    @inlinable public static var localLength: CompletionStatus { .init(rawValue: 1) }
    /// The queue pair cannot do that.
    @inlinable public static var localOperation: CompletionStatus { .init(rawValue: 2) }
    /// The local range is not in a region of the queue pair's domain, or may not be written.
    @inlinable public static var localProtection: CompletionStatus { .init(rawValue: 4) }
    /// The queue pair was in error: not executed, or not known to have been.
    @inlinable public static var flushed: CompletionStatus { .init(rawValue: 5) }
    /// A window could not be bound.
    @inlinable public static var windowBind: CompletionStatus { .init(rawValue: 6) }
    /// The other end refuses the operation.
    @inlinable public static var remoteInvalidRequest: CompletionStatus { .init(rawValue: 9) }
    /// The remote key does not allow it: revoked, another range, another queue pair, another operation.
    @inlinable public static var remoteAccess: CompletionStatus { .init(rawValue: 10) }
    /// The other end failed at it.
    @inlinable public static var remoteOperation: CompletionStatus { .init(rawValue: 11) }
    /// No answer, after all retries: the other end or the way to it is gone.
    @inlinable public static var retriesExceeded: CompletionStatus { .init(rawValue: 12) }
    /// The other end had no receive posted, after all retries.
    @inlinable public static var receiverNotReady: CompletionStatus { .init(rawValue: 13) }
    /// The other end gave up.
    @inlinable public static var remoteAbort: CompletionStatus { .init(rawValue: 16) }
    /// The device failed.
    @inlinable public static var fatal: CompletionStatus { .init(rawValue: 19) }
    /// Something else failed.
    @inlinable public static var general: CompletionStatus { .init(rawValue: 21) }

    /// A few words.
    public var description: String {
        switch self {
        case .success: "success"
        case .localLength: "local length error"
        case .localOperation: "local operation error"
        case .localProtection: "local protection error"
        case .flushed: "flushed"
        case .windowBind: "window bind error"
        case .remoteInvalidRequest: "remote invalid request"
        case .remoteAccess: "remote access error"
        case .remoteOperation: "remote operation error"
        case .retriesExceeded: "retries exceeded"
        case .receiverNotReady: "receiver not ready"
        case .remoteAbort: "remote abort"
        case .fatal: "fatal device error"
        case .general: "general error"
        default: "status \(rawValue)"
        }
    }
}
