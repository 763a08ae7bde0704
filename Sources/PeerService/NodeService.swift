import Artifacts
import ControlAPI
import Digests
import Engine
import Origins
import RPC
import Storage
import Swarm
import System

/// What programs on the node ask over its socket.
struct NodeService: NodeHandler {
    let peer: PeerParts

    // MARK: get

    func get(
        _ request: Wire.GetRequest, responses: RPCOutgoing<Wire.GetEvent>, context: RPCServerContext
    ) async throws {
        let began = MonotonicClock.nowNs()
        do {
            let result = try await bring(request, began: began, responses: responses)
            try await responses.send(.result(result))
        } catch let failure as OriginFailure {
            try await responses.send(.failure(failure.wire))
        } catch let error as StorageError {
            try await responses.send(
                .failure(Wire.Failure(code: "\(error.code)", sentence: error.description, retryable: false)))
        }
    }

    private func bring(
        _ request: Wire.GetRequest, began: UInt64, responses: RPCOutgoing<Wire.GetEvent>
    ) async throws -> Wire.GetResult {
        if let to = request.to, !to.hasPrefix("/") {
            throw OriginFailure(code: "invalid", description: "‘\(to)’ is not an absolute directory", retryable: false)
        }
        try await responses.send(.progress(Wire.Progress(phase: "resolving")))
        let resolved = try await resolve(request)
        // From here until its files are placed nothing may evict it.
        try await hold(resolved)
        defer { peer.store.release(resolved.model) }
        let snapshot = try await download(resolved, responses: responses)
        if request.pin {
            try await peer.blocking.run { [store = peer.store] in
                Result { () throws(StorageError) in try store.pin(resolved.model) }
            }.get()
        }
        var result = Wire.GetResult(
            model: resolved.model.description, revision: resolved.manifest.revision,
            totalBytes: resolved.manifest.totalBytes, files: UInt32(resolved.manifest.files.count),
            host: peer.host.name, stale: resolved.stale)
        result.filesWithPublishedDigest = UInt32(
            resolved.manifest.files.count { $0.publishedDigest != nil })
        if let snapshot {
            result.traffic = snapshot.traffic.wire(wastedBytes: snapshot.progress.wastedBytes)
            result.resumedBytes = snapshot.progress.resumedBytes
        } else {
            result.traffic = Traffic().wire(wastedBytes: 0)
            result.resumedBytes = resolved.manifest.totalBytes
        }
        if let directory = request.to {
            try await responses.send(.progress(progress(resolved, snapshot, phase: "placing")))
            let placed = try await place(resolved.model, in: directory, how: request.place)
            result.hardLinked = UInt32(placed.count { $0.how == .hardlink })
            result.reflinked = UInt32(placed.count { $0.how == .reflink })
            result.copied = UInt32(placed.count { $0.how == .copy })
            result.alreadyThere = UInt32(placed.count { $0.how == .kept })
        }
        result.seconds = Double(MonotonicClock.nowNs() - began) / 1e9
        result.residentBytesMax = ProcessUsage.residentBytesPeak() ?? 0
        return result
    }

    private func hold(_ resolved: Resolved) async throws {
        try await peer.blocking.run { [store = peer.store] in
            Result { () throws(StorageError) in
                try store.record(resolved.manifest, model: resolved.model, nowSeconds: WallClock.nowSeconds())
                try store.hold(resolved.model)
            }
        }.get()
    }

    /// What a reference turned out to mean.
    private struct Resolved: Sendable {
        let manifest: Manifest
        let model: ModelID
        let stale: Bool
    }

    /// Asks the scheduler; when none answers, what this node has stored under the reference is good enough, and said to
    /// be stale.
    private func resolve(_ request: Wire.GetRequest) async throws -> Resolved {
        let reference: ModelReference
        do throws(ModelReferenceError) {
            reference = try ModelReference(request.reference)
        } catch {
            throw OriginFailure(code: "invalid_reference", description: error.description, retryable: false)
        }
        do {
            let reply = try await peer.scheduler.resolve(
                reference.canonicalText, refresh: request.refresh, limit: peer.resolveLimit)
            if let failure = reply.failure { throw OriginFailure(wire: failure) }
            guard let manifest = try? Manifest(wire: reply.manifest), let model = ModelID(text: reply.model),
                manifest.model == model
            else {
                throw OriginFailure(
                    code: "invalid_response", description: "the scheduler's manifest does not match its identity",
                    retryable: false)
            }
            return Resolved(manifest: manifest, model: model, stale: reply.stale)
        } catch let error as RPCError where error.status != .cancelled {
            let known = try await peer.blocking.run { [store = peer.store] in
                store.models().first { $0.isComplete && $0.manifest.reference == reference.canonicalText }
            }
            guard let known else {
                let isRefused = error.status == .failedPrecondition
                throw OriginFailure(
                    code: isRefused ? "wrong_cluster" : "unavailable", description: error.message, retryable: !isRefused
                )
            }
            return Resolved(manifest: known.manifest, model: known.id, stale: true)
        }
    }

    /// Runs the download, streaming its progress; nil when all of it was here already.
    private func download(
        _ resolved: Resolved, responses: RPCOutgoing<Wire.GetEvent>
    ) async throws -> DownloadSnapshot? {
        let stored = try await peer.blocking.run { [store = peer.store] in
            let stored = store.model(resolved.model)
            if stored?.isComplete == true { try? store.touch(resolved.model, nowSeconds: WallClock.nowSeconds()) }
            return stored
        }
        if stored?.isComplete == true { return nil }
        let (ends, end) = AsyncStream<DownloadSnapshot>.makeStream(bufferingPolicy: .bufferingNewest(1))
        let started = await peer.engine.ask { interpreter in
            interpreter.start(resolved.model, resolved.manifest) { last in
                end.yield(last)
                end.finish()
            }
        }
        guard let ticket = started else { throw RPCError(.unavailable, "the peer is stopping") }
        // Whatever ends the watching, a caller that went away too, ends our interest; after the download's end this
        // says nothing.
        defer { peer.engine.post(.ask { $0.abandon(ticket) }) }
        let last = try await watch(ticket, until: ends, resolved, responses)
        switch last?.outcome {
        case .finished: return last
        case .failed(let code, let reason): throw OriginFailure(code: code, description: reason, retryable: false)
        case .cancelled, nil: throw CancellationError()
        }
    }

    /// Streams progress until the download ends; its last look, or nil when the caller gave up.
    private func watch(
        _ ticket: DownloadTicket, until ends: AsyncStream<DownloadSnapshot>, _ resolved: Resolved,
        _ responses: RPCOutgoing<Wire.GetEvent>
    ) async throws -> DownloadSnapshot? {
        try await withThrowingTaskGroup(of: DownloadSnapshot?.self) { group in
            group.addTask {
                for await last in ends { return last }
                return nil
            }
            group.addTask { [peer] in
                while !Task.isCancelled {
                    if let snapshot = await peer.engine.ask({ $0.snapshot(ticket.download) }) ?? nil {
                        try await responses.send(.progress(progress(resolved, snapshot, phase: "downloading")))
                    }
                    try await Task.sleep(for: .milliseconds(200))
                }
                return nil
            }
            defer { group.cancelAll() }
            return try await group.next() ?? nil
        }
    }

    private func progress(_ resolved: Resolved, _ snapshot: DownloadSnapshot?, phase: String) -> Wire.Progress {
        let progress = snapshot?.progress
        // Of files with the same content one is brought: once a download has begun, it knows how much that is.
        let counted = progress.flatMap { $0.filesTotal > 0 ? $0 : nil }
        let (totalBytes, filesTotal) = (resolved.manifest.totalBytes, resolved.manifest.files.count)
        return Wire.Progress(
            phase: phase, model: resolved.model.description,
            traffic: (snapshot?.traffic ?? Traffic()).wire(wastedBytes: progress?.wastedBytes ?? 0),
            totalBytes: counted?.totalBytes ?? totalBytes, keptBytes: progress?.keptBytes ?? totalBytes,
            resumedBytes: progress?.resumedBytes ?? 0, filesTotal: UInt32(counted?.filesTotal ?? filesTotal),
            filesPublished: UInt32(progress?.filesPublished ?? filesTotal),
            parents: UInt32(progress?.parentsUp ?? 0), parentsExcluded: UInt32(progress?.parentsExcluded ?? 0))
    }

    private func place(_ model: ModelID, in directory: String, how: String) async throws -> [PlacedFile] {
        let mode: ExportMode
        switch how {
        case "", "auto": mode = .auto
        case "hardlink": mode = .hardlink
        case "reflink": mode = .reflink
        case "copy": mode = .copy
        default:
            throw OriginFailure(
                code: "invalid", description: "‘\(how)’ is no way to place files; use auto, hardlink, reflink or copy",
                retryable: false)
        }
        return try await peer.blocking.run { [store = peer.store] in
            Result { () throws(StorageError) in try store.export(model, to: directory, mode: mode) }
        }.get()
    }

    // MARK: the rest

    func listModels(
        _ request: Wire.ListModelsRequest, context: RPCServerContext
    ) async throws -> Wire.ListModelsResponse {
        let models = try await peer.blocking.run { [store = peer.store] in store.models() }
        return Wire.ListModelsResponse(
            models: models.map { model in
                Wire.StoredModel(
                    model: model.id.description, reference: model.manifest.reference,
                    revision: model.manifest.revision, totalBytes: model.totalBytes, heldBytes: model.heldBytes,
                    files: UInt32(model.manifest.files.count), complete: model.isComplete, pinned: model.isPinned,
                    lastUsedUnixMs: UInt64(max(0, model.lastUsedSeconds)) * 1000)
            })
    }

    func status(_ request: Wire.StatusRequest, context: RPCServerContext) async throws -> Wire.StatusResponse {
        let usage = try await peer.blocking.run { [store = peer.store] in store.usage }
        return Wire.StatusResponse(
            host: peer.host.name, incarnation: peer.incarnation, cluster: peer.cluster,
            role: peer.isSeed ? .seed : .peer, scheduler: peer.scheduler.attachedTo ?? "",
            schedulerAttached: peer.scheduler.attachedTo != nil, managerAttached: peer.managerAttached(),
            addresses: peer.addresses, version: peer.version, storeBytes: usage.usedBytes,
            storeBudgetBytes: usage.budgetBytes ?? 0, slotsBytes: UInt64(peer.arena.lengthBytes),
            residentBytesMax: ProcessUsage.residentBytesPeak() ?? 0, notes: peer.arena.report)
    }

    func setPinned(_ request: Wire.SetPinnedRequest, context: RPCServerContext) async throws -> Wire.SetPinnedResponse {
        let model = try await find(request.model)
        try await onStore { (store) throws(StorageError) in
            if request.pinned { try store.pin(model) } else { try store.unpin(model) }
        }
        return Wire.SetPinnedResponse()
    }

    func removeModel(
        _ request: Wire.RemoveModelRequest, context: RPCServerContext
    ) async throws -> Wire.RemoveModelResponse {
        let model = try await find(request.model)
        let freed = try await onStore { (store) throws(StorageError) in
            let before = store.usage.usedBytes
            try store.remove(model)
            return before - min(before, store.usage.usedBytes)
        }
        return Wire.RemoveModelResponse(freedBytes: freed)
    }

    /// A model by its identity or by the reference it was fetched under.
    private func find(_ text: String) async throws -> ModelID {
        let canonical = (try? ModelReference(text))?.canonicalText
        let found = try await peer.blocking.run { [store = peer.store] in
            store.models().first { $0.id.description == text || $0.manifest.reference == canonical }
        }
        guard let found else { throw RPCError(.notFound, "‘\(text)’ is not stored here; `martlet ls` shows what is") }
        return found.id
    }

    private func onStore<Answer: Sendable>(
        _ body: @escaping @Sendable (Store) throws(StorageError) -> Answer
    ) async throws -> Answer {
        let result = try await peer.blocking.run { [store = peer.store] in
            Result { () throws(StorageError) in try body(store) }
        }
        switch result {
        case .success(let answer): return answer
        case .failure(let error): throw RPCError(.failedPrecondition, error.description)
        }
    }
}
