import Artifacts
import Foundation
import Rails
import Swarm
import Synchronization
import System
import Testing
import Transport
import TransportTCP

/// Rails with real threads and real sockets.
@Suite(.serialized) struct RailTests {
    @Test func aPieceIsReadByManyReadsAndReportedOnce() throws {
        try withRails { child, parent in
            let link = try linkUp(child, parent)
            parent.fill(seed: 1)
            // 5 MiB and a bit in reads of 1 MiB, at an odd place.
            let length = 5 << 20 + 333
            _ = parent.rail.submit([
                .export(
                    token: 9,
                    .memory(region: parent.rail.regions[0], offset: 77, lengthBytes: UInt64(length)),
                    to: link.parent)
            ])
            let export = try parent.export(9)
            #expect(
                parent.rail.submit([
                    .send(
                        .grant(
                            session: 1, piece: PieceIndex(0), key: export.key, lengthBytes: UInt32(length),
                            leaseMs: 1000),
                        on: link.parent)
                ]))
            let granted = try #require(
                child.await {
                    if case .message(link.child, .grant(_, _, let key, _, _)) = $0 { key } else { nil }
                })
            #expect(granted == export.key)
            _ = child.rail.submit([
                .read(
                    PieceRead(
                        link: link.child, key: granted, region: child.rail.regions[0], localOffset: 5,
                        lengthBytes: UInt64(length), tag: 42))
            ])
            let end = child.await {
                if case .readCompleted(42, link.child, let failure) = $0 { .some(failure) } else { nil }
            }
            #expect(end == .some(nil))
            #expect(isSame(child.contents(5, length), parent.contents(77, length)))
            #expect(child.rail.submit([.send(.release(session: 1, piece: PieceIndex(0)), on: link.child)]))
            #expect(
                parent.await { if case .message(link.parent, .release) = $0 { true } else { nil } } != nil)
            _ = parent.rail.submit([.revoke(export.id)])
            #expect(parent.await { if case .exportRetired(export.id) = $0 { true } else { nil } } != nil)
            _ = child.rail.submit([
                .read(
                    PieceRead(
                        link: link.child, key: granted, region: child.rail.regions[0], localOffset: 0,
                        lengthBytes: 3 << 20, tag: 43))
            ])
            let denied = child.await {
                if case .readCompleted(43, _, let failure) = $0 { failure } else { nil }
            }
            #expect(denied == .accessDenied)
            #expect(child.count { if case .readCompleted = $0 { true } else { false } } == 2)
            #expect(child.rail.counters.transport.readsCompleted == 6)
        }
    }

    @Test func morePiecesThanThePortTakesWaitTheirTurn() throws {
        try withRails { child, parent in
            let link = try linkUp(child, parent)
            parent.fill(seed: 2)
            _ = parent.rail.submit([
                .export(
                    token: 1, .memory(region: parent.rail.regions[0], offset: 0, lengthBytes: 8 << 20),
                    to: link.parent)
            ])
            let export = try parent.export(1)
            // 200 pieces of 4 reads each, 64 reads at a time at most.
            let pieces = (0..<200).map { piece in
                RailCommand.read(
                    PieceRead(
                        link: link.child, key: export.key, remoteOffset: UInt64(piece % 2) << 22,
                        region: child.rail.regions[0],
                        localOffset: UInt64(piece % 2) << 22, lengthBytes: 4 << 20, tag: UInt64(piece)))
            }
            #expect(child.rail.submit(pieces))
            for piece in 0..<200 {
                let end = child.await {
                    if case .readCompleted(UInt64(piece), _, let failure) = $0 { .some(failure) } else { nil }
                }
                #expect(end == .some(nil))
            }
            #expect(isSame(child.contents(0, 8 << 20), parent.contents(0, 8 << 20)))
            #expect(child.rail.counters.piecesReading == 0)
        }
    }

    @Test func closingEndsEveryPieceOnceAndThenTheLink() throws {
        try withRails { child, parent in
            let link = try linkUp(child, parent)
            _ = parent.rail.submit([
                .export(
                    token: 1, .memory(region: parent.rail.regions[0], offset: 0, lengthBytes: 8 << 20),
                    to: link.parent)
            ])
            let export = try parent.export(1)
            let reads = (0..<300).map {
                RailCommand.read(
                    PieceRead(
                        link: link.child, key: export.key, region: child.rail.regions[0], localOffset: 0,
                        lengthBytes: 8 << 20,
                        tag: UInt64($0)))
            }
            #expect(child.rail.submit(reads + [.close(link.child)]))
            let reason = child.await {
                if case .linkDown(link.child, let error) = $0 { error.code } else { nil }
            }
            #expect(reason == .linkClosed)
            let events = child.events
            var ends: [UInt64: TransportError.Code?] = [:]
            for event in events {
                guard case .readCompleted(let tag, _, let failure) = event else { continue }
                #expect(ends.updateValue(failure, forKey: tag) == nil)
            }
            #expect(ends.count == 300)
            // Beyond 256 queued pieces the bound says no at once.
            #expect(ends.values.filter { $0 == .limit }.count == 300 - 256)
            guard case .linkDown = events.last else {
                Issue.record("\(events.last as Any) followed linkDown")
                return
            }
            // Later reads and exports are answered too.
            _ = child.rail.submit([
                reads[0],
                .export(
                    token: 5, .memory(region: child.rail.regions[0], offset: 0, lengthBytes: 1),
                    to: link.child),
                .send(.ping(nonce: 1), on: link.child),
            ])
            let refused = child.await {
                if case .exported(5, .failure(let error)) = $0 { error.code } else { nil }
            }
            #expect(refused == .linkClosed)
            let late = child.events.reversed().first { if case .readCompleted = $0 { true } else { false } }
            guard case .readCompleted(0, _, .linkClosed) = late else {
                Issue.record("a read on a gone link was not answered")
                return
            }
        }
    }

    @Test func aConnectThatCannotBeginIsAnswered() throws {
        try withRails { child, _ in
            _ = child.rail.submit([
                .connect(token: 3, to: TransportAddress(text: "tcp:not-numeric:1")!, deadlineNs: .max),
                .connect(
                    token: 4, to: TransportAddress(text: "tcp:127.0.0.1:1")!,
                    deadlineNs: MonotonicClock.nowNs() + 5_000_000_000),
            ])
            let failed = child.await { if case .connectFailed(3, let error) = $0 { error.code } else { nil } }
            #expect(failed == .badAddress)
            let link = try #require(
                child.await { if case .connecting(4, let link) = $0 { link } else { nil } })
            let down = child.await { if case .linkDown(link, let error) = $0 { error.code } else { nil } }
            #expect(down == .refused)
        }
    }

    @Test func anIdleRailSleeps() throws {
        try withRails { child, parent in
            let link = try linkUp(child, parent)
            // After a ping has come and gone nothing is left to do: turns stand still.
            _ = child.rail.submit([.send(.ping(nonce: 5), on: link.child)])
            #expect(parent.await { if case .message(_, .ping(5)) = $0 { true } else { nil } } != nil)
            usleep(300_000)
            let before = child.rail.counters.turns
            usleep(300_000)
            #expect(child.rail.counters.turns - before < 20)
        }
    }

    @Test func aMailboxThatIsFullTakesNothing() throws {
        let host = try RailHost("solo", mailbox: 10)
        defer { host.close() }
        #expect(!host.rail.submit((0..<11).map { .revoke(ExportID(UInt64($0))) }))
        #expect(host.rail.submit((0..<10).map { .revoke(ExportID(UInt64($0))) }))
    }

    @Test func afterShutdownNothingIsTakenAndTheLastEventIsShutDown() throws {
        let host = try RailHost("solo")
        host.close()
        host.close()
        #expect(!host.rail.submit([.revoke(ExportID(1))]))
        guard case .shutDown = host.events.last else {
            Issue.record("the last event is \(host.events.last as Any)")
            return
        }
    }

    @Test func aTransportThatCannotBeMadeFailsTheStart() throws {
        let error = #expect(throws: TransportError.self) { _ = try RailHost("solo", listen: "nowhere") }
        #expect(error?.code == .badAddress)
    }

    private func withRails(_ body: (RailHost, RailHost) throws -> Void) throws {
        let child = try RailHost("child")
        defer { child.close() }
        let parent = try RailHost("parent")
        defer { parent.close() }
        try body(child, parent)
    }

    private func linkUp(_ child: RailHost, _ parent: RailHost) throws -> (child: LinkID, parent: LinkID) {
        _ = child.rail.submit([
            .connect(token: 1, to: parent.rail.address!, deadlineNs: MonotonicClock.nowNs() + 20_000_000_000)
        ])
        let link = try #require(child.await { if case .connecting(1, let link) = $0 { link } else { nil } })
        let peer = try #require(
            child.await { if case .linkUp(link, let peer, false) = $0 { peer } else { nil } })
        #expect(peer.host.name == "parent")
        let inbound = try #require(
            parent.await { if case .linkUp(let link, _, true) = $0 { link } else { nil } })
        return (link, inbound)
    }
}

/// A rail over TCP with 8 MiB of memory, and everything it reported.
final class RailHost {
    let rail: RailHandle
    let memory: SharedMemory
    private let log = EventLog()

    init(_ name: String, listen: String = "127.0.0.1:0", mailbox: Int = 65_536) throws {
        memory = try SharedMemory(name: "rail", lengthBytes: 8 << 20)
        let log = log
        let identity = LinkIdentity(host: HostID(name)!, incarnation: 1, cluster: "test")
        rail = try RailHandle.start(
            RailConfiguration(name: name, mailboxCommandsMax: mailbox),
            memory: [
                RegionMemory(
                    base: memory.base, lengthBytes: memory.lengthBytes, backing: (memory.descriptor, 0))
            ],
            transport: { () throws(TransportError) in
                try TCPTransport(TCPConfiguration(identity: identity, listen: listen))
            },
            sink: { log.append($0) })
    }

    var events: [RailEvent] { log.all }

    func fill(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        for offset in stride(from: 0, to: memory.lengthBytes, by: 8) {
            memory.base.storeBytes(of: generator.next(), toByteOffset: offset, as: UInt64.self)
        }
    }

    func contents(_ offset: Int, _ length: Int) -> [UInt8] {
        Array(UnsafeRawBufferPointer(start: memory.base + offset, count: length))
    }

    /// Waits for an event, looking at all there were; nil when none comes within a generous limit.
    func await<Found>(_ find: (RailEvent) -> Found?) -> Found? {
        let giveUpNs = MonotonicClock.nowNs() + 30_000_000_000
        while MonotonicClock.nowNs() < giveUpNs {
            for event in log.all { if let found = find(event) { return found } }
            usleep(500)
        }
        return nil
    }

    func count(_ isCounted: (RailEvent) -> Bool) -> Int { log.all.filter(isCounted).count }

    func export(_ token: UInt64) throws -> Export {
        try #require(
            self.await { if case .exported(token, let result) = $0 { try? result.get() } else { nil } })
    }

    func close() { rail.shutdown() }
}

final class EventLog: Sendable {
    private let events = Mutex<[RailEvent]>([])
    func append(_ more: ArraySlice<RailEvent>) { events.withLock { $0 += more } }
    var all: [RailEvent] { events.withLock { $0 } }
}
