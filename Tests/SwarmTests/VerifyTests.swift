import Artifacts
import Testing

@testable import Swarm

/// Verification, blame, files, digests that change, and the end of a download.
@Suite struct VerifyTests {
    let one = PeerNumber(1)
    let first = Fixtures.address(0, 0)

    @Test func aKeptPieceIsAnnouncedToldAndPublishedWithItsFile() {
        var script = Script(pieces: [1])
        _ = script.start()
        script.link([1])
        #expect(
            script.deliver(1, first).last == .keep(first, expected: Fixtures.digest(0, 0), from: .peer(one)))
        #expect(
            script.keep(first) == [
                .announce(first, digest: nil), .have(first), .close(one, FileIndex(0)),
                .publish(FileIndex(0)),
            ])
        #expect(!script.download.isOver)
        #expect(script.send(.filePublished(FileIndex(0))) == [.finished, .leave(one)])
        #expect(script.download.isOver && script.download.wakeAtNs == nil)
        let progress = script.download.progress
        #expect(
            progress.keptBytes == 1 << 20 && progress.peerBytes == 1 << 20 && progress.filesPublished == 1)
        #expect(
            script.send(.granted(one, first, GrantID(9), leaseUntilNs: .max)) == [],
            "late words to a dead machine")
    }

    @Test func aParentThatSendsWrongBytesIsBlamedAndExcluded() {
        var script = Script(pieces: [1])
        _ = script.start()
        script.link([1])
        script.deliver(1, first)
        let actions = script.send(.mismatched(first))
        #expect(actions.first == .blame(one, first) && actions.dropped == [one])
        #expect(
            script.download.progress.wastedBytes == 1 << 20 && script.download.progress.parentsExcluded == 1)
        // For good: also when it is named again.
        script.send(.linkDown(one))
        let offers = [1, 2].map { ParentOffer(peer: PeerNumber($0), isSeed: false, distance: 1) }
        #expect(script.send(.neighbourhood([])) == [])
        // A scheduler that offers it again is told again, and it is not taken back.
        #expect(script.send(.neighbourhood(offers)) == [.complain(one, first), .connect(PeerNumber(2))])
        script.send(.linkUp(PeerNumber(2)))
        #expect(script.map(2).wantedPieces == [first])
    }

    @Test func whatTheExcludedParentStillSendsIsDiscarded() {
        var script = Script(pieces: [2])
        _ = script.start()
        let wants = script.link([1]).wantedPieces
        script.grant(1, wants[0])
        script.grant(1, wants[1])
        script.send(.readEnded(one, wants[0], ok: true))
        script.send(.mismatched(wants[0]))
        #expect(script.send(.readEnded(one, wants[1], ok: true)) == [.discard(wants[1], from: .peer(one))])
    }

    @Test func resumedPiecesAreAnnouncedAndNeverFetchedAgain() {
        var script = Script(pieces: [3, 1], held: [2, 1])
        #expect(
            script.start() == [
                .announce(Fixtures.address(0, 0), digest: nil),
                .announce(Fixtures.address(0, 1), digest: nil),
                .announce(Fixtures.address(1, 0), digest: nil), .publish(FileIndex(1)),
            ])
        #expect(script.link([1]).wantedPieces == [Fixtures.address(0, 2)])
        #expect(script.download.progress.resumedBytes == 3 << 20)
    }

    @Test func aModelThatIsAllHereIsFinishedAtOnce() {
        var script = Script(pieces: [1, 0], published: [FileIndex(0), FileIndex(1)])
        #expect(script.start() == [.announce(first, digest: nil), .finished])
        #expect(script.download.isOver)
        #expect(script.download.progress.filesPublished == 2)
    }

    @Test func withNoNeighboursAndNoLeasesItWaits() {
        var script = Script(pieces: [4])
        #expect(script.start() == [])
        #expect(script.download.wakeAtNs == nil && script.pass(3600 * Script.second) == [])
        #expect(!script.download.isOver)
    }

    @Test func aFullDiskFailsItAfterEverythingIsTakenBack() {
        var script = Script(pieces: [3])
        _ = script.start()
        let wants = script.link([1]).wantedPieces
        script.deliver(1, wants[0])
        script.grant(1, wants[1])
        let reason = "cannot store: the disk is full; free some space"
        #expect(
            script.send(.keepFailed(wants[0], reason: reason)) == [
                .withdraw(one, wants[2]), .close(one, FileIndex(0)),
            ])
        #expect(!script.download.isOver, "a read still holds a slot")
        let end = script.send(.readEnded(one, wants[1], ok: true))
        #expect(end == [.discard(wants[1], from: .peer(one)), .leave(one), .failed(reason)])
        #expect(script.download.isOver)
    }

    @Test func aReadThatHoldsUpTheEndLosesItsLink() {
        var script = Script(pieces: [1])
        _ = script.start()
        script.link([1])
        script.grant(1, first)
        script.send(.refused(reason: "the model was withdrawn"))
        #expect(script.pass(Script.settings.endingReadTimeoutNs).dropped == [one])
        #expect(script.send(.readEnded(one, first, ok: false)) == [.failed("the model was withdrawn")])
    }

    @Test func aCancelledDownloadKeepsWhatIsWithAWorkerAndEndsWithoutAWord() {
        var script = Script(pieces: [2])
        _ = script.start()
        let wants = script.link([1]).wantedPieces
        script.deliver(1, wants[0])
        #expect(script.send(.cancel) == [.withdraw(one, wants[1]), .close(one, FileIndex(0))])
        #expect(script.keep(wants[0]) == [.announce(wants[0], digest: nil), .have(wants[0]), .leave(one)])
        #expect(script.download.isOver)
    }

    @Test func aFileWrongAsAWholeWaitsForNewDigestsThenFails() {
        var script = Script(pieces: [1])
        _ = script.start()
        script.link([1])
        script.deliver(1, first)
        script.keep(first)
        #expect(script.send(.fileMismatched(FileIndex(0))) == [.forget(FileIndex(0))])
        #expect(script.pass(Script.settings.newDigestsTimeoutNs - 1).wants.isEmpty)
        let failure = script.pass(1).failure
        #expect(failure?.contains("a.bin does not match its published digest") == true)
    }

    @Test func newDigestsFetchTheFileAgain() {
        var script = Script(pieces: [1])
        _ = script.start()
        script.link([1])
        script.deliver(1, first)
        script.keep(first)
        script.send(.fileMismatched(FileIndex(0)))
        #expect(script.send(.digestsWithdrawn(FileIndex(0))) == [.open(one, FileIndex(0))])
        #expect(script.map(1) == [])
        #expect(
            script.send(.digests(FileIndex(0), [PieceIndex(0): Fixtures.digest(77)])) == [.want(one, first)])
        // The parent has not heard of it yet and sends the old piece: forgiven, and its map is asked for afresh.
        script.deliver(1, first)
        let actions = script.send(.mismatched(first))
        #expect(actions == [.close(one, FileIndex(0))])
        #expect(script.pass(Script.second) == [.open(one, FileIndex(0))])
        // After the grace it is blamed as ever.
        script.pass(Script.settings.withdrawalGraceNs)
        script.send(.linkDown(one))
        script.pass(Script.second)
        script.send(.linkUp(one))
        script.map(1)
        script.deliver(1, first)
        #expect(script.send(.mismatched(first)).first == .blame(one, first))
    }

    @Test func digestsWithdrawnUnderWayForgetTheFileOnceNoWorkerHasAPieceOfIt() {
        var script = Script(pieces: [3])
        _ = script.start()
        let wants = script.link([1]).wantedPieces
        script.deliver(1, wants[0])
        script.keep(wants[0])
        script.deliver(1, wants[1])
        script.grant(1, wants[2])
        #expect(script.send(.digestsWithdrawn(FileIndex(0))) == [.close(one, FileIndex(0))])
        let forgotten = script.send(.kept(wants[1], digest: Fixtures.digest(0, Int(wants[1].piece.value))))
        #expect(forgotten == [.forget(FileIndex(0)), .open(one, FileIndex(0))])
        #expect(script.download.progress.keptBytes == 0)
        #expect(script.send(.readEnded(one, wants[2], ok: true)) == [.discard(wants[2], from: .peer(one))])
        #expect(script.download.missingPieces == 3)
    }

    @Test func aResumedFileWrongAsAWholeIsFetchedOnceMore() {
        var script = Script(pieces: [1], held: [1])
        #expect(script.start() == [.announce(first, digest: nil), .publish(FileIndex(0))])
        #expect(script.send(.fileMismatched(FileIndex(0))) == [.forget(FileIndex(0))])
        #expect(script.link([1]).wantedPieces == [first])
    }

    @Test func aFileThatCannotBePublishedFailsTheDownload() {
        var script = Script(pieces: [1], held: [1])
        _ = script.start()
        #expect(
            script.send(.publishFailed(FileIndex(0), reason: "cannot write")) == [.failed("cannot write")])
        #expect(script.download.isOver)
    }

    @Test func theEndGameAsksASecondParentAndWastesOneCopyAtMost() {
        var script = Script(pieces: [1])
        _ = script.start()
        let (slow, piece) = script.link([1, 2, 3]).wants[0]
        script.grant(slow.value, piece)
        let second = script.pass(Script.settings.endGameAgeNs).wants
        #expect(second.count == 1 && second[0].address == piece && second[0].peer != slow)
        #expect(script.pass(2 * Script.second).wants.isEmpty, "never a third")
        script.deliver(second[0].peer.value, piece)
        #expect(script.keep(piece).last == .publish(FileIndex(0)))
        #expect(script.send(.filePublished(FileIndex(0))) == [.finished])
        #expect(!script.download.isOver, "the slow read still holds its slot")
        let end = script.send(.readEnded(slow, piece, ok: true))
        #expect(end.first == .discard(piece, from: .peer(slow)) && script.download.isOver)
        #expect(script.download.progress.wastedBytes == 1 << 20)
    }

    @Test func theSecondCopyIsWithdrawnWhenTheFirstArrives() {
        var script = Script(pieces: [1])
        _ = script.start()
        let (slow, piece) = script.link([1, 2]).wants[0]
        script.grant(slow.value, piece)
        let other = script.pass(Script.settings.endGameAgeNs).wants[0].peer
        #expect(script.send(.readEnded(slow, piece, ok: true)).first == .withdraw(other, piece))
    }

    @Test func noEndGameWhileManyPiecesAreMissing() {
        var settings = Script.settings
        settings.wantsPerParentMax = 16
        var script = Script(pieces: [9], settings: settings)
        _ = script.start()
        #expect(script.link([1, 2]).wants.count == 9)
        for (peer, piece) in script.history.wants { script.grant(peer.value, piece) }
        #expect(script.pass(2 * Script.second).wants.isEmpty)
    }

    @Test func aBugOfTheInterpreterTrapsByName() async {
        await #expect(processExitsWith: .failure) {
            var script = Script(pieces: [1])
            _ = script.start()
            _ = script.send(.kept(Fixtures.address(0, 0), digest: Fixtures.digest(0, 0)))
        }
        await #expect(processExitsWith: .failure) {
            var script = Script(pieces: [1])
            _ = script.start()
            script.link([1])
            _ = script.send(.readEnded(PeerNumber(1), Fixtures.address(0, 0), ok: true))
        }
    }
}
