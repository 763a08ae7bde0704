import Artifacts

/// The manager as a pure machine: clusters, their members, and who is to be told what.
///
/// Events and the time go in; rows to save and messages to send come out. It starts from the rows that were saved, and
/// takes the members that were live then for live until their leases would have ended, so that a restart forgets
/// nobody.
///
/// ```
///  member:  registered ──heartbeats──▶ live ──no heartbeat for a lease──▶ not live ──forgetMs──▶ forgotten
///                                       ▲                                    │
///                                       └───────────── registered ───────────┘
/// ```
///
/// A member that registers with an older incarnation than one that is live is refused; with the same or a newer one its
/// earlier stream is closed. One owner at a time; no method blocks.
public struct Registry: Sendable {
    /// The settings in force.
    public let settings: RegistrySettings
    private var clusterRows: [String: Cluster] = [:]
    private var rows: [MemberKey: Row] = [:]
    private var sessions: [MemberSession: MemberKey] = [:]
    private var changed: Set<String> = []
    private var nowNs: UInt64
    private var unixMs: UInt64
    private var sweptNs: UInt64
    private var actions: [RegistryAction] = []

    private struct Row {
        var member: Member
        var session: MemberSession?
        var leaseEndsNs: UInt64
        var savedNs: UInt64
    }

    /// Starts from saved rows.
    public init(
        settings: RegistrySettings = .init(), clusters: [Cluster], members: [Member], nowNs: UInt64,
        unixMs: UInt64
    ) {
        self.settings = settings
        self.nowNs = nowNs
        self.unixMs = unixMs
        sweptNs = nowNs
        for cluster in clusters { clusterRows[cluster.name] = cluster }
        for member in members where clusterRows[member.key.cluster] != nil {
            rows[member.key] = Row(
                member: member, leaseEndsNs: nowNs + leaseNs(member.key.cluster), savedNs: nowNs)
        }
    }

    /// All clusters, by name.
    public var clusters: [Cluster] { clusterRows.values.sorted { $0.name < $1.name } }

    /// A cluster's members, by role and name; of all clusters for an empty name.
    public func members(cluster: String, liveOnly: Bool) -> [Member] {
        rows.values.lazy.map(\.member)
            .filter { (cluster.isEmpty || $0.key.cluster == cluster) && (!liveOnly || $0.isLive) }
            .sorted { $0.key < $1.key }
    }

    /// How many members have a stream.
    public var sessionCount: Int { sessions.count }

    /// When `tick` is due: when the first lease ends, or rows are to be swept; nil with no member known.
    public var wakeAtNs: UInt64? {
        guard !rows.isEmpty else { return nil }
        let first = rows.values.lazy.filter(\.member.isLive).map(\.leaseEndsNs).min() ?? .max
        return min(first, sweptNs + 3_600_000_000_000)
    }

    /// Takes one event and answers with what is to be done, in order.
    public mutating func handle(_ event: RegistryEvent, nowNs: UInt64, unixMs: UInt64) -> [RegistryAction] {
        self.nowNs = max(self.nowNs, nowNs)
        self.unixMs = unixMs
        switch event {
        case .registered(let session, let member): register(session, member)
        case .heartbeat(let session): renew(session)
        case .ended(let session): end(session)
        case .left(let session): leave(session)
        case .putCluster(let name, let settings): put(name, settings)
        case .changeSettings(let cluster, let changes): change(cluster, changes)
        case .tick: break
        }
        expire()
        tellChanged()
        defer { actions = [] }
        return actions
    }

    // MARK: Members

    private mutating func register(_ session: MemberSession, _ member: Member) {
        if let failure = fault(member) {
            actions.append(.close(session, failure))
            return
        }
        let known = rows[member.key]
        if let known, known.member.isLive, member.incarnation < known.member.incarnation {
            let sentence =
                "a later start of \(member.key.role) \(member.key.name) is registered; stop this process or give it another name"
            actions.append(.close(session, RegistryFailure(.superseded, sentence)))
            return
        }
        if let old = known?.session {
            sessions[old] = nil
            let sentence = "\(member.key.role) \(member.key.name) registered again with a newer stream"
            actions.append(.close(old, RegistryFailure(.superseded, sentence)))
        }
        var live = member
        live.isLive = true
        live.lastSeenUnixMs = unixMs
        sessions[session] = member.key
        rows[member.key] = Row(
            member: live, session: session, leaseEndsNs: nowNs + leaseNs(member.key.cluster), savedNs: nowNs)
        actions.append(.saveMember(live))
        actions.append(.renew(session, leaseMs: leaseMs(member.key.cluster)))
        if !isSame(known?.member, live) { noteChange(of: member.key) }
        if !changed.contains(member.key.cluster) {
            actions.append(.configure(session, configuration(for: member.key)))
        }
    }

    private func fault(_ member: Member) -> RegistryFailure? {
        let key = member.key
        guard clusterRows[key.cluster] != nil else {
            let known = clusterRows.keys.sorted().prefix(5).joined(separator: ", ")
            let sentence =
                "there is no cluster ‘\(key.cluster.prefix(64))’; the manager knows \(known): set one of them"
            return RegistryFailure(.unknownCluster, sentence)
        }
        guard HostID(key.name) != nil else {
            let sentence = "‘\(key.name.prefix(80))’ is no member's name; use 1 to 64 of A–Z a–z 0–9 . _ -"
            return RegistryFailure(.invalid, sentence)
        }
        let texts = member.addresses + [member.zone, member.rack, member.machine, member.version]
        guard member.addresses.count <= settings.addressesMax,
            texts.allSatisfy({ $0.utf8.count <= settings.textBytesMax })
        else {
            let sentence =
                "\(key.name) has more than \(settings.addressesMax) addresses or a text of more than \(settings.textBytesMax) bytes; shorten them"
            return RegistryFailure(.invalid, sentence)
        }
        guard rows[key] != nil || rows.count < settings.membersMax else {
            return RegistryFailure(.tooMany, "the manager keeps \(settings.membersMax) members already")
        }
        return nil
    }

    /// Whether others need not be told: the same but for its times.
    private func isSame(_ old: Member?, _ new: Member) -> Bool {
        guard var old else { return false }
        old.lastSeenUnixMs = new.lastSeenUnixMs
        return old == new
    }

    private mutating func renew(_ session: MemberSession) {
        guard let key = sessions[session], var row = rows[key] else { return }
        let wasLive = row.member.isLive
        row.member.isLive = true
        row.member.lastSeenUnixMs = unixMs
        row.leaseEndsNs = nowNs + leaseNs(key.cluster)
        if !wasLive || nowNs - row.savedNs >= settings.saveSeenMs * 1_000_000 {
            row.savedNs = nowNs
            actions.append(.saveMember(row.member))
        }
        rows[key] = row
        if !wasLive { noteChange(of: key) }
        actions.append(.renew(session, leaseMs: leaseMs(key.cluster)))
    }

    private mutating func leave(_ session: MemberSession) {
        guard let key = sessions[session], rows[key]?.member.isLive == true else { return }
        rows[key]!.member.isLive = false
        actions.append(.saveMember(rows[key]!.member))
        noteChange(of: key)
    }

    private mutating func end(_ session: MemberSession) {
        guard let key = sessions.removeValue(forKey: session) else { return }
        rows[key]?.session = nil
    }

    private mutating func expire() {
        for (key, row) in rows where row.member.isLive && nowNs >= row.leaseEndsNs {
            rows[key]!.member.isLive = false
            actions.append(.saveMember(rows[key]!.member))
            noteChange(of: key)
        }
        guard nowNs - sweptNs >= 3_600_000_000_000 else { return }
        sweptNs = nowNs
        for (key, row) in rows where !row.member.isLive && row.session == nil {
            guard unixMs > row.member.lastSeenUnixMs + settings.forgetMs else { continue }
            rows[key] = nil
            actions.append(.removeMember(key))
            noteChange(of: key)
        }
    }

    // MARK: Clusters

    private mutating func put(_ name: String, _ new: ClusterSettings) {
        guard HostID(name) != nil else {
            let sentence = "‘\(name.prefix(80))’ is no cluster's name; use 1 to 64 of A–Z a–z 0–9 . _ -"
            actions.append(.refuse(RegistryFailure(.invalid, sentence)))
            return
        }
        guard new.neighbourhoodSize <= 256, new.leasePieces <= 1024, new.uploadSlots <= 4096,
            new.heartbeatMs == 0 || (100...600_000).contains(new.heartbeatMs)
        else {
            let sentence =
                "a setting of cluster \(name) is out of range: neighbourhood size ≤ 256, lease pieces ≤ 1024, upload slots ≤ 4096, heartbeat 100–600000 ms"
            actions.append(.refuse(RegistryFailure(.invalid, sentence)))
            return
        }
        if clusterRows[name] == nil {
            guard clusterRows.count < settings.clustersMax else {
                let sentence = "the manager keeps \(settings.clustersMax) clusters already"
                actions.append(.refuse(RegistryFailure(.tooMany, sentence)))
                return
            }
            let cluster = Cluster(name: name, settings: new, createdUnixMs: unixMs)
            clusterRows[name] = cluster
            actions.append(.saveCluster(cluster))
        } else {
            var merged = new
            merged.named = clusterRows[name]!.settings.named
            guard clusterRows[name]!.settings != merged else { return }
            clusterRows[name]!.settings = merged
            changed.insert(name)
        }
    }

    private mutating func change(_ name: String, _ changes: [String: String?]) {
        guard let cluster = clusterRows[name] else {
            let sentence = "there is no cluster ‘\(name.prefix(64))’; make it first, or name another"
            actions.append(.refuse(RegistryFailure(.unknownCluster, sentence)))
            return
        }
        let named = cluster.settings.named.merging(changes.compactMapValues { $0 }) { $1 }
            .filter { changes[$0.key] != .some(nil) }
        guard named.count <= settings.namedMax,
            named.allSatisfy({
                $0.key.utf8.count <= settings.textBytesMax && $0.value.utf8.count <= settings.textBytesMax
            })
        else {
            let sentence =
                "a cluster keeps at most \(settings.namedMax) settings of \(settings.textBytesMax) bytes each"
            actions.append(.refuse(RegistryFailure(.invalid, sentence)))
            return
        }
        guard cluster.settings.named != named else { return }
        clusterRows[name]!.settings.named = named
        changed.insert(name)
    }

    private func leaseMs(_ cluster: String) -> UInt32 {
        let own = clusterRows[cluster]?.settings.heartbeatMs ?? 0
        return (own == 0 ? settings.heartbeatMs : own) * settings.leaseHeartbeats
    }

    private func leaseNs(_ cluster: String) -> UInt64 { UInt64(leaseMs(cluster)) * 1_000_000 }

    // MARK: Configuration

    /// Peers come and go without others being told; schedulers and seeds do not.
    private mutating func noteChange(of key: MemberKey) {
        if key.role != .peer { changed.insert(key.cluster) }
    }

    private mutating func tellChanged() {
        for cluster in changed.sorted() {
            clusterRows[cluster]!.version += 1
            actions.append(.saveCluster(clusterRows[cluster]!))
            // Made once for each role: with thousands of members each member's own would cost a pass over all.
            var made: [MemberRole: DynamicConfiguration] = [:]
            for (session, key) in sessions.sorted(by: { $0.key < $1.key }) where key.cluster == cluster {
                let configuration = made[key.role] ?? configuration(for: key)
                made[key.role] = configuration
                actions.append(.configure(session, configuration))
            }
        }
        changed = []
    }

    private func configuration(for key: MemberKey) -> DynamicConfiguration {
        let members = rows.values.lazy.map(\.member).filter { $0.key.cluster == key.cluster }
        let cluster = clusterRows[key.cluster]!
        let liveHosts =
            key.role == .scheduler ? members.filter { $0.isLive && $0.key.role != .scheduler }.count : 0
        return DynamicConfiguration(
            version: cluster.version, cluster: cluster.name,
            schedulers: members.filter { $0.key.role == .scheduler }.sorted { $0.key < $1.key },
            seeds: members.filter { $0.key.role == .seed }.sorted { $0.key < $1.key },
            liveHosts: UInt32(clamping: liveHosts), settings: cluster.settings)
    }
}
