import Artifacts
import Testing

@testable import Scheduling

@Suite struct ReferenceTests {
    let reference = "hf://org/name@main"

    func ask(_ cluster: inout ScriptedCluster, _ name: String, _ request: UInt64, refresh: Bool = false) {
        let event = SchedulerEvent.resolve(
            cluster.sessions[name]!, request: request, reference: reference, refresh: refresh)
        cluster.do_(event)
    }

    @Test func manyAskersOneOrder() throws {
        var cluster = ScriptedCluster()
        cluster.attach("seed", .seed)
        for name in ["a", "b", "c"] {
            cluster.attach(name)
            ask(&cluster, name, 5)
        }
        let order = try #require(cluster.takeOrders("seed").first)
        #expect(cluster.takeOrders("seed").isEmpty)
        cluster.do_(.resolved(cluster.sessions["seed"]!, request: order, .success(model())))
        for name in ["a", "b", "c"] {
            #expect(cluster.takeReplies(name) == [Reply(request: 5, result: .success(model()), stale: false)])
        }
        // Remembered for a minute, then asked again; `refresh` asks at once.
        ask(&cluster, "a", 6)
        #expect(cluster.takeReplies("a").count == 1)
        #expect(cluster.takeOrders("seed").isEmpty)
        ask(&cluster, "a", 7, refresh: true)
        #expect(cluster.takeOrders("seed").count == 1)
    }

    @Test func answerAgesUnlessPinned() throws {
        for (asked, orders) in [("hf://org/name@main", 1), ("hf://org/name@c0ffee", 0)] {
            var cluster = ScriptedCluster()
            cluster.attach("seed", .seed)
            cluster.attach("a")
            let resolve = SchedulerEvent.resolve(
                cluster.sessions["a"]!, request: 1, reference: asked, refresh: false)
            cluster.do_(resolve)
            let order = try #require(cluster.takeOrders("seed").first)
            cluster.do_(
                .resolved(cluster.sessions["seed"]!, request: order, .success(model(reference: asked))))
            cluster.pass(ms: 61_000)
            cluster.do_(resolve)
            #expect(cluster.takeOrders("seed").count == orders)
        }
    }

    @Test func silentSeedIsPassedOverAndAttemptsAreBounded() {
        var cluster = ScriptedCluster { $0.resolveAttemptsMax = 2 }
        for name in ["s1", "s2", "s3"] { cluster.attach(name, .seed) }
        cluster.attach("a")
        ask(&cluster, "a", 1)
        cluster.pass(ms: 29_000)
        #expect(["s1", "s2", "s3"].reduce(0) { $0 + cluster.takeOrders($1).count } == 1)
        cluster.pass(ms: 2_000)
        #expect(["s1", "s2", "s3"].reduce(0) { $0 + cluster.takeOrders($1).count } == 1)
        cluster.pass(ms: 30_000)
        let replies = cluster.takeReplies("a")
        #expect(replies.count == 1)
        guard case .failure(let failure)? = replies.first?.result else {
            Issue.record("no failure: \(replies)")
            return
        }
        #expect(failure.code == "unreachable" && failure.retryable)
    }

    @Test func lostSeedIsReplacedAtOnce() {
        var cluster = ScriptedCluster()
        cluster.attach("s1", .seed)
        cluster.attach("s2", .seed)
        cluster.attach("a")
        ask(&cluster, "a", 1)
        let first = cluster.takeOrders("s1").isEmpty ? "s2" : "s1"
        cluster.detach(first)
        #expect(cluster.takeOrders(first == "s1" ? "s2" : "s1").count == 1)
    }

    @Test func withoutSeedTheAskerIsOrdered() throws {
        var cluster = ScriptedCluster()
        cluster.attach("a")
        ask(&cluster, "a", 1)
        let order = try #require(cluster.takeOrders("a").first)
        cluster.do_(.resolved(cluster.sessions["a"]!, request: order, .failure(missing)))
        #expect(cluster.takeReplies("a") == [Reply(request: 1, result: .failure(missing), stale: false)])
    }

    @Test func originAwayAnswersWithWhatHostsHold() throws {
        // A restarted scheduler: a peer holds the model, the origin is down.
        var cluster = ScriptedCluster(learning: true)
        cluster.attach("seed", .seed)
        cluster.attach("holder", models: [complete(model())], tasks: inventory(model()))
        cluster.attach("a")
        ask(&cluster, "a", 1)
        #expect(cluster.takeOrders("seed").isEmpty, "nothing is ordered while learning")
        cluster.pass(ms: 2_000)
        let order = try #require(cluster.takeOrders("seed").first)
        cluster.do_(.resolved(cluster.sessions["seed"]!, request: order, .failure(away)))
        #expect(cluster.takeReplies("a") == [Reply(request: 1, result: .success(model()), stale: true)])
        // What is gone for good is not answered from memory.
        ask(&cluster, "a", 2)
        let second = try #require(cluster.takeOrders("seed").first)
        cluster.do_(.resolved(cluster.sessions["seed"]!, request: second, .failure(missing)))
        #expect(cluster.takeReplies("a") == [Reply(request: 2, result: .failure(missing), stale: false)])
    }

    @Test func requestsOfOneHostAreBounded() {
        var cluster = ScriptedCluster { $0.requestsPerHostMax = 2 }
        cluster.attach("seed", .seed)
        cluster.attach("a")
        for request in 1...3 { ask(&cluster, "a", UInt64(request)) }
        let replies = cluster.takeReplies("a")
        #expect(replies.map(\.request) == [3])
    }
}
