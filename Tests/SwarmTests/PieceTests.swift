import Artifacts
import Testing

@testable import Swarm

/// Which piece, from whom, and what becomes of wants and reads.
@Suite struct PieceTests {
    @Test func theRarestPieceIsAskedForFirst() {
        for seed in UInt64(0)..<20 {
            var settings = Script.settings
            settings.wantsPerParentMax = 1
            var script = Script(pieces: [8], digests: [0], settings: settings, seed: seed)
            _ = script.start()
            script.link([1, 2, 3], full: false)
            script.send(.map(PeerNumber(1), FileIndex(0), .full(capacity: 8)))
            for peer in [2, 3] {
                for piece in 0..<8 where piece != 5 {
                    script.send(.have(PeerNumber(peer), FileIndex(0), [PieceIndex(piece)]))
                }
            }
            let wants = script.send(.digests(FileIndex(0), Fixtures.digests(0, 8))).wants
            #expect(wants[0] == (PeerNumber(1), Fixtures.address(0, 5)), "seed \(seed)")
        }
    }

    @Test func tiesFallAtRandom() {
        var firsts: Set<PieceAddress> = []
        for seed in UInt64(0)..<40 {
            var script = Script(pieces: [16], seed: seed)
            _ = script.start()
            firsts.insert(script.link([1]).wantedPieces[0])
        }
        #expect(firsts.count > 8)
    }

    @Test func aPieceWithoutADigestIsNotAskedFor() {
        var script = Script(pieces: [3], digests: [1])
        _ = script.start()
        #expect(script.link([1]).wantedPieces == [Fixtures.address(0, 0)])
        let more = script.send(.digests(FileIndex(0), [PieceIndex(2): Fixtures.digest(0, 2)]))
        #expect(more.wantedPieces == [Fixtures.address(0, 2)])
    }

    @Test func wantsAreBoundedByParentAndBudget() {
        var settings = Script.settings
        settings.budgetBytes = 6 * Fixtures.pieceBytes
        settings.wantsPerParentMin = 4
        var script = Script(pieces: [32], settings: settings)
        _ = script.start()
        let wants = script.link([1, 2]).wants
        #expect(wants.count == 6)
        #expect(wants.filter { $0.peer == PeerNumber(1) }.count <= 4)
        script.download.budgetBytes = 7 * Fixtures.pieceBytes
        #expect(script.download.wakeAtNs == 0, "a changed budget asks for a tick")
        #expect(script.send(.tick).wants.count == 1)
        script.download.budgetBytes = 0
        #expect(script.download.wakeAtNs != 0, "a smaller one does not")
        let (peer, address) = wants[0]
        #expect(script.send(.absent(peer, address)).wants.isEmpty, "no budget is a pause")
    }

    @Test func theParentWithFewestReadsThenTheFastestThenTheNearestIsAsked() {
        var script = Script(pieces: [1])
        _ = script.start()
        script.link([1, 2], full: false)
        var (left, right) = (script.download.parents[0], script.download.parents[1])
        left.wants = 1
        #expect(script.download.isBetter(right, than: left) && !script.download.isBetter(left, than: right))
        right.reads = 1
        left.rate = 10
        right.rate = 20
        #expect(script.download.isBetter(right, than: left) && !script.download.isBetter(left, than: right))
        right.rate = 10
        left.distance = 2
        #expect(script.download.isBetter(right, than: left) && !script.download.isBetter(left, than: right))
        // A peer leaves seeds to what only they have; a seed makes no difference.
        right.isSeed = true
        #expect(script.download.isBetter(left, than: right))
        let seed = Script(pieces: [1], role: .seed)
        #expect(seed.download.isBetter(right, than: left))
        // Our own machine comes before all else.
        right.distance = 0
        #expect(script.download.isBetter(right, than: left) && !script.download.isBetter(left, than: right))
    }

    @Test func theNetworkIsNotAskedWhileAParentOnOurMachineIsOnItsWay() {
        var script = Script(pieces: [4])
        _ = script.start()
        script.send(.neighbourhood(farAndNear))
        script.send(.linkUp(PeerNumber(1)))
        script.map(1)
        #expect(script.history.wants.isEmpty)
        script.send(.linkUp(PeerNumber(2)))
        script.map(2)
        #expect(script.history.wants.count == 4 && script.history.wants.allSatisfy { $0.peer == PeerNumber(2) })
    }

    @Test func aParentOnOurMachineIsWaitedForAWhileOnly() {
        var script = Script(pieces: [1])
        _ = script.start()
        script.send(.neighbourhood(farAndNear))
        script.send(.linkUp(PeerNumber(1)))
        script.map(1)
        #expect(script.history.wants.isEmpty)
        script.pass(Script.settings.neighbourWaitNs)
        #expect(script.history.wants.map(\.peer) == [PeerNumber(1)])
    }

    private var farAndNear: [ParentOffer] {
        [
            ParentOffer(peer: PeerNumber(1), isSeed: false, distance: 1),
            ParentOffer(peer: PeerNumber(2), isSeed: false, distance: 0),
        ]
    }

    @Test func aFewPicksProbeParentsThatWouldNotBeChosen() {
        for (probes, isProbed) in [(0, false), (1000, true)] {
            var asked: Set<PeerNumber> = []
            for seed in UInt64(0)..<30 {
                var settings = Script.settings
                settings.probesPerMille = probes
                var script = Script(pieces: [1], digests: [0], settings: settings, seed: seed)
                _ = script.start()
                // The seed peer is the one a peer would not choose.
                script.link([1, 2], seeds: [2])
                asked.formUnion(script.send(.digests(FileIndex(0), Fixtures.digests(0, 1))).wants.map(\.peer))
            }
            #expect(asked.contains(PeerNumber(2)) == isProbed && asked.contains(PeerNumber(1)))
        }
    }

    @Test func aGrantIsReadAtOnceAndABusyParentIsLeftAlone() {
        var script = Script(pieces: [1])
        _ = script.start()
        script.link([1])
        let piece = Fixtures.address(0, 0)
        #expect(script.send(.busy(PeerNumber(1), piece, retryAfterNs: 70_000_000)) == [])
        #expect(script.pass(69_999_999) == [])
        #expect(script.pass(1) == [.want(PeerNumber(1), piece)])
        #expect(script.grant(1, piece) == [.read(PeerNumber(1), piece, GrantID(100))])
        #expect(script.download.progress.readsRunning == 1)
    }

    @Test func aBusyParentCannotSilenceUsForLong() {
        var script = Script(pieces: [1])
        _ = script.start()
        script.link([1])
        script.send(.busy(PeerNumber(1), Fixtures.address(0, 0), retryAfterNs: .max / 2))
        #expect(script.pass(Script.settings.busyRetryMaxNs) == [.want(PeerNumber(1), Fixtures.address(0, 0))])
    }

    @Test func aDeniedPieceIsTakenOffTheMapAndLiarsOfMapsAreDropped() {
        var script = Script(pieces: [4])
        _ = script.start()
        let wants = script.link([1]).wantedPieces
        #expect(script.send(.absent(PeerNumber(1), wants[0])) == [])
        #expect(script.send(.absent(PeerNumber(1), wants[1])) == [])
        #expect(script.send(.absent(PeerNumber(1), wants[2])).dropped == [PeerNumber(1)])
        #expect(script.send(.absent(PeerNumber(1), wants[3])) == [], "late: its link is being closed")
    }

    @Test func anUnansweredWantIsWithdrawnAndTheThirdInARowDropsTheLink() {
        var settings = Script.settings
        settings.wantsPerParentMax = 1
        var script = Script(pieces: [1], settings: settings)
        _ = script.start()
        script.link([1])
        let piece = Fixtures.address(0, 0)
        let one = PeerNumber(1)
        #expect(script.pass(settings.wantTimeoutNs) == [.withdraw(one, piece)])
        // The grant crossed: it is given up unread.
        #expect(script.grant(1, piece) == [.withdraw(one, piece)])
        let rest = script.pass(3 * settings.wantTimeoutNs + 2 * Script.second)
        #expect(rest.filter { $0 == .withdraw(one, piece) }.count == 2)
        #expect(rest.dropped == [one])
    }

    @Test func aReadThatDoesNotEndDropsItsLinkAndThePieceGoesElsewhere() {
        var script = Script(pieces: [1])
        _ = script.start()
        script.link([1])
        let piece = Fixtures.address(0, 0)
        script.grant(1, piece)
        #expect(script.pass(Script.settings.readTimeoutNs - 1) == [])
        #expect(script.pass(1).dropped == [PeerNumber(1)])
        // The slot of the stuck read still counts; the piece is asked for elsewhere meanwhile.
        #expect(script.download.inFlightBytes == Fixtures.pieceBytes)
        script.send(
            .neighbourhood([1, 2].map { ParentOffer(peer: PeerNumber($0), isSeed: false, distance: 1) }))
        script.send(.linkUp(PeerNumber(2)))
        #expect(script.map(2).wants.map(\.peer) == [PeerNumber(2)])
        #expect(script.download.inFlightBytes == 2 * Fixtures.pieceBytes)
        script.send(.readEnded(PeerNumber(1), piece, ok: false))
        script.send(.linkDown(PeerNumber(1)))
        #expect(script.download.inFlightBytes == Fixtures.pieceBytes)
        // On probation: back after a wait.
        #expect(script.pass(Script.second).contains(.connect(PeerNumber(1))))
    }

    @Test func aReadThatWasCutIsAskedForAgainAndNobodyIsBlamed() {
        var script = Script(pieces: [1])
        _ = script.start()
        script.link([1])
        let piece = Fixtures.address(0, 0)
        for _ in 0..<Script.settings.readFailuresMax + 2 {
            script.grant(1, piece)
            let actions = script.send(.readCut(PeerNumber(1), piece))
            #expect(actions.wantedPieces == [piece] && actions.dropped.isEmpty)
        }
        #expect(script.download.inFlightBytes == Fixtures.pieceBytes)
    }

    @Test func aGivenUpReadThatEndsWellAfterAllIsKept() {
        var script = Script(pieces: [1])
        _ = script.start()
        script.link([1, 2])
        let (peer, piece) = script.history.wants[0]
        let other = peer == PeerNumber(1) ? PeerNumber(2) : PeerNumber(1)
        script.grant(peer.value, piece)
        script.send(.linkDown(peer))
        #expect(script.history.last == .want(other, piece))
        #expect(
            script.send(.readEnded(peer, piece, ok: true)) == [
                .withdraw(other, piece), .keep(piece, expected: Fixtures.digest(0, 0), from: .peer(peer)),
            ])
    }

    @Test func readsThatFallShortAreRetriedElsewhereAndDropTheLinkInTheEnd() {
        var script = Script(pieces: [1])
        _ = script.start()
        script.link([1])
        let piece = Fixtures.address(0, 0)
        for _ in 0..<2 {
            #expect(script.deliver(1, piece, ok: false).wants.isEmpty, "it rests")
            #expect(script.pass(Script.second).wantedPieces == [piece])
        }
        #expect(script.deliver(1, piece, ok: false).dropped == [PeerNumber(1)])
    }

    @Test func aGrantWhoseLeaseIsOverIsGivenUp() {
        var script = Script(pieces: [1])
        _ = script.start()
        script.link([1])
        let piece = Fixtures.address(0, 0)
        let late = script.send(.granted(PeerNumber(1), piece, GrantID(1), leaseUntilNs: script.nowNs))
        #expect(late == [.withdraw(PeerNumber(1), piece)])
    }

    @Test func aParentOnProbationGetsOneWantAtATime() {
        var script = Script(pieces: [8])
        _ = script.start()
        script.link([1])
        script.send(.linkDown(PeerNumber(1)))
        script.pass(Script.second)
        script.send(.linkUp(PeerNumber(1)))
        let wants = script.map(1).wantedPieces
        #expect(wants.count == 1)
        #expect(script.deliver(1, wants[0]).wants.count == 1)
        #expect(script.keep(wants[0]).wants.count == 3, "a good piece ends the probation")
    }
}
