import Artifacts
import Testing

@testable import Swarm

/// The upload side as scripts.
@Suite struct UploadTests {
    let task = TaskID(Fixtures.digest(1))
    let second: UInt64 = 1_000_000_000

    private func session(_ link: UInt64, _ session: UInt32 = 0) -> UploadSessionID {
        UploadSessionID(link: link, session: session)
    }

    /// Children 1… with a session each on a task of 16 pieces, all held.
    private func machine(
        _ links: ClosedRange<UInt64>, held: PieceSet = .full(capacity: 16), _ settings: UploadSettings
    ) -> Upload {
        var upload = Upload(settings: settings)
        for link in links {
            let actions = upload.handle(.opened(session(link), task, held: held), nowNs: 0)
            #expect(actions == [.sendMap(session(link), held)])
        }
        return upload
    }

    private func settings(_ change: (inout UploadSettings) -> Void) -> UploadSettings {
        var settings = UploadSettings()
        change(&settings)
        return settings
    }

    private func piece(_ value: Int) -> PieceIndex { PieceIndex(value) }

    @Test func aWantIsExportedGrantedReleasedAndRevokedOnce() {
        var upload = machine(1...1, settings { _ in })
        let one = session(1)
        #expect(upload.handle(.wanted(one, piece(3)), nowNs: 0) == [.export(one, task, piece(3))])
        #expect(
            upload.handle(.exported(one, piece(3), ok: true), nowNs: 0) == [
                .grant(one, piece(3), leaseNs: 30 * second)
            ])
        #expect(upload.handle(.released(one, piece(3)), nowNs: 5) == [.revoke(one, piece(3))])
        #expect(upload.handle(.released(one, piece(3)), nowNs: 6) == [], "late")
        #expect(upload.usage.slotsTaken == 0 && upload.usage.granted == 1)
    }

    @Test func whatIsNotHeldIsAbsentOrUnknown() {
        var held = PieceSet(capacity: 16)
        held.insert(piece(1))
        var upload = machine(1...1, held: held, settings { _ in })
        #expect(upload.handle(.wanted(session(1), piece(2)), nowNs: 0) == [.sendAbsent(session(1), piece(2))])
        let other = TaskID(Fixtures.digest(2))
        #expect(
            upload.handle(.opened(session(1, 9), other, held: nil), nowNs: 0) == [.sendUnknown(session(1, 9))]
        )
        #expect(
            upload.handle(.wanted(session(1, 9), piece(2)), nowNs: 0) == [], "the session ended with unknown")
        #expect(
            upload.handle(.wanted(session(1), piece(1)), nowNs: 0) == [.export(session(1), task, piece(1))])
        #expect(
            upload.handle(.exported(session(1), piece(1), ok: false), nowNs: 0) == [
                .sendAbsent(session(1), piece(1))
            ])
        #expect(upload.usage.slotsTaken == 0)
    }

    @Test func anExportForWhichThereIsNoMemoryIsABusyAnswerAndFreesItsSlot() {
        var held = PieceSet(capacity: 4)
        held.insert(piece(1))
        var upload = machine(1...1, held: held, settings { _ in })
        for isGone in [false, true] {
            #expect(
                upload.handle(.wanted(session(1), piece(1)), nowNs: 0) == [.export(session(1), task, piece(1))])
            if isGone { _ = upload.handle(.released(session(1), piece(1)), nowNs: 0) }
            let answer = upload.handle(.exportDeferred(session(1), piece(1)), nowNs: 0)
            if isGone {
                #expect(answer == [], "nobody waits for it any more")
            } else {
                guard case .sendBusy(session(1), piece(1), _)? = answer.first, answer.count == 1 else {
                    Issue.record("\(answer)")
                    return
                }
            }
            #expect(upload.usage.slotsTaken == 0)
        }
    }

    @Test func slotsAreBoundedInTotalAndPerLinkAndWantsWait() {
        var upload = machine(
            1...2,
            settings {
                $0.slotsMax = 3; $0.slotsPerLinkMax = 2
            })
        for value in 0..<3 { _ = upload.handle(.wanted(session(1), piece(value)), nowNs: 0) }
        #expect(upload.usage.slotsTaken == 2 && upload.usage.wantsQueued == 1)
        #expect(
            upload.handle(.wanted(session(2), piece(5)), nowNs: 0) == [.export(session(2), task, piece(5))])
        #expect(upload.handle(.wanted(session(2), piece(6)), nowNs: 0) == [])
        _ = upload.handle(.exported(session(1), piece(0), ok: true), nowNs: 0)
        // Link 1's slot is free: its own want waited longest.
        #expect(
            upload.handle(.released(session(1), piece(0)), nowNs: 1) == [
                .revoke(session(1), piece(0)), .export(session(1), task, piece(2)),
            ])
    }

    @Test func aWantThatWaitsTooLongIsTurnedAway() {
        var upload = machine(1...1, settings { $0.slotsMax = 1 })
        _ = upload.handle(.wanted(session(1), piece(0)), nowNs: 0)
        _ = upload.handle(.wanted(session(1), piece(1)), nowNs: 10)
        let wait = UploadSettings.peer.queueWaitNs
        #expect(upload.wakeAtNs == 10 + wait)
        guard case .sendBusy(session(1), piece(1), let retry)? = upload.handle(.tick, nowNs: 10 + wait).first
        else {
            Issue.record("not turned away")
            return
        }
        #expect((UploadSettings.peer.retryMinNs...UploadSettings.peer.retryMaxNs).contains(retry))
        #expect(upload.usage.turnedAway == 1 && upload.usage.wantsQueued == 0)
    }

    @Test func aFullQueueTurnsAwayAtOnce() {
        var upload = machine(
            1...1,
            settings {
                $0.slotsMax = 1; $0.queuedWantsPerLinkMax = 2
            })
        for value in 0..<3 { _ = upload.handle(.wanted(session(1), piece(value)), nowNs: 0) }
        guard case .sendBusy? = upload.handle(.wanted(session(1), piece(3)), nowNs: 0).first else {
            Issue.record("not turned away")
            return
        }
    }

    @Test func thePieceServedLeastGoesFirst() {
        var upload = machine(
            1...3,
            settings {
                $0.slotsMax = 1; $0.firstChildWaitNs = 500
            })
        _ = upload.handle(.wanted(session(1), piece(0)), nowNs: 0)
        _ = upload.handle(.exported(session(1), piece(0), ok: true), nowNs: 0)
        // Piece 0 has left once; it was asked for before piece 1, which has not.
        _ = upload.handle(.wanted(session(2), piece(0)), nowNs: 1)
        _ = upload.handle(.wanted(session(3), piece(1)), nowNs: 2)
        #expect(
            upload.handle(.released(session(1), piece(0)), nowNs: 3).last
                == .export(session(3), task, piece(1)))
    }

    @Test func aLeaseThatRunsOutIsRevokedAndRepeatOffendersAreDropped() {
        var upload = machine(
            1...1,
            settings {
                $0.offencesMax = 2; $0.leaseNs = 100
            })
        for (round, start) in [UInt64(0), 1000].enumerated() {
            _ = upload.handle(.wanted(session(1), piece(round)), nowNs: start)
            _ = upload.handle(.exported(session(1), piece(round), ok: true), nowNs: start)
            #expect(upload.wakeAtNs == start + 100)
            let actions = upload.handle(.tick, nowNs: start + 100)
            #expect(actions.first == .revoke(session(1), piece(round)))
            #expect(actions.count == (round == 0 ? 1 : 2))
            if round == 1 {
                guard case .dropLink(link: 1, _)? = actions.last else {
                    Issue.record("not dropped: \(actions)")
                    return
                }
            }
        }
        #expect(upload.usage.leasesLost == 2 && upload.usage.linksDropped == 1)
        #expect(
            upload.handle(.wanted(session(1), piece(5)), nowNs: 2000) == [], "a dropped link is not heard")
        #expect(upload.handle(.opened(session(1, 4), task, held: .full(capacity: 16)), nowNs: 2000) == [])
        #expect(upload.handle(.linkDown(link: 1), nowNs: 2001) == [])
    }

    @Test func aGoodReleaseTakesAnOffenceOff() {
        var upload = machine(
            1...1,
            settings {
                $0.offencesMax = 2; $0.leaseNs = 100
            })
        for round in 0..<4 {
            let start = UInt64(round) * 1000
            _ = upload.handle(.wanted(session(1), piece(0)), nowNs: start)
            _ = upload.handle(.exported(session(1), piece(0), ok: true), nowNs: start)
            let isGood = round % 2 == 1
            let actions = upload.handle(
                isGood ? .released(session(1), piece(0)) : .tick, nowNs: start + (isGood ? 50 : 100))
            #expect(actions == [.revoke(session(1), piece(0))])
        }
    }

    @Test func aChildThatAsksTwiceForTheSameOrBeyondTheEndIsDroppedInTheEnd() {
        var upload = machine(1...1, settings { _ in })
        _ = upload.handle(.wanted(session(1), piece(0)), nowNs: 0)
        #expect(upload.handle(.wanted(session(1), piece(0)), nowNs: 0) == [])
        #expect(
            upload.handle(.wanted(session(1), piece(99)), nowNs: 0) == [.sendAbsent(session(1), piece(99))])
        guard case .dropLink(link: 1, _)? = upload.handle(.wanted(session(1), piece(0)), nowNs: 0).last else {
            Issue.record("not dropped")
            return
        }
    }

    @Test func aSessionNumberUsedTwiceDropsTheLink() {
        var upload = machine(1...1, settings { _ in })
        guard case .dropLink(link: 1, _)? = upload.handle(.opened(session(1), task, held: nil), nowNs: 0).last
        else {
            Issue.record("not dropped")
            return
        }
    }

    @Test func sessionsPerLinkAreBounded() {
        var upload = machine(1...1, settings { $0.sessionsPerLinkMax = 1 })
        let more = session(1, 2)
        #expect(
            upload.handle(.opened(more, task, held: .full(capacity: 16)), nowNs: 0) == [.sendUnknown(more)])
    }

    @Test func aLinkThatGoesDownFreesEverythingAndRevokesOnce() {
        var upload = machine(
            1...2,
            settings {
                $0.slotsMax = 2; $0.slotsPerLinkMax = 2
            })
        _ = upload.handle(.wanted(session(1), piece(0)), nowNs: 0)
        _ = upload.handle(.wanted(session(1), piece(1)), nowNs: 0)
        _ = upload.handle(.wanted(session(1), piece(2)), nowNs: 0)
        _ = upload.handle(.wanted(session(2), piece(3)), nowNs: 0)
        _ = upload.handle(.exported(session(1), piece(0), ok: true), nowNs: 0)
        // Piece 0 is revoked now; piece 1 is being exported and revoked as soon as it is; piece 2 waited.
        #expect(
            upload.handle(.linkDown(link: 1), nowNs: 1) == [
                .revoke(session(1), piece(0)), .export(session(2), task, piece(3)),
            ])
        #expect(
            upload.handle(.exported(session(1), piece(1), ok: true), nowNs: 2) == [
                .revoke(session(1), piece(1))
            ])
        #expect(upload.usage.slotsTaken == 1 && upload.usage.sessions == 1)
    }

    @Test func aWantTakenBackWhileItIsExportedIsRevokedWhenMade() {
        var upload = machine(1...1, settings { _ in })
        _ = upload.handle(.wanted(session(1), piece(0)), nowNs: 0)
        #expect(upload.handle(.released(session(1), piece(0)), nowNs: 0) == [])
        // Asked for again meanwhile: exported anew once the first is revoked.
        #expect(upload.handle(.wanted(session(1), piece(0)), nowNs: 0) == [])
        #expect(
            upload.handle(.exported(session(1), piece(0), ok: true), nowNs: 1) == [
                .revoke(session(1), piece(0)), .export(session(1), task, piece(0)),
            ])
    }

    @Test func newsIsToldInBatches() {
        var upload = machine(1...2, held: PieceSet(capacity: 16), settings { _ in })
        #expect(upload.handle(.kept(task, piece(4)), nowNs: 10) == [])
        #expect(upload.handle(.kept(task, piece(5)), nowNs: 11) == [])
        #expect(upload.handle(.kept(task, piece(5)), nowNs: 12) == [], "no news")
        let due = 10 + UploadSettings.peer.haveWaitNs
        #expect(upload.wakeAtNs == due)
        #expect(
            upload.handle(.tick, nowNs: due) == [
                .sendHave(session(1), [piece(4), piece(5)]), .sendHave(session(2), [piece(4), piece(5)]),
            ])
        #expect(upload.wakeAtNs == nil)
        #expect(
            upload.handle(.wanted(session(1), piece(5)), nowNs: due) == [.export(session(1), task, piece(5))])
    }

    @Test func aFullBatchIsToldAtOnce() {
        var upload = machine(1...1, held: PieceSet(capacity: 16), settings { $0.haveBatchMax = 2 })
        _ = upload.handle(.kept(task, piece(4)), nowNs: 10)
        #expect(
            upload.handle(.kept(task, piece(6)), nowNs: 10) == [.sendHave(session(1), [piece(4), piece(6)])])
    }

    @Test func aSeedTellsOneChildFirstAndTheOthersOnceItHasReadThePiece() {
        var upload = machine(
            1...3, held: PieceSet(capacity: 16),
            settings {
                $0.firstChildWaitNs = 500; $0.haveWaitNs = 1; $0.firstChildMarginNs = 50; $0.firstChildTurns = 0
            })
        _ = upload.handle(.kept(task, piece(0)), nowNs: 0)
        _ = upload.handle(.kept(task, piece(1)), nowNs: 0)
        #expect(
            upload.handle(.tick, nowNs: 1) == [
                .sendHave(session(1), [piece(0)]), .sendHave(session(2), [piece(1)]),
            ])
        _ = upload.handle(.wanted(session(1), piece(0)), nowNs: 2)
        _ = upload.handle(.exported(session(1), piece(0), ok: true), nowNs: 3)
        _ = upload.handle(.released(session(1), piece(0)), nowNs: 10)
        #expect(upload.wakeAtNs == 60)
        _ = upload.handle(.tick, nowNs: 60)
        #expect(
            upload.handle(.tick, nowNs: 61) == [
                .sendHave(session(2), [piece(0)]), .sendHave(session(3), [piece(0)]),
            ])
        // The second child never asks: after the wait all others hear.
        #expect(upload.wakeAtNs == 500)
        _ = upload.handle(.tick, nowNs: 500)
        #expect(
            upload.handle(.tick, nowNs: 501) == [
                .sendHave(session(1), [piece(1)]), .sendHave(session(3), [piece(1)]),
            ])
        #expect(upload.wakeAtNs == nil)
    }

    @Test func aFirstChildThatLeavesKeepsNobodyWaiting() {
        var upload = machine(
            1...2, held: PieceSet(capacity: 16),
            settings {
                $0.firstChildWaitNs = 500; $0.haveWaitNs = 1
            })
        _ = upload.handle(.kept(task, piece(0)), nowNs: 0)
        _ = upload.handle(.tick, nowNs: 1)
        _ = upload.handle(.linkDown(link: 1), nowNs: 2)
        #expect(upload.handle(.tick, nowNs: 3) == [.sendHave(session(2), [piece(0)])])
    }

    @Test func aForgottenTaskIsUnknownFromThenOn() {
        var upload = machine(1...2, settings { _ in })
        _ = upload.handle(.wanted(session(1), piece(0)), nowNs: 0)
        _ = upload.handle(.exported(session(1), piece(0), ok: true), nowNs: 0)
        #expect(
            upload.handle(.forgot(task), nowNs: 1) == [
                .revoke(session(1), piece(0)), .sendUnknown(session(1)), .sendUnknown(session(2)),
            ])
        #expect(upload.usage.sessions == 0 && upload.tasks.isEmpty)
        #expect(upload.handle(.kept(task, piece(1)), nowNs: 2) == [])
    }

    @Test func anExportNobodyAskedForTraps() async {
        await #expect(processExitsWith: .failure) {
            var upload = Upload()
            _ = upload.handle(
                .exported(UploadSessionID(link: 1, session: 1), PieceIndex(0), ok: true), nowNs: 0)
        }
    }
}
