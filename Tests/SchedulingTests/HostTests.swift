import Artifacts
import Testing

@testable import Scheduling

@Suite struct HostTests {
    @Test func laterStartFencesTheEarlier() {
        var cluster = ScriptedCluster()
        let old = cluster.attach("a", incarnation: 5)
        let new = cluster.attach("a", incarnation: 6)
        #expect(cluster.closed == [old])
        // What the old stream still says is late.
        cluster.do_(.join(old, model().model, model().manifest))
        #expect(cluster.scheduler.models.isEmpty)
        let late = cluster.attach("a", incarnation: 5)
        #expect(cluster.closed == [old, late])
        cluster.do_(.join(new, model().model, model().manifest))
        #expect(cluster.scheduler.models.count == 1)
        // The end of a stream that was replaced is not the end of its host.
        cluster.do_(.detached(old))
        #expect(cluster.scheduler.snapshot.hostsInGrace == 0)
    }

    @Test func inventoryReplacesWhatWasHeld() {
        var cluster = ScriptedCluster()
        let model = model(pieces: [8])
        cluster.attach("a", tasks: inventory(model))
        #expect(cluster.scheduler.tasks[taskID(1)]!.unheld == 0)
        cluster.attach("a", incarnation: 2, tasks: inventory(model, 0..<3), reports: false)
        #expect(cluster.scheduler.tasks[taskID(1)]!.unheld == 0, "until it has reported")
        cluster.do_(
            .inventory(cluster.sessions["a"]!, models: [], tasks: inventory(model, 0..<3), last: true))
        #expect(cluster.scheduler.tasks[taskID(1)]!.unheld == 5)
        cluster.attach("a", incarnation: 3)
        #expect(cluster.scheduler.tasks.isEmpty)
    }

    @Test func hostWithoutInventoryIsClosed() {
        var cluster = ScriptedCluster()
        let session = cluster.attach("a", reports: false)
        cluster.pass(ms: 60_100)
        #expect(cluster.closed == [session])
    }

    @Test func hostsAndModelsAreBounded() {
        var cluster = ScriptedCluster {
            $0.hostsMax = 2
            $0.modelsMax = 2
        }
        cluster.attach("a")
        cluster.attach("b")
        let third = cluster.attach("c")
        #expect(cluster.closed == [third])
        cluster.join("a", model(1, firstTask: 10))
        cluster.join("a", model(2, firstTask: 20))
        _ = cluster.take("a")
        cluster.join("a", model(3, firstTask: 30))
        guard case .refused(_, let failure)? = cluster.take("a").first else {
            Issue.record("a third model was taken on")
            return
        }
        #expect(failure.code == "busy")
        // An idle model makes room.
        cluster.do_(.leave(cluster.sessions["a"]!, model(1).model, finished: false, failure: nil))
        cluster.join("a", model(3, firstTask: 30))
        #expect(cluster.scheduler.models[model(3).model] != nil)
        #expect(cluster.scheduler.models[model(1).model] == nil)
        #expect(cluster.scheduler.tasks[taskID(10)] == nil)
    }

    @Test func blamedHostIsExcludedForAWhileAndItsPiecesDoNotCount() {
        var cluster = ScriptedCluster()
        let model = model(pieces: [8])
        cluster.attach("seed", .seed)
        cluster.attach("bad", tasks: inventory(model))
        cluster.attach("a")
        cluster.attach("b")
        cluster.join("a", model)
        cluster.join("b", model)
        func blame(_ name: String) {
            cluster.do_(.blame(cluster.sessions[name]!, parent: hostID("bad"), taskID(1), PieceIndex(0)))
        }
        blame("a")
        blame("a")
        #expect(cluster.scheduler.snapshot.hostsExcluded == 0, "one accuser may be the faulty one")
        _ = cluster.take("a")
        blame("b")
        #expect(cluster.scheduler.snapshot.hostsExcluded == 1)
        #expect(cluster.take("seed").contains(.fetchOrder(model.model, model.manifest)))
        cluster.pass(ms: 600)
        #expect(parents(cluster.take("a")).last?.contains("bad") == false)
        cluster.pass(ms: 60_000)
        #expect(cluster.scheduler.snapshot.hostsExcluded == 0)
        #expect(cluster.scheduler.tasks[taskID(1)]!.unheld == 0)
    }

    @Test func excludedHostThatGoesLeavesTheCountsRight() {
        var cluster = ScriptedCluster()
        cluster.attach("seed", .seed)
        cluster.attach("bad", tasks: inventory(model()))
        cluster.do_(.blame(cluster.sessions["seed"]!, parent: hostID("bad"), taskID(1), PieceIndex(0)))
        #expect(cluster.scheduler.snapshot.hostsExcluded == 1)
        cluster.detach("bad")
        cluster.pass(ms: 100_000)
        #expect(cluster.scheduler.tasks.isEmpty)
        #expect(cluster.scheduler.hosts.count == 1)
    }
}

/// Names of the parents in each neighbourhood among the messages.
func parents(_ messages: [SchedulerMessage]) -> [[String]] {
    messages.compactMap {
        if case .neighbourhood(_, let parents) = $0 { parents.map(\.host.name) } else { nil }
    }
}
