import Artifacts
import Testing

@testable import Swarm

/// Origin leases.
@Suite struct OriginTests {
    let lease = LeaseID(7)
    let file = FileIndex(0)

    private func seed(_ pieces: Int, held: Int = 0, digests: Int = 0) -> Script {
        var script = Script(pieces: [pieces], held: [held], digests: [digests], role: .seed)
        _ = script.start()
        return script
    }

    @Test func aLeaseIsReadAnnouncedAndGivenBack() {
        var script = seed(2)
        #expect(
            script.send(.originLease(lease, file, 0..<2, whole: false)) == [
                .fetchOrigin(lease, file, 0..<2, whole: false)
            ])
        for piece in 0..<2 {
            let address = Fixtures.address(0, piece)
            #expect(
                script.send(.originPiece(lease, address)) == [
                    .keep(address, expected: nil, from: .origin(lease))
                ])
        }
        #expect(
            script.send(.originEnded(lease, failure: nil, retryable: false)) == [], "pieces are with workers")
        let digest = Fixtures.digest(0, 0)
        #expect(
            script.keep(Fixtures.address(0, 0)) == [
                .announce(Fixtures.address(0, 0), digest: digest), .have(Fixtures.address(0, 0)),
            ])
        #expect(
            script.keep(Fixtures.address(0, 1)).suffix(2) == [
                .publish(file), .returnLease(lease, failure: nil),
            ])
        #expect(script.download.progress.originBytes == 2 << 20)
        #expect(script.send(.filePublished(file)) == [.finished])
    }

    @Test func heldPiecesAreSkippedRunByRun() {
        var script = seed(5, held: 1)
        script.link([1], full: false)
        script.send(.digests(file, [PieceIndex(3): Fixtures.digest(0, 3)]))
        // Piece 3 is on its way from a parent.
        script.send(.have(PeerNumber(1), file, [PieceIndex(3)]))
        let taken = script.send(.originLease(lease, file, 0..<5, whole: false))
        #expect(taken == [.fetchOrigin(lease, file, 1..<3, whole: false)])
        for piece in [1, 2] {
            script.send(.originPiece(lease, Fixtures.address(0, piece)))
            script.keep(Fixtures.address(0, piece))
        }
        #expect(
            script.send(.originEnded(lease, failure: nil, retryable: false)) == [
                .fetchOrigin(lease, file, 4..<5, whole: false)
            ])
        script.send(.originPiece(lease, Fixtures.address(0, 4)))
        script.keep(Fixtures.address(0, 4))
        #expect(
            script.send(.originEnded(lease, failure: nil, retryable: false)) == [], "piece 3 is still due")
        // The parent fails: the piece is read under the lease after all.
        #expect(
            script.send(.linkDown(PeerNumber(1))) == [.fetchOrigin(lease, file, 3..<4, whole: false)])
    }

    @Test func aLeaseOfHeldPiecesIsGivenBackAtOnce() {
        var script = seed(3, held: 2)
        #expect(
            script.send(.originLease(lease, file, 0..<2, whole: false)) == [.returnLease(lease, failure: nil)]
        )
    }

    @Test func aWholeStreamIsReadInOrderAndHeldPiecesOfItDiscarded() {
        var script = seed(3, held: 1)
        #expect(
            script.send(.originLease(lease, file, 0..<3, whole: true)) == [
                .fetchOrigin(lease, file, 0..<3, whole: true)
            ])
        #expect(
            script.send(.originPiece(lease, Fixtures.address(0, 0))) == [
                .discard(Fixtures.address(0, 0), from: .origin(lease))
            ])
        #expect(script.send(.originPiece(lease, Fixtures.address(0, 1))).count == 1)
        script.keep(Fixtures.address(0, 1))
        script.send(.originPiece(lease, Fixtures.address(0, 2)))
        // The last piece is kept before the stream's end is told: it is stopped, and given back at its end.
        #expect(script.keep(Fixtures.address(0, 2)).last == .stopOrigin(lease))
        #expect(
            script.send(.originEnded(lease, failure: nil, retryable: false)) == [
                .returnLease(lease, failure: nil)
            ])
    }

    @Test func aRetryableFailureGivesTheLeaseBackWithItsReason() {
        var script = seed(2)
        script.send(.originLease(lease, file, 0..<2, whole: false))
        script.send(.originPiece(lease, Fixtures.address(0, 0)))
        #expect(
            script.send(.originEnded(lease, failure: "503", retryable: true)) == [],
            "a piece is with a worker")
        #expect(script.keep(Fixtures.address(0, 0)).last == .returnLease(lease, failure: "503"))
        #expect(!script.download.isOver)
    }

    @Test func aFinalFailureFailsTheDownload() {
        var script = seed(2)
        script.send(.originLease(lease, file, 0..<2, whole: false))
        #expect(
            script.send(.originEnded(lease, failure: "404: no such file", retryable: false)) == [
                .returnLease(lease, failure: "404: no such file"), .failed("404: no such file"),
            ])
    }

    @Test func anAnswerThatEndsTooSoonIsAFailure() {
        var script = seed(2)
        script.send(.originLease(lease, file, 0..<2, whole: false))
        let actions = script.send(.originEnded(lease, failure: nil, retryable: false))
        guard case .returnLease(lease, failure: let reason?) = actions.first else {
            Issue.record("\(actions)")
            return
        }
        #expect(reason.contains("ended before piece 0 of a.bin"))
    }

    @Test func aLeaseTakenBackStopsTheReading() {
        var script = seed(2)
        script.send(.originLease(lease, file, 0..<2, whole: false))
        #expect(script.send(.leaseEnded(lease)) == [.stopOrigin(lease)])
        let late = Fixtures.address(0, 0)
        #expect(script.send(.originPiece(lease, late)) == [.discard(late, from: .origin(lease))])
        #expect(script.send(.originEnded(lease, failure: nil, retryable: false)) == [])
        #expect(script.send(.leaseEnded(lease)) == [], "late news")
        #expect(script.download.leases.isEmpty)
    }

    @Test func aPieceThatDiffersFromItsKnownDigestIsReadTwiceThenFails() {
        var script = seed(1, digests: 1)
        let piece = Fixtures.address(0, 0)
        script.send(.originLease(lease, file, 0..<1, whole: false))
        let keep = script.send(.originPiece(lease, piece))
        #expect(keep == [.keep(piece, expected: Fixtures.digest(0, 0), from: .origin(lease))])
        script.send(.originEnded(lease, failure: nil, retryable: false))
        guard case .returnLease(lease, failure: let reason?)? = script.send(.mismatched(piece)).first else {
            Issue.record("the lease was not given back")
            return
        }
        #expect(reason.contains("piece 0 of a.bin") && !script.download.isOver)
        script.send(.originLease(LeaseID(8), file, 0..<1, whole: false))
        script.send(.originPiece(LeaseID(8), piece))
        script.send(.originEnded(LeaseID(8), failure: nil, retryable: false))
        #expect(script.send(.mismatched(piece)).failure == reason)
        #expect(script.download.isOver)
    }

    @Test func aFileWrongAsAWholeThatWeReadOurselvesFails() {
        var script = seed(1)
        script.send(.originLease(lease, file, 0..<1, whole: false))
        script.send(.originPiece(lease, Fixtures.address(0, 0)))
        script.send(.originEnded(lease, failure: nil, retryable: false))
        script.keep(Fixtures.address(0, 0))
        let actions = script.send(.fileMismatched(file))
        #expect(actions.first == .forget(file))
        #expect(actions.failure?.contains("a.bin does not match its published digest") == true)
    }

    @Test func cancelStopsTheOriginAndGivesLeasesBack() {
        var script = seed(2)
        script.send(.originLease(lease, file, 0..<2, whole: false))
        script.send(.originPiece(lease, Fixtures.address(0, 0)))
        #expect(script.send(.cancel) == [.stopOrigin(lease)])
        #expect(script.send(.originEnded(lease, failure: nil, retryable: true)) == [])
        #expect(!script.download.isOver)
        #expect(
            script.keep(Fixtures.address(0, 0)) == [
                .announce(Fixtures.address(0, 0), digest: Fixtures.digest(0, 0)),
                .have(Fixtures.address(0, 0)),
                .returnLease(lease, failure: "the download was cancelled"),
            ])
        #expect(script.download.isOver)
        let late = script.send(.originLease(LeaseID(9), file, 0..<1, whole: false))
        #expect(late == [.returnLease(LeaseID(9), failure: "the download is over")])
    }

    @Test func aPieceThatComesFromTheOriginFirstIsNotTakenTwice() {
        var script = Script(pieces: [1], digests: [1])
        _ = script.start()
        script.link([1])
        let piece = Fixtures.address(0, 0)
        // On its way from a parent: the whole stream is not begun for it.
        #expect(script.send(.originLease(lease, file, 0..<1, whole: true)) == [])
        script.deliver(1, piece)
        #expect(script.keep(piece).last == .returnLease(lease, failure: nil))
    }

    @Test func nothingIsReadAtTheOriginWithoutALease() {
        var script = Script(pieces: [3])
        _ = script.start()
        script.link([1])
        script.send(.linkDown(PeerNumber(1)))
        let all = script.pass(100 * Script.second)
        #expect(!all.contains { if case .fetchOrigin = $0 { true } else { false } })
    }
}
