import Artifacts

/// Who may read origins, by the cluster's policy and the hosts' own.
extension Scheduler {
    /// Hosts that may be given leases of a model these hosts download; whether they can at the moment is not asked.
    func originReaders(among joined: Set<HostNumber>) -> [HostState] {
        let seeds = seeds()
        let downloaders = joined.lazy.compactMap { hosts[$0] }.filter { !$0.info.readsNoOrigin }
        return switch settings.originPolicy {
        case .auto: seeds.isEmpty ? Array(downloaders) : seeds
        case .seeds: seeds
        case .any: seeds + downloaders.filter { !$0.isSeed }
        case .never: []
        }
    }

    /// Why nobody may ask an origin what a reference means; nil when somebody may, or one is missing who might. What is
    /// known already is still said.
    func objectionToResolving(_ reference: String) -> Failure? {
        guard settings.originPolicy == .never else { return nil }
        return Failure(
            code: "policy",
            sentence:
                "this cluster does not know \(reference), and its policy lets nobody ask origins; set origin_policy, or use a model that the cluster holds",
            retryable: true)
    }

    /// Why nobody may ever read what is missing of a model; nil when somebody may.
    ///
    /// Without a seed a cluster whose policy names seeds alone waits: one may come. By a policy that names nobody there
    /// is nothing to wait for.
    func objectionToReading(_ id: ModelID) -> Failure? {
        guard settings.originPolicy == .never else { return nil }
        // What a lost host holds may come back.
        guard !hosts.values.contains(where: { $0.session == nil }) else { return nil }
        return Failure(
            code: "policy",
            sentence:
                "\(models[id]?.manifest.reference ?? "the model") is not held in this cluster as a whole, and its policy lets nobody read origins; set origin_policy, or bring the model to a host",
            retryable: false)
    }
}
