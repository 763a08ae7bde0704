import Artifacts

/// What references mean: asked at the origin once for all who want to know, and remembered.
extension Scheduler {
    mutating func resolve(
        _ number: HostNumber, _ session: SessionID, _ request: UInt64, _ reference: String, refresh: Bool
    ) {
        guard reference.utf8.count <= Limits.referenceBytesMax else {
            let sentence = "the reference is longer than \(Limits.referenceBytesMax) bytes; shorten it"
            let failure = Failure(code: "bad_reference", sentence: sentence, retryable: false)
            reply(session, request, .failure(failure), stale: false)
            return
        }
        guard hosts[number]!.requestsWaiting < settings.requestsPerHostMax else {
            let sentence =
                "\(settings.requestsPerHostMax) references of this host are being resolved; wait for one"
            reply(
                session, request, .failure(Failure(code: "busy", sentence: sentence, retryable: true)),
                stale: false)
            return
        }
        if references[reference] == nil {
            makeRoomForReference()
            references[reference] = ReferenceState()
        }
        references[reference]!.lastUsedNs = nowNs
        if !refresh, let known = freshAnswer(reference) {
            reply(session, request, .success(known), stale: false)
            return
        }
        references[reference]!.waiting.append((session, request))
        hosts[number]!.requestsWaiting += 1
        orderResolve(reference)
    }

    /// What the reference is known to mean, when that need not be asked again.
    private func freshAnswer(_ reference: String) -> ResolvedModel? {
        guard let state = references[reference], let known = knownAnswer(reference) else { return nil }
        // A reference that names its immutable revision cannot come to mean anything else.
        if reference.hasSuffix("@" + known.manifest.revision) { return known }
        guard let resolvedNs = state.resolvedNs, nowNs - resolvedNs < settings.referenceMs * 1_000_000 else {
            return nil
        }
        return known
    }

    private func knownAnswer(_ reference: String) -> ResolvedModel? {
        guard let model = references[reference]?.model, let state = models[model] else { return nil }
        return ResolvedModel(model: model, manifest: state.manifest)
    }

    /// Sends an order for waiting requests, unless one is out or the scheduler still learns.
    mutating func orderResolve(_ reference: String) {
        guard !isLearning, let state = references[reference], state.order == nil else { return }
        guard !state.waiting.isEmpty else {
            references[reference]!.asked = []
            return
        }
        guard state.asked.count < settings.resolveAttemptsMax, let host = nextResolver(reference) else {
            if let failure = objectionToResolving(reference) {
                endResolve(reference, failure)
                return
            }
            let isNobody = state.asked.isEmpty
            let sentence =
                isNobody
                ? "no host is attached that could ask the origin what \(reference) means"
                : "no host answered in time what \(reference) means; see the seeds' logs, and try again"
            endResolve(reference, Failure(code: "unreachable", sentence: sentence, retryable: true))
            return
        }
        let request = nextOrder
        nextOrder += 1
        orders[request] = reference
        let deadlineNs = afterMs(settings.resolveMs)
        references[reference]!.asked.insert(host)
        references[reference]!.order = (request, host, hosts[host]!.session!, deadlineNs)
        timers.schedule(.resolve(reference), atNs: deadlineNs)
        counters.resolveOrders += 1
        send(host, .resolveOrder(request: request, reference: reference))
    }

    /// A seed that was not asked yet; with no seed attached, the first asking host.
    private func nextResolver(_ reference: String) -> HostNumber? {
        let state = references[reference]!
        guard settings.originPolicy != .never else { return nil }
        let attached = hosts.values.filter { $0.session != nil && $0.isSeed && !$0.info.readsNoOrigin }
        if attached.isEmpty {
            guard settings.originPolicy != .seeds else { return nil }
            return state.waiting.compactMap { sessions[$0.session] }.first {
                !state.asked.contains($0) && !hosts[$0]!.info.readsNoOrigin
            }
        }
        return attached.filter { !state.asked.contains($0.number) }
            .min { mixed(reference, seed: $0.mix) < mixed(reference, seed: $1.mix) }?.number
    }

    mutating func endResolveWait(_ reference: String) {
        guard let order = references[reference]?.order else { return }
        guard nowNs >= order.deadlineNs else {
            timers.schedule(.resolve(reference), atNs: order.deadlineNs)
            return
        }
        dropOrder(reference, becauseOf: nil)
    }

    /// The order brought nothing: ask the next host, or answer with what is left.
    mutating func dropOrder(_ reference: String, becauseOf failure: Failure?) {
        guard let order = references[reference]?.order else { return }
        orders[order.request] = nil
        references[reference]!.order = nil
        if let failure, !mayAskAnother(reference, failure) {
            endResolve(reference, failure)
        } else if let failure, nextResolver(reference) == nil {
            endResolve(reference, failure)
        } else {
            orderResolve(reference)
        }
    }

    private func mayAskAnother(_ reference: String, _ failure: Failure) -> Bool {
        // With an older answer at hand nobody need wait for a second host to find the origin away.
        failure.retryable && knownAnswer(reference) == nil
            && references[reference]!.asked.count < settings.resolveAttemptsMax
    }

    mutating func takeResolved(
        _ number: HostNumber, _ request: UInt64, _ result: Result<ResolvedModel, Failure>
    ) {
        guard let reference = orders[request], references[reference]?.order?.host == number else {
            counters.dropped += 1
            return
        }
        switch result {
        case .failure(let failure): dropOrder(reference, becauseOf: failure)
        case .success(let answer):
            orders[request] = nil
            references[reference]!.order = nil
            guard know(answer.model, answer.manifest) else {
                let sentence =
                    "\(reference) cannot be taken on: the scheduler knows too many models or files already"
                endResolve(reference, Failure(code: "busy", sentence: sentence, retryable: true))
                return
            }
            references[reference]!.model = answer.model
            references[reference]!.resolvedNs = nowNs
            finishWaiting(reference, .success(answer), stale: false)
        }
    }

    /// Answers all who wait with the failure, or with what was known last when the origin could not be asked.
    private mutating func endResolve(_ reference: String, _ failure: Failure) {
        let isUnreachable = failure.retryable || failure.code == "unreachable"
        if isUnreachable, let known = knownAnswer(reference) {
            finishWaiting(reference, .success(known), stale: true)
        } else {
            finishWaiting(reference, .failure(failure), stale: false)
        }
    }

    private mutating func finishWaiting(
        _ reference: String, _ result: Result<ResolvedModel, Failure>, stale: Bool
    ) {
        let waiting = references[reference]!.waiting
        references[reference]!.waiting = []
        references[reference]!.asked = []
        for (session, request) in waiting {
            if let host = sessions[session] { hosts[host]!.requestsWaiting -= 1 }
            reply(session, request, result, stale: stale)
        }
    }

    private mutating func reply(
        _ session: SessionID, _ request: UInt64, _ result: Result<ResolvedModel, Failure>, stale: Bool
    ) {
        counters.resolveReplies += 1
        if stale { counters.resolveRepliesStale += 1 }
        actions.append(.send(session, .resolveReply(request: request, result, stale: stale)))
    }

    /// A host has this model: its reference can be answered with it when the origin is away. A complete copy wins.
    mutating func learnReference(_ held: HeldModel) {
        let reference = held.manifest.reference
        guard reference.utf8.count <= Limits.referenceBytesMax else { return }
        if references[reference] == nil {
            makeRoomForReference()
            references[reference] = ReferenceState()
            references[reference]!.lastUsedNs = nowNs
        }
        guard references[reference]!.resolvedNs == nil else { return }
        if held.complete || references[reference]!.model == nil { references[reference]!.model = held.model }
    }

    private mutating func makeRoomForReference() {
        guard references.count >= settings.referencesMax else { return }
        let idle = references.filter { $0.value.waiting.isEmpty && $0.value.order == nil }
        if let oldest = idle.min(by: { ($0.value.lastUsedNs, $0.key) < ($1.value.lastUsedNs, $1.key) }) {
            references[oldest.key] = nil
        }
    }
}
