import Artifacts
import Testing

@testable import Scheduling

@Suite struct NeighbourhoodTests {
    /// Everyone's parents after so many peers joined.
    func graph(peers: Int, racks: Int = 4) -> [String: [Parent]] {
        var cluster = ScriptedCluster()
        for seed in ["s1", "s2"] { cluster.attach(seed, .seed, rack: "r0", machine: seed) }
        let names = (0..<peers).map { "p\($0)" }
        for (index, name) in names.enumerated() {
            cluster.attach(name, rack: "r\(index % racks)", machine: "m\(index / 2)")
            cluster.join(name, model())
        }
        for seed in ["s1", "s2"] { cluster.join(seed, model()) }
        cluster.pass(ms: 2_000)
        var graph: [String: [Parent]] = [:]
        for name in names + ["s1", "s2"] {
            for case .neighbourhood(_, let parents) in cluster.take(name) { graph[name] = parents }
        }
        return graph
    }

    @Test func smallClusterIsComplete() {
        let graph = graph(peers: 6)
        for (name, parents) in graph {
            #expect(parents.count == 7)
            #expect(!parents.contains { $0.host.name == name })
        }
    }

    @Test func largeClusterIsConnectedBoundedAndNearby() {
        let graph = graph(peers: 150)
        #expect(graph.count == 152)
        for (name, parents) in graph {
            #expect(parents.count == 12, "\(name) has \(parents.count)")
            #expect(Set(parents.map(\.host)).count == parents.count)
            if name.hasPrefix("p") {
                #expect(parents.contains { $0.distance == 0 }, "\(name) has no parent on its machine")
                #expect(parents.contains { $0.distance == 2 }, "\(name) has none in another rack")
            }
        }
        // Each seed has about so many children as set (64 of 256, rounded up from 152), and seeds have each other.
        for seed in ["s1", "s2"] {
            let children = graph.count { $0.value.contains { $0.host.name == seed } }
            #expect((16...64).contains(children), "\(seed) has \(children) children")
        }
        // From every host everything is reached without the seeds, in few steps.
        for start in ["p0", "p77", "p149"] {
            var reached: Set<String> = [start]
            var edge = reached
            var steps = 0
            while !edge.isEmpty {
                let next = Set(edge.flatMap { graph[$0]!.filter { !$0.isSeed }.map(\.host.name) })
                    .subtracting(reached)
                reached.formUnion(next)
                edge = next
                if !next.isEmpty { steps += 1 }
            }
            #expect(reached.count == 150)
            #expect(steps <= 4)
        }
        // Nobody is everybody's parent but the seeds.
        var children: [String: Int] = [:]
        for parents in graph.values {
            for parent in parents where !parent.isSeed { children[parent.host.name, default: 0] += 1 }
        }
        #expect(children.values.max()! <= 24)
        #expect(children.values.min()! >= 4)
    }

    @Test func sameHostsSameGraph() {
        #expect(graph(peers: 40) == graph(peers: 40))
    }

    @Test func changesAreGathered() {
        var cluster = ScriptedCluster()
        cluster.attach("a")
        cluster.join("a", model())
        _ = cluster.take("a")
        for name in ["b", "c", "d"] {
            cluster.attach(name)
            cluster.join(name, model())
        }
        #expect(parents(cluster.take("a")).isEmpty)
        cluster.pass(ms: 600)
        #expect(parents(cluster.take("a")) == [["b", "c", "d"]])
        cluster.pass(ms: 5_000)
        #expect(cluster.take("a").isEmpty, "nothing changed, nothing is sent")
        // In grace a host is still a parent; afterwards it is not.
        cluster.detach("b")
        cluster.pass(ms: 2_000)
        #expect(parents(cluster.take("a")).isEmpty)
        cluster.pass(ms: 2_000)
        #expect(parents(cluster.take("a")) == [["c", "d"]])
    }

    @Test func holdersOfSharedContentCount() {
        var cluster = ScriptedCluster()
        let base = model(1, pieces: [4, 4], firstTask: 1)
        let tuned = model(2, pieces: [4, 4], firstTask: 2)
        cluster.attach("holder", models: [complete(base)], tasks: inventory(base))
        cluster.attach("a")
        cluster.join("a", tuned)
        #expect(parents(cluster.take("a")) == [["holder"]])
        #expect(cluster.scheduler.models[tuned.model]!.unheld == 4)
    }
}
