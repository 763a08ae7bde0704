import Artifacts
import ControlAPI
import Engine
import RPC
import Swarm
import Testing

@testable import PeerService

@Suite struct SchedulerRoutingTests {
    private let second: UInt64 = 1_000_000_000

    private func model(_ number: Int) -> (ModelID, Manifest) {
        let digest = Digest(.sha256, bytes: [UInt8](repeating: UInt8(number), count: 32))!
        let file = ManifestFile(path: "f", sizeBytes: 8 << 20, publishedDigest: digest, task: TaskID(digest))
        return (ModelID(digest), try! Manifest(reference: "hf://o/\(number)@main", revision: "c0ffee", files: [file]))
    }

    private func neighbour(_ name: String) -> Neighbour {
        Neighbour(host: HostID(name)!, incarnation: 1, addresses: ["tcp:\(name):1"], isSeed: false, distance: 1)
    }

    @Test func modelsAreSpreadEvenlyAndOnlyThoseOfOneThatGoesMove() {
        let keys = (0..<1_000).map { "model-\($0)" }
        let all = ["a", "b", "c", "d"]
        let owners = keys.map { SchedulerChoice.owner(of: $0, among: all)! }
        for name in all {
            let count = owners.count { $0 == name }
            #expect((190...310).contains(count), "\(name) has \(count) of 1000")
        }
        #expect(keys.map { SchedulerChoice.owner(of: $0, among: all.reversed())! } == owners)
        for (key, owner) in zip(keys, owners) where owner != "c" {
            #expect(SchedulerChoice.owner(of: key, among: ["a", "b", "d"]) == owner)
        }
        #expect(SchedulerChoice.owner(of: "x", among: [String]()) == nil)
    }

    /// Twenty downloads under two schedulers.
    private func made() -> (SchedulerRouting, [ModelID]) {
        var routing = SchedulerRouting()
        let first = routing.change(listed: ["a", "b"], lost: [], nowNs: 0)
        #expect(first.isEmpty)
        var ids: [ModelID] = []
        for number in 0..<20 {
            let (id, manifest) = model(number)
            let owner = routing.joined(id, manifest)
            #expect(owner == routing.owner(of: id))
            ids.append(id)
        }
        return (routing, ids)
    }

    @Test func downloadsOfALostSchedulerMoveWithTheirLeases() throws {
        var (routing, ids) = made()
        let moving = try #require(ids.first { routing.owner(of: $0) == "a" })
        let staying = try #require(ids.first { routing.owner(of: $0) == "b" })
        let task = model(ids.firstIndex(of: moving)!).1.files[0].task
        let lease = SchedulerRouting.Lease(model: moving, task: task, pieces: 0..<2, whole: false, scheduler: "a")
        let isGranted = routing.granted(LeaseID(7), lease)
        #expect(isGranted)
        let moves = routing.change(listed: ["a", "b"], lost: ["a"], nowNs: 50 * second)
        #expect(moves.allSatisfy { $0.from == "a" && $0.to == "b" })
        #expect(moves.contains { $0.model == moving })
        #expect(!moves.contains { $0.model == staying })
        #expect(routing.leases(of: "b", model: moving).keys.contains(LeaseID(7)))
        #expect(routing.hasMoved(moving, nowNs: 50 * second))
        #expect(!routing.hasMoved(staying, nowNs: 50 * second))
        // Late word of the old one is fenced: its leases go back, its ends and parents do not count.
        let late = SchedulerRouting.Lease(model: moving, task: task, pieces: 4..<6, whole: false, scheduler: "a")
        let isLateGranted = routing.granted(LeaseID(8), late)
        #expect(!isLateGranted)
        let wasEnded = routing.ended(LeaseID(7), by: "a")
        #expect(!wasEnded)
        let parents = routing.neighbourhood(moving, [], of: "a", nowNs: 51 * second)
        #expect(parents == nil)
        // What we return goes to the new one.
        let answersFor = routing.returned(LeaseID(7))
        #expect(answersFor == "b")
    }

    @Test func numberOfAnotherSchedulersLeaseIsNotTaken() throws {
        var (routing, ids) = made()
        let one = try #require(ids.first { routing.owner(of: $0) == "a" })
        let other = try #require(ids.first { routing.owner(of: $0) == "b" })
        let task = model(0).1.files[0].task
        let first = routing.granted(
            LeaseID(7), .init(model: one, task: task, pieces: 0..<2, whole: false, scheduler: "a"))
        let second = routing.granted(
            LeaseID(7), .init(model: other, task: task, pieces: 0..<2, whole: false, scheduler: "b"))
        #expect(first && !second)
        #expect(routing.leases(of: "a").count == 1)
    }

    @Test func parentsStayUntilTheNewSchedulerHasHeardOfEverybody() throws {
        var (routing, ids) = made()
        let id = try #require(ids.first { routing.owner(of: $0) == "a" })
        let before = [neighbour("x"), neighbour("y")]
        let first = routing.neighbourhood(id, before, of: "a", nowNs: second)
        #expect(first == before)
        _ = routing.change(listed: ["b"], lost: [], nowNs: 100 * second)
        let told = routing.neighbourhood(id, [neighbour("z")], of: "b", nowNs: 101 * second)
        #expect(told.map { Set($0.map(\.host.name)) } == ["x", "y", "z"])
        let early = routing.settled(nowNs: 101 * second)
        #expect(early.isEmpty)
        let settled = routing.settled(nowNs: 110 * second)
        #expect(settled.map(\.0) == [id])
        #expect(settled.first?.1 == [neighbour("z")])
        let again = routing.settled(nowNs: 111 * second)
        #expect(again.isEmpty, "said once")
    }

    @Test func everythingLostIsAsIfNothingWere() {
        var (routing, _) = made()
        _ = routing.change(listed: ["a", "b"], lost: ["a"], nowNs: second)
        #expect(routing.live == ["b"])
        _ = routing.change(listed: ["a", "b"], lost: ["a", "b"], nowNs: 2 * second)
        #expect(routing.live == ["a", "b"])
    }

    @Test func displacedModelsAreSaidToHaveMovedForAsLongAsTheyAre() throws {
        var (routing, ids) = made()
        let id = try #require(ids.first { routing.owner(of: $0) == "a" })
        _ = routing.change(listed: ["a", "b"], lost: ["a"], nowNs: second)
        #expect(routing.hasMoved(id, nowNs: 3_600 * second))
        _ = routing.change(listed: ["b"], lost: [], nowNs: 3_601 * second)
        #expect(!routing.hasMoved(id, nowNs: 7_200 * second))
    }

    @Test func newsOfATaskGoesToAllWhoseModelsHaveIt() {
        var routing = SchedulerRouting()
        _ = routing.change(listed: ["a", "b"], lost: [], nowNs: 0)
        let (id, manifest) = model(1)
        let task = manifest.files[0].task
        #expect(routing.schedulers(of: task) == nil)
        let owner = routing.joined(id, manifest)
        #expect(routing.schedulers(of: task) == [owner!])
        let left = routing.left(id)
        #expect(left == owner)
        #expect(routing.schedulers(of: task) == nil)
    }

    @Test func lastListIsReadBack() {
        let list: [String: [RPCAddress]] = [
            "scheduler-1": [.tcp(host: "10.0.0.5", port: 7610)],
            "scheduler-2": [.tcp(host: "10.0.0.6", port: 7610), .tcp(host: "::1", port: 7611)],
        ]
        #expect(SchedulerList.parse(SchedulerList.text(list)) == list)
        #expect(SchedulerList.parse("garbage\n\nname not-an-address\n").isEmpty)
    }

    @Test func livesFollowEachOtherWhateverTheClockSays() {
        #expect(HostLife.follows("", clockMs: 500) == 500)
        #expect(HostLife.follows("400\n", clockMs: 500) == 500)
        #expect(HostLife.follows("900\n", clockMs: 500) == 901)
        #expect(HostLife.follows("99999999999999999999\n", clockMs: 500) == 500)
        #expect(HostLife.follows("rubbish", clockMs: 500) == 500)
    }
}
