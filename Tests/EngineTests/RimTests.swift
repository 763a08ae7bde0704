import Artifacts
import ControlAPI
import Digests
@testable import Engine
import Foundation
import HTTP
import Memory
import Origins
import RPC
import Swarm
import Synchronization
import Testing
import Workers

@testable import PeerService

/// What stands between the engine and the async rim.
@Suite struct RimTests {
    @Test func aStoppedPoolRefusesInsteadOfWaitingForEver() async throws {
        let workers = try WorkerPool(WorkerConfiguration(name: "w", threadCount: 1, queueLimit: 1))
        let blocking = BlockingPool(workers)
        #expect(try await blocking.run { 42 } == 42)
        blocking.stop()
        workers.stop()
        do {
            _ = try await blocking.run { 43 }
            Issue.record("a stopped pool ran a job")
        } catch { #expect(error.status == .unavailable) }
    }

    @Test func theOutboxGathersKeptPiecesAndEndsItsTaker() async throws {
        let outbox = SchedulerOutbox()
        let task = TaskID(Digests.sha256([1]))
        // Nobody is attached: nothing is kept.
        outbox.put(SchedulerUplink.forgot(task).wire)
        outbox.open()
        for piece in 0..<3 { outbox.put(SchedulerUplink.kept(task, PieceIndex(piece), nil).wire) }
        outbox.put(SchedulerUplink.forgot(task).wire)
        let messages = try #require(await outbox.take())
        #expect(messages.count == 2)
        guard case .kept(let kept)? = messages.first?.kind else {
            Issue.record("\(messages)")
            return
        }
        #expect(kept.pieces == [0, 1, 2])
        // Whoever waits is woken by news, by the end, and by being cancelled.
        async let news = outbox.take()
        outbox.put(SchedulerUplink.forgot(task).wire)
        #expect(await news?.count == 1)
        async let end = outbox.take()
        outbox.shut()
        #expect(await end == nil)
        outbox.open()
        let taker = Task { await outbox.take() }
        taker.cancel()
        #expect(await taker.value == nil)
    }

    @Test func anOverflowingOutboxEndsItsTakerAndStartsAfresh() async throws {
        let outbox = SchedulerOutbox()
        outbox.open()
        let task = TaskID(Digests.sha256([1]))
        for _ in 0..<70_000 { outbox.put(SchedulerUplink.forgot(task).wire) }
        #expect(await outbox.take() == nil)
        outbox.open()
        outbox.put(SchedulerUplink.forgot(task).wire)
        #expect(await outbox.take()?.count == 1)
    }

    @Test func fetchesThatWaitForSlotsGoOnWheneverOneIsFreed() async throws {
        let directory = NSTemporaryDirectory() + "rim-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        for name in ["a", "b"] {
            let bytes = Data(repeating: name.utf8.first!, count: 11 << 18)
            try bytes.write(to: URL(fileURLWithPath: directory + "/" + name))
        }
        let origins = try Origins(settings: OriginSettings(environment: [:]))
        defer { origins.shutdown() }
        let manifest = try await origins.resolve(ModelReference("file://" + directory)).manifest
        // One slot of 16 MiB cut in 16, of which two fetches share one.
        let arena = try Arena(
            ArenaConfiguration(name: "rim", totalBytes: 16 << 20, hugePages: .off, lock: false, prefault: false))
        let blocked = try (0..<15).map { _ in try #require(arena.take(lengthBytes: 1 << 20)) }
        let (events, sink) = AsyncStream<EngineEvent>.makeStream()
        let reader = OriginReader(origins: origins, arena: arena, limiter: OriginLimiter(), post: { sink.yield($0) })
        for index in manifest.files.indices {
            reader.fetch(
                OriginFetch(
                    lease: LeaseID(UInt64(index)), model: ModelID(Digests.sha256([0])), manifest: manifest,
                    file: FileIndex(index), pieces: 0..<3, whole: false))
        }
        let limit = Task {
            try await Task.sleep(for: .seconds(60))
            sink.finish()
        }
        var pieces = 0
        var ends = 0
        for await event in events {
            switch event {
            case .originPiece(_, _, let slot):
                pieces += 1
                arena.give(back: slot)
                reader.slotsFreed()
            case .originEnded(_, let failure):
                #expect(failure == nil)
                ends += 1
                reader.slotsFreed()
            default: break
            }
            if ends == 2 { break }
        }
        limit.cancel()
        #expect(pieces == 6 && ends == 2)
        for slot in blocked { arena.give(back: slot) }
        #expect(arena.usage.takenSlots == 0)
    }
}
