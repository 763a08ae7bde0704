import CVerbs
import System

/// Why something could not be done with an RDMA device: a closed code, one sentence with the remedy, and the cause.
///
/// The sentence names device, port and queue pair where there are any; callers add what only they know (which peer).
public struct VerbsError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What went wrong.
    public enum Code: String, Hashable, Sendable, CaseIterable {
        /// libibverbs is not installed, or too old.
        case noLibrary
        /// The kernel has no RDMA support, or there is no device of that name.
        case noDevice
        /// The port is down, or has no address yet.
        case notActive
        /// The memlock limit forbids pinning so much memory.
        case memoryLock
        /// The device or the machine has no more of it: memory, queue pairs, regions, queue entries.
        case exhausted
        /// The process may not use the device.
        case denied
        /// The device, driver or kernel cannot do it.
        case unsupported
        /// The device was removed, or its driver gave up.
        case gone
        /// The arguments or the state do not allow it.
        case invalid
        /// There is no way to the other end's address.
        case unreachable
        /// Anything else the kernel said.
        case system
    }

    /// What went wrong.
    public let code: Code
    /// What failed, on what, and what to do about it.
    public let sentence: String
    /// The call that failed and its error number; nil when no call was made.
    public let cause: Errno?

    /// Describes a failure.
    public init(_ code: Code, _ sentence: String, cause: Errno? = nil) {
        self.code = code
        self.sentence = sentence
        self.cause = cause
    }

    /// The sentence with its cause.
    public var description: String {
        guard let cause else { return sentence }
        return "\(sentence) [\(cause.call): errno \(cause.code)]"
    }

    /// A call's failure: `what` is the beginning of the sentence, such as `cannot make a queue pair on rxe0`.
    static func failed(_ what: String, _ call: String, errno number: CInt) -> VerbsError {
        let cause = Errno(number, call)
        let (code, reason): (Code, String) =
            switch number {
            case EPERM, EACCES:
                (
                    .denied,
                    "the process may not use the device; give it /dev/infiniband (docker --device=/dev/infiniband)"
                )
            case ENOMEM, EAGAIN, ENOSPC, EMFILE, ENFILE:
                (.exhausted, "\(cause.message); ask for less, or free some")
            case ENODEV, EIO, ENXIO:
                (.gone, "the device is gone or has failed; it is opened again when it comes back")
            case EOPNOTSUPP, ENOSYS, EPROTONOSUPPORT: (.unsupported, "the device or its driver cannot do that")
            case EINVAL, EFAULT, EBUSY, ENOENT, ERANGE: (.invalid, cause.message)
            case ENETUNREACH, EHOSTUNREACH, ETIMEDOUT, EADDRNOTAVAIL:
                (.unreachable, "no way to the other end's address; check addresses, routes and cables")
            default: (.system, cause.message)
            }
        return VerbsError(code, "\(what): \(reason)", cause: cause)
    }

    /// A failure of a call that answers 0, an error number, or -1 with errno set.
    static func check(_ result: CInt, _ what: @autoclosure () -> String, _ call: String) throws(VerbsError) {
        if result == 0 { return }
        throw failed(what(), call, errno: number(result))
    }

    /// The error number behind a result: some providers answer it, some its negative, some -1 with errno set.
    static func number(_ result: CInt) -> CInt {
        if result > 0 { return result }
        return result == -1 ? martlet_verbs_errno() : -result
    }
}
