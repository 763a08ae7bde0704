import Artifacts
import ControlAPI
import Engine
import Swarm

/// Between the wire's messages and the values the engine thinks in. What does not parse is nil, never a trap.
extension OriginFailure {
    /// The wire form.
    var wire: Wire.Failure { Wire.Failure(code: code, sentence: description, retryable: retryable) }

    /// Reads the wire form.
    init(wire: Wire.Failure) {
        self.init(code: wire.code, description: wire.sentence, retryable: wire.retryable)
    }
}

extension HeldLease {
    /// The wire form.
    var wire: Wire.HeldLease {
        Wire.HeldLease(
            lease: lease.value, task: task.description, firstPiece: pieces.lowerBound, pieceCount: UInt32(pieces.count),
            whole: whole)
    }
}

extension Wire.PieceDigests {
    /// Pieces and digests in step; nil when they are not.
    var parsed: (TaskID, [PieceIndex: Digest])? {
        guard let task = TaskID(text: task), digests.count == pieces.count * 32 else { return nil }
        var found: [PieceIndex: Digest] = [:]
        for (place, piece) in pieces.enumerated() {
            found[PieceIndex(piece)] = Digest(.blake3, bytes: digests[place * 32..<place * 32 + 32])
        }
        return (task, found)
    }
}

extension SchedulerDownlink {
    /// What a scheduler's message means to the engine; nil when it is not for the engine or does not parse.
    init?(wire: Wire.SchedulerMessage) {
        switch wire.kind {
        case .fetchOrder(let order):
            guard let model = ModelID(text: order.model), let manifest = try? Manifest(wire: order.manifest)
            else { return nil }
            self = .fetch(model, manifest)
        case .neighbourhood(let wire):
            guard let model = ModelID(text: wire.model) else { return nil }
            self = .neighbourhood(model, wire.parents.compactMap(Neighbour.init(wire:)))
        case .digests(let wire):
            guard let (task, digests) = wire.parsed else { return nil }
            self = .digests(task, digests)
        case .digestsWithdrawn(let wire):
            guard let task = TaskID(text: wire.task) else { return nil }
            self = .digestsWithdrawn(task)
        case .lease(let wire):
            let (end, overflow) = wire.firstPiece.addingReportingOverflow(wire.pieceCount)
            guard let model = ModelID(text: wire.model), let task = TaskID(text: wire.task), !overflow else {
                return nil
            }
            self = .lease(LeaseID(wire.lease), model, task, wire.firstPiece..<end, whole: wire.whole)
        case .leaseEnded(let wire):
            self = .leaseEnded(LeaseID(wire.lease))
        case .refused(let wire):
            guard let model = ModelID(text: wire.model), let failure = wire.failure else { return nil }
            self = .refused(model, OriginFailure(wire: failure))
        case .welcome, .tryLater, .originShare, .resolveOrder, .resolveReply, nil:
            return nil
        }
    }
}

extension Neighbour {
    init?(wire: Wire.Parent) {
        guard let host = HostID(wire.host) else { return nil }
        self.init(
            host: host, incarnation: wire.incarnation, addresses: wire.addresses, isSeed: wire.isSeed,
            distance: UInt8(clamping: wire.distance))
    }
}

extension Traffic {
    /// The wire form; `wastedBytes` is counted elsewhere.
    func wire(wastedBytes: UInt64) -> Wire.Traffic {
        Wire.Traffic(
            originBytes: originBytes, seedBytes: seedBytes, peerBytes: peerBytes, wastedBytes: wastedBytes,
            byTransport: byTransport.sorted { $0.key.rawValue < $1.key.rawValue }.map {
                Wire.TransportBytes(transport: $0.key.description, bytes: $0.value)
            },
            byHost: byHost.sorted { $0.key < $1.key }.flatMap { host, kinds in
                kinds.sorted { $0.key.rawValue < $1.key.rawValue }.map {
                    Wire.HostBytes(host: host.name, bytes: $0.value, transport: $0.key.description)
                }
            },
            fallbacks: fallbacks.map {
                Wire.TransportFallback(
                    from: "\($0.key.from)", to: "\($0.key.to)", bytes: $0.value.bytes, reason: $0.value.why)
            }.sorted { ($0.from, $0.to) < ($1.from, $1.to) })
    }
}
