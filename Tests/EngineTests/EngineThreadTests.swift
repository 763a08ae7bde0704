import Foundation
import Memory
import Storage
import Swarm
import System
import Testing
import Workers

@testable import Engine

/// The engine on its own thread with real workers.
@Suite struct EngineThreadTests {
    @Test func stoppingAnswersWhoAsksAndEndsTheThread() async throws {
        let directory = NSTemporaryDirectory() + "engine-thread-" + UUID().uuidString
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let store = try Store(StoreConfiguration(directory: directory, freeBytesMin: 0))
        let arena = try Arena(
            ArenaConfiguration(
                name: "thread", totalBytes: 32 << 20, hugePages: .off, lock: false, prefault: false))
        let workers = try WorkerPool(WorkerConfiguration(name: "w", threadCount: 2, queueLimit: 64))
        let mailbox = try EngineMailbox()
        let engine = try Engine(name: "engine", mailbox: mailbox) {
            Interpreter(
                configuration: EngineConfiguration(
                    host: .init("me")!, isSeed: false, download: DownloadSettings(), upload: .peer,
                    seed: 1),
                rails: [RecordingRail()], dialing: [:], arena: arena, store: store, workers: workers,
                scheduler: RecordingScheduler(), origin: HeldOrigin(), totals: EngineTotalsBox(),
                post: mailbox.post, log: { _ in })
        }
        #expect(await engine.ask { $0.downloads.count } == 0)
        await withCheckedContinuation { continuation in
            Thread.detachNewThread {
                engine.stop()
                engine.stop()
                continuation.resume()
            }
        }
        #expect(await engine.ask { $0.downloads.count } == nil)
        workers.stop()
        try store.close()
    }
}
