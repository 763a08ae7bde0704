import Artifacts
import ControlAPI
import Digests
import RPC
import Scheduling

/// A message that makes no sense: the host's stream is ended with the sentence.
private func fault(_ sentence: String) -> RPCError { RPCError(.invalidArgument, sentence) }

extension ResolvedModel {
    /// Reads a model and its manifest, and checks that they belong together: one host must not name another's model.
    init(model: String, manifest: Wire.Manifest?) throws(RPCError) {
        let checked: Manifest
        do throws(Manifest.Fault) { checked = try Manifest(wire: manifest) } catch {
            throw fault(error.description)
        }
        let id = try ModelID(wire: model)
        guard checked.model == id else {
            throw fault("the manifest of \(checked.reference) is not that of model \(model)")
        }
        self.init(model: id, manifest: checked)
    }
}

extension TaskID {
    init(wire: String) throws(RPCError) {
        guard let id = TaskID(text: wire) else { throw fault("‘\(wire.prefix(80))’ is no task") }
        self = id
    }
}

extension ModelID {
    init(wire: String) throws(RPCError) {
        guard let id = ModelID(text: wire) else { throw fault("‘\(wire.prefix(80))’ is no model") }
        self = id
    }
}

extension HostID {
    init(wire: String) throws(RPCError) {
        guard let id = HostID(wire) else { throw fault("‘\(wire.prefix(80))’ is no host name") }
        self = id
    }
}

extension HostInfo {
    /// Checks and reads a hello.
    init(wire: Wire.Hello) throws(RPCError) {
        guard wire.addresses.count <= 32, wire.addresses.allSatisfy({ $0.utf8.count <= 256 }) else {
            throw fault("\(wire.host) has more than 32 addresses, or one of more than 256 bytes")
        }
        let places = [wire.zone, wire.rack, wire.machine]
        guard places.allSatisfy({ $0.utf8.count <= Limits.placeBytesMax }) else {
            throw fault("a zone, rack or machine of \(wire.host) is longer than \(Limits.placeBytesMax) bytes")
        }
        guard wire.role == .seed || wire.role == .peer else {
            throw fault("\(wire.host) does not say its role")
        }
        self.init(
            host: try HostID(wire: wire.host), incarnation: wire.incarnation,
            role: wire.role == .seed ? .seed : .peer,
            addresses: wire.addresses, zone: wire.zone, rack: wire.rack, machine: wire.machine,
            uploadSlots: wire.uploadSlots)
        readsNoOrigin = wire.readsNoOrigin
    }
}

extension HeldLease {
    init(wire: Wire.HeldLease) throws(RPCError) {
        let (end, isOver) = wire.firstPiece.addingReportingOverflow(wire.pieceCount)
        guard !isOver else { throw fault("lease \(wire.lease) ends beyond all pieces") }
        self.init(
            lease: LeaseID(wire.lease), task: try TaskID(wire: wire.task), pieces: wire.firstPiece..<end,
            whole: wire.whole)
    }
}

extension HeldTask {
    init(wire: Wire.HeldTask) throws(RPCError) {
        let task = try TaskID(wire: wire.task)
        guard wire.sizeBytes <= Limits.fileBytesMax else {
            throw fault("\(task) is larger than any file may be")
        }
        let layout = PieceLayout(fileBytes: wire.sizeBytes)
        guard let pieces = PieceSet(capacity: layout.count, bytes: wire.pieces) else {
            throw fault("the piece map of \(task) does not fit its size")
        }
        self.init(
            task: task, sizeBytes: wire.sizeBytes, pieces: pieces, digests: try pieceDigests(wire.digests))
    }
}

/// 32 bytes each.
private func pieceDigests(_ bytes: [UInt8]) throws(RPCError) -> [Digest] {
    guard bytes.count % 32 == 0 else { throw fault("digests are cut short") }
    var found: [Digest] = []
    found.reserveCapacity(bytes.count / 32)
    for start in stride(from: 0, to: bytes.count, by: 32) {
        guard let digest = Digest(.blake3, bytes: bytes[start..<start + 32]) else {
            throw fault("a digest is cut short")
        }
        found.append(digest)
    }
    return found
}

extension Scheduling.Failure {
    init(wire: Wire.Failure) {
        self.init(
            code: String(wire.code.prefix(64)), sentence: String(wire.sentence.prefix(1_000)),
            retryable: wire.retryable)
    }

    var wire: Wire.Failure { Wire.Failure(code: code, sentence: sentence, retryable: retryable) }
}

extension SchedulerEvent {
    /// What a join or a leaving says of another scheduler; nil when nothing. It comes before the event itself.
    static func move(wire message: Wire.HostMessage, of session: SessionID) throws(RPCError) -> SchedulerEvent? {
        switch message.kind {
        case .join(let wire) where wire.moved:
            var leases: [HeldLease] = []
            for lease in wire.leases.prefix(1_024) { leases.append(try HeldLease(wire: lease)) }
            return .moved(session, try ModelID(wire: wire.model), .here(leases))
        case .leave(let wire) where wire.moved:
            return .moved(session, try ModelID(wire: wire.model), .away)
        default: return nil
        }
    }

    /// What a host's message means; nil for a kind this version does not know.
    init?(wire message: Wire.HostMessage, of session: SessionID) throws(RPCError) {
        switch message.kind {
        case .hello: throw fault("a second hello on one stream")
        case .inventory(let wire):
            var models: [HeldModel] = []
            for held in wire.models {
                let resolved = try ResolvedModel(model: held.model, manifest: held.manifest)
                models.append(
                    HeldModel(model: resolved.model, manifest: resolved.manifest, complete: held.complete))
            }
            var tasks: [HeldTask] = []
            for held in wire.tasks { tasks.append(try HeldTask(wire: held)) }
            self = .inventory(session, models: models, tasks: tasks, last: wire.last)
        case .resolve(let wire):
            self = .resolve(session, request: wire.request, reference: wire.reference, refresh: wire.refresh)
        case .resolved(let wire):
            if let failure = wire.failure {
                self = .resolved(session, request: wire.request, .failure(Failure(wire: failure)))
            } else {
                let resolved = try ResolvedModel(model: wire.model, manifest: wire.manifest)
                self = .resolved(session, request: wire.request, .success(resolved))
            }
        case .join(let wire):
            let resolved = try ResolvedModel(model: wire.model, manifest: wire.manifest)
            self = .join(session, resolved.model, resolved.manifest)
        case .leave(let wire) where wire.moved: return nil
        case .leave(let wire):
            let failure = wire.failure.map { Failure(wire: $0) }
            self = .leave(session, try ModelID(wire: wire.model), finished: wire.finished, failure: failure)
        case .kept(let wire):
            self = .kept(
                session, try TaskID(wire: wire.task), pieces: wire.pieces.map { PieceIndex($0) },
                digests: try pieceDigests(wire.digests))
        case .leaseReturn(let wire):
            let failure = wire.failure.map { Failure(wire: $0) }
            self = .leaseReturned(session, LeaseID(wire.lease), failure: failure, needsWhole: wire.needsWhole)
        case .blame(let wire):
            self = .blame(
                session, parent: try HostID(wire: wire.host), try TaskID(wire: wire.task),
                PieceIndex(wire.piece))
        case .load(let wire):
            let load = HostLoad(
                uploadsRunning: wire.uploadsRunning, sentBytesPerSecond: wire.sentBytesPerSecond,
                receivedBytesPerSecond: wire.receivedBytesPerSecond)
            self = .load(session, load)
        case .forgot(let wire): self = .forgot(session, try TaskID(wire: wire.task))
        case nil: return nil
        }
    }
}

extension SchedulerMessage {
    /// The wire form; `scheduler` is the name in the welcome.
    func wire(scheduler: String) -> Wire.SchedulerMessage {
        switch self {
        case .welcome(let learningMs):
            .welcome(Wire.Welcome(scheduler: scheduler, learningMs: UInt32(clamping: learningMs)))
        case .resolveOrder(let request, let reference):
            .resolveOrder(Wire.ResolveOrder(request: request, reference: reference))
        case .resolveReply(let request, .success(let resolved), let stale):
            .resolveReply(
                Wire.ResolveReply(
                    request: request, model: resolved.model.description, manifest: resolved.manifest.wire,
                    stale: stale))
        case .resolveReply(let request, .failure(let failure), let stale):
            .resolveReply(Wire.ResolveReply(request: request, failure: failure.wire, stale: stale))
        case .fetchOrder(let model, let manifest):
            .fetchOrder(Wire.FetchOrder(model: model.description, manifest: manifest.wire))
        case .neighbourhood(let model, let parents):
            .neighbourhood(Wire.Neighbourhood(model: model.description, parents: parents.map(\.wire)))
        case .digests(let task, let pieces, let digests):
            .digests(
                Wire.PieceDigests(
                    task: task.description, pieces: pieces.map(\.value), digests: digests.flatMap(\.bytes)))
        case .digestsWithdrawn(let task):
            .digestsWithdrawn(Wire.DigestsWithdrawn(task: task.description))
        case .lease(let lease, let model, let task, let pieces, let whole):
            .lease(
                Wire.Lease(
                    lease: lease.value, model: model.description, task: task.description,
                    firstPiece: pieces.lowerBound, pieceCount: UInt32(pieces.count), whole: whole))
        case .leaseEnded(let lease): .leaseEnded(Wire.LeaseEnded(lease: lease.value))
        case .originShare(let share):
            .originShare(
                Wire.OriginShare(
                    bytesPerSecond: share.bytesPerSecond, requestsPerKilosecond: share.requestsPerKilosecond,
                    connections: share.connections))
        case .refused(let model, let failure):
            .refused(Wire.Refused(model: model.description, failure: failure.wire))
        }
    }
}

extension Parent {
    var wire: Wire.Parent {
        Wire.Parent(
            host: host.name, incarnation: incarnation, addresses: addresses, isSeed: isSeed,
            distance: UInt32(distance))
    }
}
