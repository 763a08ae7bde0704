import Artifacts
import Rails
import Swarm
import Testing
import Transport

@testable import Engine

/// The engine's mailbox and thread.
@Suite struct MailboxTests {
    @Test func peersThatSayTooMuchAreReportedAndTheRestIsKept() throws {
        let mailbox = try EngineMailbox(messageBytesMax: 10_000)
        let loud = LinkID(index: 1, generation: 1)
        let batch: [RailEvent] = (0..<50).map { .message(loud, .ping(nonce: $0)) }
        for _ in 0..<100 { #expect(mailbox.offer(.rail(0, batch))) }
        #expect(mailbox.offer(.rail(0, batch + [.readCompleted(tag: 7, loud, failure: nil)])))
        let events = try #require(mailbox.next(untilNs: 0))
        var messages = 0
        var reports = 0
        var completions = 0
        for event in events {
            switch event {
            case .flooded(0, let links):
                reports += 1
                #expect(links == [loud])
            case .rail(_, let events):
                for event in events {
                    if case .message = event { messages += 1 } else { completions += 1 }
                }
            default: break
            }
        }
        #expect(messages == 50 && reports == 1 && completions == 1)
        // Caught up: it may speak again.
        #expect(mailbox.offer(.rail(0, batch)))
        #expect(mailbox.next(untilNs: 0)?.count == 1)
    }

    @Test func aFloodingLinkIsClosed() throws {
        let stage = try Stage()
        let link = stage.childLink()
        stage.tell(.flooded(0, [link, LinkID(index: 99, generation: 9)]))
        #expect(stage.closed == [link])
    }

    @Test func aClosedMailboxTakesNothingAndEndsWhenEmpty() throws {
        let mailbox = try EngineMailbox()
        #expect(mailbox.offer(.scheduler(.attached)))
        mailbox.close()
        #expect(!mailbox.offer(.scheduler(.attached)))
        #expect(mailbox.next(untilNs: nil)?.count == 1)
        #expect(mailbox.next(untilNs: nil) == nil)
    }
}
