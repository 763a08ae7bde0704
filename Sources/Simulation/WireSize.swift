import Artifacts
import Scheduling

/// How many bytes a message between host and scheduler takes on the wire, computed from its fields.
///
/// Follows `scheduler.proto`: a tag and a length or varint a field, text forms of tasks and models, 32 bytes a digest,
/// and 5 bytes of gRPC's frame a message. HTTP/2's and TCP's own framing is left out (some 40 bytes a packet); counts
/// are right within a few bytes a message.
enum WireSize {
    private static let frame = 5 + 2 + 2
    /// `sha256:` and 64 characters, with tag and length.
    private static let identity = 2 + 71

    private static func varint(_ value: some BinaryInteger) -> Int {
        var (rest, count) = (UInt64(truncatingIfNeeded: value) >> 7, 1)
        while rest > 0 { (rest, count) = (rest >> 7, count + 1) }
        return count
    }

    private static func text(_ text: String) -> Int { 2 + text.utf8.count }

    /// Packed piece numbers, without walking them: as long as the last of them.
    private static func pieces(_ pieces: [PieceIndex]) -> Int { 3 + pieces.count * varint(pieces.last?.value ?? 0) }

    private static func manifest(_ manifest: Manifest) -> Int {
        3 + manifest.files.reduce(80) { $0 + text($1.path) + 2 * identity + 8 }
    }

    static func of(_ event: SchedulerEvent) -> Int {
        switch event {
        case .attached(_, let info, let leases):
            frame + text(info.host.name) + 10 + info.addresses.reduce(0) { $0 + text($1) } + text(info.zone)
                + text(info.rack) + text(info.machine) + leases.count * (identity + 12)
        case .inventory(_, let models, let tasks, _):
            frame + models.reduce(0) { $0 + identity + manifest($1.manifest) }
                + tasks.reduce(0) { $0 + identity + 8 + $1.pieces.capacity / 8 + 32 * $1.digests.count }
        case .resolve(_, _, let reference, _): frame + 4 + text(reference)
        case .resolved(_, _, let result):
            frame + 4 + ((try? result.get()).map { identity + manifest($0.manifest) } ?? 64)
        case .join(_, _, let its): frame + identity + manifest(its)
        case .leave(_, _, _, let failure):
            frame + identity + 2 + (failure.map { text($0.code) + text($0.sentence) } ?? 0)
        case .kept(_, _, let found, let digests): frame + identity + pieces(found) + 34 * digests.count
        case .leaseReturned(_, let lease, let failure, _):
            frame + 1 + varint(lease.value) + (failure.map { text($0.code) + text($0.sentence) } ?? 0)
        case .blame(_, let parent, _, _): frame + text(parent.name) + identity + 3
        case .load: frame + 12
        case .forgot: frame + identity
        case .moved: frame + identity + 8
        case .detached, .expectedHosts, .settings, .schedulers, .tick: 0
        }
    }

    static func of(_ message: SchedulerMessage) -> Int {
        switch message {
        case .originShare: frame + 16
        case .welcome: frame + 3
        case .resolveOrder(_, let reference): frame + 4 + text(reference)
        case .resolveReply(_, let result, _):
            frame + 4 + ((try? result.get()).map { identity + manifest($0.manifest) } ?? 64)
        case .fetchOrder(_, let its): frame + identity + manifest(its)
        case .neighbourhood(_, let parents):
            frame + identity
                + parents.reduce(0) { $0 + text($1.host.name) + 10 + $1.addresses.reduce(0) { $0 + text($1) } }
        case .digests(_, let found, let digests): frame + identity + pieces(found) + 34 * digests.count
        case .digestsWithdrawn: frame + identity
        case .lease(let lease, _, _, let range, _):
            frame + 2 * identity + varint(lease.value) + varint(range.lowerBound) + 4
        case .leaseEnded(let lease): frame + 1 + varint(lease.value)
        case .refused(_, let failure): frame + identity + text(failure.code) + text(failure.sentence)
        }
    }
}
