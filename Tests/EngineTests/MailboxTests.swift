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
        let sink = mailbox.sink(of: 0)
        for _ in 0..<100 { sink(batch[...]) }
        sink((batch + [.readCompleted(tag: 7, loud, failure: nil)])[...])
        var events: [EngineEvent] = []
        #expect(mailbox.next(untilNs: 0, into: &events))
        var messages = 0
        var reports = 0
        var completions = 0
        for event in events {
            switch event {
            case .flooded(0, let link):
                reports += 1
                #expect(link == loud)
            case .rail(_, .message): messages += 1
            case .rail: completions += 1
            default: break
            }
        }
        // 128 bytes a message.
        #expect(messages == 78 && reports == 1 && completions == 1)
        // Caught up: it may speak again.
        sink(batch[...])
        #expect(mailbox.next(untilNs: 0, into: &events))
        #expect(events.count == 50)
    }

    @Test func aFloodingLinkIsClosed() throws {
        let stage = try Stage()
        let link = stage.childLink()
        stage.tell([.flooded(0, link), .flooded(0, LinkID(index: 99, generation: 9))])
        #expect(stage.closed == [link])
    }

    @Test func aClosedMailboxTakesNothingAndEndsWhenEmpty() throws {
        let mailbox = try EngineMailbox()
        #expect(mailbox.offer(.scheduler(.attached)))
        mailbox.close()
        #expect(!mailbox.offer(.scheduler(.attached)))
        var events: [EngineEvent] = []
        #expect(mailbox.next(untilNs: nil, into: &events))
        #expect(events.count == 1)
        #expect(!mailbox.next(untilNs: nil, into: &events))
    }
}
