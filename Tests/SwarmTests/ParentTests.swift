import Artifacts
import Testing

@testable import Swarm

/// Links, back-off, sessions and maps.
@Suite struct ParentTests {
    @Test func connectsToABoundedNumberAtOnce() {
        var settings = Script.settings
        settings.connectsMax = 2
        settings.linksMax = 3
        var script = Script(pieces: [4], settings: settings)
        _ = script.start()
        let offers = (1...5).map { ParentOffer(peer: PeerNumber($0), isSeed: false, distance: UInt8($0)) }
        #expect(script.send(.neighbourhood(offers)) == [.connect(PeerNumber(1)), .connect(PeerNumber(2))])
        let second = script.send(.linkUp(PeerNumber(1)))
        #expect(second == [.connect(PeerNumber(3)), .open(PeerNumber(1), FileIndex(0))])
        // Three links: the bound.
        #expect(script.send(.linkUp(PeerNumber(2))) == [.open(PeerNumber(2), FileIndex(0))])
    }

    @Test func reconnectsWithGrowingWaitsAndThenParks() {
        var settings = Script.settings
        settings.connectAttemptsMax = 4
        var script = Script(pieces: [4], settings: settings)
        _ = script.start()
        let offers = [ParentOffer(peer: PeerNumber(1), isSeed: false, distance: 1)]
        #expect(script.send(.neighbourhood(offers)) == [.connect(PeerNumber(1))])
        var waits: [UInt64] = []
        for _ in 1..<4 {
            #expect(script.send(.linkDown(PeerNumber(1))) == [])
            waits.append(script.download.wakeAtNs! - script.nowNs)
            script.nowNs = script.download.wakeAtNs!
            #expect(script.send(.tick) == [.connect(PeerNumber(1))])
        }
        for (attempt, wait) in waits.enumerated() {
            let whole = settings.backoffNs << UInt64(attempt)
            #expect((whole / 2...whole).contains(wait), "wait \(attempt) is \(wait)")
        }
        script.send(.linkDown(PeerNumber(1)))
        #expect(script.download.wakeAtNs == nil, "parked")
        #expect(script.pass(1000 * Script.second) == [])
        // The scheduler names it again: one more try, after the longest wait at most.
        script.send(.neighbourhood(offers))
        #expect(script.pass(settings.backoffMaxNs) == [.connect(PeerNumber(1))])
    }

    @Test func aLinkThatNeverComesUpIsGivenUp() {
        var script = Script(pieces: [4])
        _ = script.start()
        script.send(.neighbourhood([ParentOffer(peer: PeerNumber(1), isSeed: false, distance: 1)]))
        #expect(script.pass(Script.settings.connectTimeoutNs).dropped == [PeerNumber(1)])
        // Its coming up crossed the drop.
        #expect(script.send(.linkUp(PeerNumber(1))) == [])
        script.send(.linkDown(PeerNumber(1)))
        #expect(script.pass(Script.second) == [.connect(PeerNumber(1))])
    }

    @Test func aLinkedButSilentParentIsDropped() {
        var script = Script(pieces: [4])
        _ = script.start()
        script.send(.neighbourhood([ParentOffer(peer: PeerNumber(1), isSeed: false, distance: 1)]))
        #expect(script.send(.linkUp(PeerNumber(1))) == [.open(PeerNumber(1), FileIndex(0))])
        #expect(script.pass(Script.settings.mapTimeoutNs - 1) == [])
        #expect(script.pass(1).dropped == [PeerNumber(1)])
    }

    @Test func opensSmallFilesFirstWithinTheBound() {
        var settings = Script.settings
        settings.sessionsPerLinkMax = 2
        var script = Script(pieces: [9, 1, 0, 5], digests: [0, 0, 0, 0], settings: settings)
        #expect(script.start() == [.publish(FileIndex(2))], "an empty file has no piece to wait for")
        script.send(.neighbourhood([ParentOffer(peer: PeerNumber(1), isSeed: false, distance: 1)]))
        let one = PeerNumber(1)
        #expect(script.send(.linkUp(one)) == [.open(one, FileIndex(1)), .open(one, FileIndex(3))])
        // A file of which something can be asked takes the place of one of which nothing can.
        #expect(
            script.send(.digests(FileIndex(0), Fixtures.digests(0, 1))) == [
                .close(one, FileIndex(3)), .open(one, FileIndex(0)),
            ])
        // A late map of the closed one changes nothing; a file that is complete makes room.
        #expect(script.send(.map(one, FileIndex(3), .full(capacity: 5))) == [])
        script.send(.map(one, FileIndex(1), .full(capacity: 1)))
        #expect(
            script.send(.digests(FileIndex(1), Fixtures.digests(1, 1))) == [
                .want(one, Fixtures.address(1, 0))
            ])
        script.deliver(1, Fixtures.address(1, 0))
        #expect(
            script.keep(Fixtures.address(1, 0)) == [
                .announce(Fixtures.address(1, 0), digest: nil), .have(Fixtures.address(1, 0)),
                .close(one, FileIndex(1)), .publish(FileIndex(1)), .open(one, FileIndex(3)),
            ])
    }

    @Test func aLinkBroughtUpForNobodyIsLeft() {
        var script = Script(pieces: [2])
        _ = script.start()
        #expect(script.send(.linkUp(PeerNumber(9))) == [.leave(PeerNumber(9))])
    }

    @Test func aFileUnknownThereIsAskedForAgainLater() {
        var script = Script(pieces: [2])
        _ = script.start()
        script.send(.neighbourhood([ParentOffer(peer: PeerNumber(1), isSeed: false, distance: 1)]))
        script.send(.linkUp(PeerNumber(1)))
        #expect(script.send(.unknown(PeerNumber(1), FileIndex(0))) == [])
        #expect(script.send(.have(PeerNumber(1), FileIndex(0), [PieceIndex(0)])) == [], "no session, no news")
        let wait = Script.settings.unknownRetryNs
        #expect(script.pass(wait) == [.open(PeerNumber(1), FileIndex(0))])
        script.send(.unknown(PeerNumber(1), FileIndex(0)))
        #expect(script.pass(wait - 1) == [], "the second wait is longer")
        #expect(script.pass(wait + 1) == [.open(PeerNumber(1), FileIndex(0))])
    }

    @Test func mapsAreUnionsAndNewsAddsToThem() {
        var script = Script(pieces: [3])
        _ = script.start()
        script.link([1], full: false)
        #expect(
            script.send(.have(PeerNumber(1), FileIndex(0), [PieceIndex(2)])).wantedPieces == [
                Fixtures.address(0, 2)
            ])
        var only0 = PieceSet(capacity: 3)
        only0.insert(PieceIndex(0))
        #expect(
            script.send(.map(PeerNumber(1), FileIndex(0), only0)).wantedPieces == [Fixtures.address(0, 0)])
        #expect(script.download.availability == [1, 0, 1])
    }

    @Test func aMapThatDoesNotFitDropsTheLink() {
        var script = Script(pieces: [3])
        _ = script.start()
        script.link([1, 2], full: false)
        #expect(script.send(.have(PeerNumber(1), FileIndex(0), [PieceIndex(3)])).dropped == [PeerNumber(1)])
        #expect(
            script.send(.map(PeerNumber(2), FileIndex(0), PieceSet(capacity: 4))).dropped == [PeerNumber(2)])
    }

    @Test func aParentOutOfTheNeighbourhoodIsLeftOnceItsReadsEnd() {
        var script = Script(pieces: [2])
        _ = script.start()
        script.link([1])
        script.grant(1, Fixtures.address(0, 0))
        #expect(script.send(.neighbourhood([])) == [.withdraw(PeerNumber(1), Fixtures.address(0, 1))])
        let last = script.send(.readEnded(PeerNumber(1), Fixtures.address(0, 0), ok: true))
        #expect(
            last == [
                .keep(
                    Fixtures.address(0, 0), expected: Fixtures.digest(0, 0), from: .peer(PeerNumber(1))),
                .leave(PeerNumber(1)),
            ])
    }

    @Test func aLinkThatGoesDownSendsItsPiecesElsewhere() {
        var script = Script(pieces: [2])
        _ = script.start()
        let asked = script.link([1, 2]).wants
        let (lost, _) = asked.first { $0.peer == PeerNumber(1) }!
        let pieces = asked.filter { $0.peer == lost }.map(\.address)
        let again = script.send(.linkDown(lost)).wants
        #expect(
            again.map(\.address).sorted() == pieces.sorted() && again.allSatisfy { $0.peer == PeerNumber(2) })
    }
}
