import Artifacts
import Testing

@testable import Scheduling

@Suite struct OriginBudgetTests {
    /// Seeds that have joined a model that a peer wants.
    private func start(
        _ model: ResolvedModel, seeds: [String] = ["s1", "s2"], _ change: (inout SchedulingSettings) -> Void
    ) -> ScriptedCluster {
        // Enough at a time for every reader to have some.
        var cluster = ScriptedCluster {
            $0.originPiecesMin = 64
            change(&$0)
        }
        for seed in seeds { cluster.attach(seed, .seed) }
        cluster.attach("p")
        cluster.join("p", model)
        for seed in seeds { cluster.join(seed, model) }
        return cluster
    }

    private func shares(_ messages: [SchedulerMessage]) -> [OriginShare] {
        messages.compactMap { if case .originShare(let share) = $0 { share } else { nil } }
    }

    @Test func budgetIsDividedAmongThoseWhoRead() {
        var cluster = start(model(pieces: [256])) {
            $0.originBytesPerSecond = 1_000
            $0.originRequestsPerMinute = 600
            $0.originConnections = 5
        }
        let first = shares(cluster.take("s1")).last
        let second = shares(cluster.take("s2")).last
        #expect(first?.bytesPerSecond == 500 && second?.bytesPerSecond == 500)
        #expect(first?.requestsPerKilosecond == 5_000)
        #expect((first?.connections ?? 0) + (second?.connections ?? 0) == 5)
        #expect(shares(cluster.take("p")).isEmpty)
    }

    @Test func shareComesBeforeTheLease() {
        var cluster = start(model(pieces: [256]), seeds: ["s1"]) { $0.originBytesPerSecond = 1_000 }
        let kinds = cluster.take("s1").compactMap { message -> Bool? in
            switch message {
            case .originShare: true
            case .lease: false
            default: nil
            }
        }
        #expect(kinds.first == true)
        #expect(kinds.contains(false))
    }

    @Test func lostReaderLeavesItsShareToTheOthers() {
        var cluster = start(model(pieces: [256])) { $0.originBytesPerSecond = 1_000 }
        _ = cluster.take("s1")
        cluster.detach("s2")
        cluster.pass(ms: 2_000)
        #expect(shares(cluster.take("s1")).isEmpty, "it may be reading still")
        cluster.pass(ms: 10_000)
        #expect(shares(cluster.take("s1")).last?.bytesPerSecond == 1_000)
    }

    @Test func schedulersDivideTheBudgetAmongThemselves() {
        var cluster = start(model(pieces: [256]), seeds: ["s1"]) { $0.originBytesPerSecond = 1_000 }
        #expect(shares(cluster.take("s1")).last?.bytesPerSecond == 1_000)
        cluster.do_(.schedulers(4))
        #expect(shares(cluster.take("s1")).last?.bytesPerSecond == 250)
    }

    @Test func noMoreReadersThanConnections() {
        var cluster = start(model(pieces: [256])) { $0.originConnections = 1 }
        let first = cluster.takeLeases("s1")
        let second = cluster.takeLeases("s2")
        #expect(first.isEmpty != second.isEmpty, "one of the two reads")
    }

    @Test func limitIsLiftedAtRunTime() {
        var cluster = start(model(pieces: [256]), seeds: ["s1"]) { $0.originBytesPerSecond = 1_000 }
        _ = cluster.take("s1")
        var settings = cluster.scheduler.settings
        settings.originBytesPerSecond = 0
        cluster.do_(.settings(settings))
        #expect(shares(cluster.take("s1")) == [OriginShare()])
    }

    @Test func newStreamIsToldAgain() {
        var cluster = start(model(pieces: [256]), seeds: ["s1"]) { $0.originBytesPerSecond = 1_000 }
        let lease = cluster.takeLeases("s1")[0]
        cluster.detach("s1")
        let held = HeldLease(lease: lease.id, task: lease.task, pieces: lease.pieces, whole: false)
        cluster.attach("s1", .seed, leases: [held])
        #expect(shares(cluster.take("s1")).last?.bytesPerSecond == 1_000)
    }

    @Test(arguments: [OriginPolicy.auto, .seeds, .any, .never])
    func policyChoosesTheReaders(_ policy: OriginPolicy) {
        var cluster = start(model(pieces: [256]), seeds: ["s1"]) { $0.originPolicy = policy }
        let (seed, peer) = (cluster.take("s1"), cluster.take("p"))
        func isLease(_ message: SchedulerMessage) -> Bool { if case .lease = message { true } else { false } }
        func isRefusal(_ message: SchedulerMessage) -> Bool { if case .refused = message { true } else { false } }
        #expect(seed.contains(where: isLease) == (policy != .never))
        #expect(peer.contains(where: isLease) == (policy == .any))
        #expect(peer.contains(where: isRefusal) == (policy == .never))
    }

    @Test func hostsThatReadNoOriginGetNoLease() {
        var cluster = ScriptedCluster()
        let model = model(pieces: [8])
        let session = SessionID(1_000)
        cluster.sessions["p"] = session
        var info = HostInfo(host: hostID("p"), incarnation: 1, role: .peer, addresses: ["tcp:p:1"])
        info.readsNoOrigin = true
        cluster.do_(.attached(session, info, leases: []))
        cluster.do_(.inventory(session, models: [], tasks: [], last: true))
        cluster.join("p", model)
        #expect(cluster.takeLeases("p").isEmpty)
        cluster.attach("q")
        cluster.join("q", model)
        #expect(!cluster.takeLeases("q").isEmpty)
    }
}
