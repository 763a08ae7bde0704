import System
import Testing
import Transport

@testable import Bandwidth

/// The gate on what moving a byte costs, in counts: they are the same on a slow machine and on a busy one, and in a debug
/// build, so they may fail a build. Times never do.
@Suite(.serialized) struct CountTests {
    private func measure(_ kind: TransportKind) throws -> BenchResult {
        var options = BenchServer.Options()
        options.listen = "127.0.0.1:0"
        options.isForOneSession = true
        let server = try BenchServer(options)
        let thread = try PinnedThread(name: "server") { server.run { _ in } }
        defer {
            server.stop()
            thread.join()
        }
        var plan = BenchPlan()
        plan.hosts = [server.address]
        plan.transports = [kind]
        plan.sizes = [4 << 20]
        plan.depths = [4]
        plan.memoryBytes = 64 << 20
        plan.bytes = 256 << 20
        plan.repetitions = 1
        plan.measuresLimits = false
        return try BenchClient(plan, shouldStop: { false }, live: { _ in }).run().results[0]
    }

    /// The kernel's copy out of its buffers is the only one; frames' heads and what comes with them are below a hundredth.
    @Test func tcpCopiesEachByteOnce() throws {
        let result = try measure(.tcp)
        #expect(result.copiesPerByte > 0.9 && result.copiesPerByte < 1.1, "\(result.copiesPerByte) copies a byte")
    }

    /// A receive brings 32 KiB at least, a send 32 KiB: a loop by pages would need eight times as many.
    @Test func tcpNeedsFewCallsAByte() throws {
        let result = try measure(.tcp)
        #expect(result.syscallsReading < 4 * 32_768, "\(result.syscallsReading) calls a GiB")
        #expect(result.syscallsServing < 4 * 32_768, "\(result.syscallsServing) calls a GiB")
    }

    /// The source's process does nothing for bytes that a reader on the same machine copies out of the page cache.
    @Test func theSameHostCostsItsSourceNothing() throws {
        let result = try measure(.local)
        #expect(result.copiesPerByte > 0.9 && result.copiesPerByte < 1.1, "\(result.copiesPerByte) copies a byte")
        #expect(result.syscallsServing < 64, "\(result.syscallsServing) calls a GiB")
    }
}
