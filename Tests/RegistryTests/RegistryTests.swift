import Registry
import Testing

@Suite struct RegistryTests {
    /// A registry, its rows as a database would have them, and a clock.
    struct Script {
        var registry: Registry
        var nowMs: UInt64 = 0
        var clusters: [String: Cluster] = [:]
        var members: [MemberKey: Member] = [:]

        init(clusters: [Cluster] = [Cluster(name: "main", createdUnixMs: 1)], members: [Member] = []) {
            registry = Registry(clusters: clusters, members: members, nowNs: 0, unixMs: 1_000_000)
            for cluster in clusters { self.clusters[cluster.name] = cluster }
            for member in members { self.members[member.key] = member }
        }

        @discardableResult
        mutating func do_(_ event: RegistryEvent) -> [RegistryAction] {
            let actions = registry.handle(event, nowNs: nowMs * 1_000_000, unixMs: 1_000_000 + nowMs)
            for action in actions {
                switch action {
                case .saveCluster(let cluster): clusters[cluster.name] = cluster
                case .saveMember(let member): members[member.key] = member
                case .removeMember(let key): members[key] = nil
                default: break
                }
            }
            return actions
        }
    }

    func member(_ role: MemberRole, _ name: String, incarnation: UInt64 = 1, cluster: String = "main")
        -> Member
    {
        Member(
            key: MemberKey(cluster: cluster, role: role, name: name), incarnation: incarnation,
            addresses: ["tcp:\(name):1"])
    }

    func configurations(_ actions: [RegistryAction]) -> [MemberSession: DynamicConfiguration] {
        var found: [MemberSession: DynamicConfiguration] = [:]
        for case .configure(let session, let configuration) in actions { found[session] = configuration }
        return found
    }

    func failures(_ actions: [RegistryAction]) -> [RegistryFailure.Code] {
        actions.compactMap {
            switch $0 {
            case .close(_, let failure), .refuse(let failure): failure.code
            default: nil
            }
        }
    }

    @Test func membersAreToldOfSchedulersAndSeeds() {
        var script = Script()
        let peer = MemberSession(1)
        let scheduler = MemberSession(2)
        let seed = MemberSession(3)
        let first = configurations(script.do_(.registered(peer, member(.peer, "p"))))
        #expect(first[peer]?.schedulers.isEmpty == true)
        let second = configurations(script.do_(.registered(scheduler, member(.scheduler, "s"))))
        #expect(second.keys.count == 2)
        #expect(second[peer]?.schedulers.map(\.key.name) == ["s"])
        #expect(second[peer]?.liveHosts == 0)
        #expect(second[scheduler]?.liveHosts == 1)
        let third = configurations(script.do_(.registered(seed, member(.seed, "seed"))))
        #expect(third[scheduler]?.seeds.map(\.addresses) == [["tcp:seed:1"]])
        #expect(third[scheduler]!.version > second[scheduler]!.version)
        // Another peer is nobody's business but its own.
        let other = MemberSession(4)
        #expect(Set(configurations(script.do_(.registered(other, member(.peer, "q")))).keys) == [other])
    }

    @Test func leaseEndsWithoutHeartbeats() {
        var script = Script()
        let scheduler = MemberSession(1)
        let peer = MemberSession(2)
        script.do_(.registered(scheduler, member(.scheduler, "s")))
        script.do_(.registered(peer, member(.peer, "p")))
        script.do_(.ended(scheduler))
        script.nowMs = 8_000
        #expect(script.do_(.heartbeat(peer)) == [.renew(peer, leaseMs: 9_000)])
        #expect(script.registry.wakeAtNs == 9_000_000_000)
        script.nowMs = 9_000
        let told = configurations(script.do_(.tick))
        #expect(told[peer]?.schedulers.map(\.isLive) == [false])
        #expect(script.registry.members(cluster: "main", liveOnly: true).map(\.key.name) == ["p"])
        #expect(script.members.values.filter { !$0.isLive }.map(\.key.name) == ["s"])
        // It comes back, and all hear of it.
        let back = configurations(
            script.do_(.registered(MemberSession(3), member(.scheduler, "s", incarnation: 2))))
        #expect(back[peer]?.schedulers.map(\.isLive) == [true])
    }

    @Test func restartKeepsClustersAndMembers() {
        var before = Script()
        before.do_(.putCluster(name: "lab", ClusterSettings(leasePieces: 8)))
        before.do_(.registered(MemberSession(1), member(.scheduler, "s")))
        before.do_(.registered(MemberSession(2), member(.seed, "seed")))
        before.do_(.registered(MemberSession(3), member(.peer, "p")))
        var after = Script(clusters: Array(before.clusters.values), members: Array(before.members.values))
        #expect(after.registry.clusters.map(\.name) == ["lab", "main"])
        #expect(after.registry.clusters[0].settings.leasePieces == 8)
        let session = MemberSession(1)
        let told = configurations(after.do_(.registered(session, member(.scheduler, "s", incarnation: 2))))
        #expect(told[session]?.liveHosts == 2, "those live before the restart are waited for")
        #expect(told[session]?.seeds.map(\.isLive) == [true])
        #expect(told[session]!.version > before.clusters["main"]!.version)
        after.nowMs = 9_000
        after.do_(.tick)
        #expect(after.registry.members(cluster: "", liveOnly: true).isEmpty)
    }

    @Test func incarnationsFence() {
        var script = Script()
        script.do_(.registered(MemberSession(1), member(.peer, "p", incarnation: 5)))
        let again = script.do_(.registered(MemberSession(2), member(.peer, "p", incarnation: 6)))
        #expect(failures(again) == [.superseded])
        #expect(script.registry.sessionCount == 1)
        let late = script.do_(.registered(MemberSession(3), member(.peer, "p", incarnation: 5)))
        #expect(failures(late) == [.superseded])
        #expect(script.do_(.heartbeat(MemberSession(1))).isEmpty)
        #expect(script.do_(.heartbeat(MemberSession(2))).count == 1)
    }

    @Test func wrongClusterAndNamesAreRefused() {
        var script = Script()
        let wrong = script.do_(.registered(MemberSession(1), member(.peer, "p", cluster: "mian")))
        #expect(failures(wrong) == [.unknownCluster])
        guard case .close(_, let failure)? = wrong.first else { return }
        #expect(failure.sentence == "there is no cluster ‘mian’; the manager knows main: set one of them")
        #expect(failures(script.do_(.registered(MemberSession(1), member(.peer, "a/b")))) == [.invalid])
        #expect(failures(script.do_(.putCluster(name: "", .init()))) == [.invalid])
        #expect(failures(script.do_(.putCluster(name: "x", ClusterSettings(heartbeatMs: 1)))) == [.invalid])
        #expect(script.members.isEmpty && script.clusters.count == 1)
    }

    @Test func changedSettingsArePushed() {
        var script = Script()
        let session = MemberSession(1)
        script.do_(.registered(session, member(.peer, "p")))
        let told = script.do_(.putCluster(name: "main", ClusterSettings(heartbeatMs: 500)))
        #expect(configurations(told)[session]?.settings.heartbeatMs == 500)
        #expect(script.do_(.heartbeat(session)) == [.renew(session, leaseMs: 1_500)])
        #expect(script.do_(.putCluster(name: "main", ClusterSettings(heartbeatMs: 500))).isEmpty)
    }

    @Test func deadMembersAreForgottenAfterAWeek() {
        var script = Script()
        script.do_(.registered(MemberSession(1), member(.peer, "p")))
        script.do_(.ended(MemberSession(1)))
        script.nowMs = 20_000
        script.do_(.tick)
        #expect(script.members.count == 1)
        script.nowMs = 8 * 24 * 3_600_000
        script.do_(.tick)
        #expect(script.members.isEmpty)
    }

    @Test func whoSaysFarewellIsNotLiveAtOnce() {
        var script = Script()
        let scheduler = Member(key: MemberKey(cluster: "main", role: .scheduler, name: "s"), incarnation: 5)
        let peer = Member(key: MemberKey(cluster: "main", role: .peer, name: "p"), incarnation: 5)
        script.do_(.registered(MemberSession(1), scheduler))
        script.do_(.registered(MemberSession(2), peer))
        let actions = script.do_(.left(MemberSession(1)))
        #expect(script.members[scheduler.key]?.isLive == false)
        let told = actions.compactMap { action -> DynamicConfiguration? in
            if case .configure(MemberSession(2), let configuration) = action { configuration } else { nil }
        }
        #expect(told.last?.schedulers.map(\.isLive) == [false])
        #expect(script.do_(.left(MemberSession(1))).isEmpty, "said once")
        script.do_(.ended(MemberSession(1)))
        // Its next life is live again.
        script.do_(.registered(MemberSession(3), scheduler))
        #expect(script.members[scheduler.key]?.isLive == true)
    }

    @Test func namedSettingsAreKeptBesideTheOthersAndTold() {
        var script = Script()
        let scheduler = Member(key: MemberKey(cluster: "main", role: .scheduler, name: "s"), incarnation: 5)
        script.do_(.registered(MemberSession(1), scheduler))
        let actions = script.do_(.changeSettings(cluster: "main", ["stall_ms": "500", "lease_pieces": "8"]))
        #expect(script.clusters["main"]?.settings.named == ["stall_ms": "500", "lease_pieces": "8"])
        #expect(actions.contains { if case .configure = $0 { true } else { false } })
        script.do_(.putCluster(name: "main", ClusterSettings(uploadSlots: 9)))
        #expect(script.clusters["main"]?.settings.named.count == 2, "the other way to set leaves them alone")
        script.do_(.changeSettings(cluster: "main", ["stall_ms": nil]))
        #expect(script.clusters["main"]?.settings.named == ["lease_pieces": "8"])
        #expect(script.clusters["main"]?.settings.uploadSlots == 9)
        #expect(script.do_(.changeSettings(cluster: "main", ["lease_pieces": "8"])).isEmpty, "no change")
        let refused = script.do_(.changeSettings(cluster: "nowhere", ["lease_pieces": "8"]))
        #expect(refused.contains { if case .refuse(let failure) = $0 { failure.code == .unknownCluster } else { false } })
    }
}
