import Artifacts
import Testing

@testable import Swarm

/// Whole swarms in virtual time, each from a seed; a failure names it.
@Suite struct VirtualSwarmTests {
    static let files = [0, 1, 3, 24]
    static let pieces = 28

    private func expectComplete(
        _ swarm: VirtualSwarm, _ numbers: [UInt32], pieces: Int = VirtualSwarmTests.pieces
    ) {
        for number in numbers {
            let host = swarm.hosts[number]!
            #expect(
                host.isFinished && host.download.isOver,
                "host \(number), seed \(swarm.seed), at \(swarm.nowNs): \(host.failure ?? "unfinished")")
            #expect(host.slots.isEmpty, "host \(number) leaks slots, seed \(swarm.seed)")
            for (address, content) in host.contents {
                #expect(
                    content == swarm.truth(address),
                    "host \(number) keeps a wrong \(address), seed \(swarm.seed)")
            }
            #expect(host.contents.count == pieces)
            #expect(host.peakSlotBytes <= host.download.budgetBytes)
        }
        #expect(swarm.unverified == 0, "a peer's piece was kept without a digest, seed \(swarm.seed)")
        let outlived = swarm.live.filter {
            swarm.ends[$0.session.link] == nil && !swarm.killedLinks.contains($0.session.link)
        }
        #expect(outlived.isEmpty, "an export outlived its link, seed \(swarm.seed)")
    }

    private func expectOriginReadOnce(_ swarm: VirtualSwarm) {
        #expect(
            swarm.originReads.count == Self.pieces && swarm.originReads.values.allSatisfy { $0 == 1 },
            "seed \(swarm.seed)")
    }

    @Test func allCompleteAndTheOriginIsReadOnce() {
        var fromPeers = 0
        var fromSeed = 0
        for seed in UInt64(0)..<100 {
            let swarm = VirtualSwarm(files: Self.files, seed: seed)
            swarm.addHost(1, role: .seed)
            for number in UInt32(2)...5 { swarm.addHost(number, role: .peer) }
            swarm.leaseEverything()
            swarm.run()
            expectComplete(swarm, [1, 2, 3, 4, 5])
            expectOriginReadOnce(swarm)
            for number in UInt32(2)...5 {
                let progress = swarm.hosts[number]!.download.progress
                #expect(progress.keptBytes == progress.totalBytes && progress.originBytes == 0)
                #expect(
                    progress.wastedBytes <= 8 << 20, "the end game wastes at most its pieces, seed \(seed)")
            }
            fromSeed += swarm.bytesFrom[1] ?? 0
            fromPeers += (2...5).reduce(0) { $0 + (swarm.bytesFrom[UInt32($1)] ?? 0) }
        }
        #expect(fromPeers >= fromSeed, "\(fromPeers) pieces came from peers, \(fromSeed) from the seed")
    }

    @Test func aFullSeedSendsLittleMoreThanOneCopy() {
        var fromPeers = 0
        var fromSeed = 0
        for seed in UInt64(600)..<620 {
            let swarm = VirtualSwarm(files: [0, 1, 3, 96], seed: seed)
            swarm.addHost(1, role: .seed)
            swarm.leaseEverything()
            swarm.run()
            for number in UInt32(2)...5 { swarm.addHost(number, role: .peer) }
            swarm.run()
            expectComplete(swarm, [1, 2, 3, 4, 5], pieces: 100)
            fromSeed += swarm.bytesFrom[1] ?? 0
            fromPeers += (2...5).reduce(0) { $0 + (swarm.bytesFrom[UInt32($1)] ?? 0) }
        }
        #expect(fromPeers >= fromSeed, "\(fromPeers) pieces came from peers, \(fromSeed) from the seed")
    }

    @Test func aLiarIsExcludedAndBlamed() {
        for seed in UInt64(100)..<125 {
            let swarm = VirtualSwarm(files: Self.files, seed: seed)
            swarm.addHost(1, role: .seed)
            swarm.addHost(2, role: .peer, fault: .liar)
            swarm.fill(swarm.hosts[2]!)
            for number in UInt32(3)...5 { swarm.addHost(number, role: .peer) }
            swarm.leaseEverything()
            swarm.run()
            expectComplete(swarm, [1, 3, 4, 5])
            let blames = [3, 4, 5].flatMap { swarm.hosts[UInt32($0)]!.blamed }
            #expect(!blames.isEmpty && blames.allSatisfy { $0 == PeerNumber(2) }, "seed \(seed)")
            for number in UInt32(3)...5 {
                let host = swarm.hosts[number]!
                #expect(host.blamed.count <= 1 && host.download.progress.parentsExcluded == host.blamed.count)
            }
        }
    }

    @Test(arguments: [VirtualSwarm.Fault.mute, .stuck])
    func aSilentParentIsBypassed(_ fault: VirtualSwarm.Fault) {
        for seed in UInt64(200)..<215 {
            let swarm = VirtualSwarm(files: Self.files, seed: seed)
            swarm.addHost(1, role: .seed)
            swarm.addHost(2, role: .peer, fault: fault)
            swarm.fill(swarm.hosts[2]!)
            for number in UInt32(3)...5 { swarm.addHost(number, role: .peer) }
            swarm.leaseEverything()
            swarm.run()
            expectComplete(swarm, [1, 3, 4, 5])
            // Bounded by what the silent one can hold up, not by luck: one read, one drop, and the end of the rest.
            #expect(swarm.nowNs < 120_000_000_000, "seed \(seed) took \(swarm.nowNs) ns")
        }
    }

    @Test func aParentIsKilled() {
        for seed in UInt64(300)..<325 {
            let swarm = VirtualSwarm(files: Self.files, seed: seed)
            swarm.addHost(1, role: .seed)
            for number in UInt32(2)...5 { swarm.addHost(number, role: .peer) }
            swarm.leaseEverything()
            swarm.after(20_000_000 + seed % 10 * 10_000_000) { swarm.kill(3) }
            swarm.run()
            expectComplete(swarm, [1, 2, 4, 5])
            expectOriginReadOnce(swarm)
        }
    }

    @Test func aSeedIsKilledWithAnotherThere() {
        for seed in UInt64(400)..<425 {
            let swarm = VirtualSwarm(files: Self.files, seed: seed)
            swarm.addHost(1, role: .seed)
            swarm.addHost(2, role: .seed)
            for number in UInt32(3)...5 { swarm.addHost(number, role: .peer) }
            swarm.leaseEverything()
            swarm.after(20_000_000 + seed % 10 * 10_000_000) { swarm.kill(1) }
            swarm.run()
            expectComplete(swarm, [2, 3, 4, 5])
        }
    }

    @Test func aLateJoinerCatchesUp() {
        for seed in UInt64(500)..<525 {
            let swarm = VirtualSwarm(files: Self.files, seed: seed)
            swarm.addHost(1, role: .seed)
            for number in UInt32(2)...3 { swarm.addHost(number, role: .peer) }
            swarm.leaseEverything()
            swarm.after(60_000_000 + seed % 5 * 30_000_000) { swarm.addHost(4, role: .peer) }
            swarm.after(400_000_000) { swarm.addHost(5, role: .peer) }
            // All may be over before the last one joins: it then comes to a swarm of finished holders.
            swarm.run(hostCount: 5)
            expectComplete(swarm, [1, 2, 3, 4, 5])
            expectOriginReadOnce(swarm)
        }
    }

    @Test func theSameSeedGivesTheSameRun() {
        func end(_ seed: UInt64) -> [UInt64] {
            let swarm = VirtualSwarm(files: Self.files, seed: seed)
            swarm.addHost(1, role: .seed)
            for number in UInt32(2)...5 { swarm.addHost(number, role: .peer) }
            swarm.leaseEverything()
            swarm.run()
            return [swarm.nowNs, UInt64(swarm.nextGrant), UInt64(swarm.serial)]
        }
        #expect(end(7) == end(7))
        #expect(end(7) != end(8))
    }
}
