import CVerbs
import System

/// How much memory this process may pin for devices: a check before use, since devices say only ENOMEM.
///
/// The kernel counts each registration, so memory registered with two devices counts twice. A container's process
/// that is not root has no use of an added IPC_LOCK capability, and none inside a user namespace: the limit holds for
/// both.
public struct MemoryLockLimit: Hashable, Sendable {
    /// The limit in force; nil: none.
    public let limitBytes: UInt64?
    /// Whether a capability lifts the limit.
    public let isLifted: Bool
    /// What is pinned now.
    public let pinnedBytes: UInt64

    /// A limit as given.
    public init(limitBytes: UInt64?, isLifted: Bool, pinnedBytes: UInt64) {
        self.limitBytes = limitBytes
        self.isLifted = isLifted
        self.pinnedBytes = pinnedBytes
    }

    /// What holds for this process now: `RLIMIT_MEMLOCK`, CAP_IPC_LOCK, VmPin.
    public static func current() -> MemoryLockLimit {
        // The call cannot fail for a limit that exists; were it to, the limit is unknown and the device has the last
        // word.
        let limitBytes = (try? ResourceLimit.lockedMemory.values())?.soft
        return MemoryLockLimit(
            limitBytes: limitBytes, isLifted: martlet_verbs_locks_freely() == 1,
            pinnedBytes: martlet_verbs_pinned_bytes())
    }

    /// Why so much more cannot be pinned, with the remedy; nil when it can.
    public func objection(toPinning bytes: UInt64, on device: String) -> VerbsError? {
        guard let limitBytes, !isLifted else { return nil }
        let (sum, overflow) = pinnedBytes.addingReportingOverflow(bytes)
        guard overflow || sum > limitBytes else { return nil }
        let already = pinnedBytes == 0 ? "" : " and \(ByteText(pinnedBytes)) are pinned already"
        return VerbsError(
            .memoryLock,
            "cannot register \(ByteText(bytes)) with \(device): the memlock limit (\(ByteText(limitBytes))) is too low "
                + "for pinned memory\(already); raise it (LimitMEMLOCK=infinity, docker --ulimit memlock=-1)")
    }
}

/// Bytes as people read them: `1 GiB`, `8 MiB`, `1234 bytes`.
struct ByteText: CustomStringConvertible {
    private let bytes: UInt64

    init(_ bytes: UInt64) { self.bytes = bytes }

    var description: String {
        for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] as [(String, UInt64)] where bytes >> shift > 0 {
            let tenths = ((bytes >> (shift - 10)) * 10) >> 10
            return tenths % 10 == 0 ? "\(tenths / 10) \(unit)" : "\(tenths / 10).\(tenths % 10) \(unit)"
        }
        return "\(bytes) bytes"
    }
}
