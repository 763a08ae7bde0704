import System
import Testing

@testable import Bandwidth

/// Observations as made situations give them; the situations themselves are made in Tests/process/test_bench.py.
@Suite struct VerdictTests {
    private func usage(_ threads: [(String, run: Double, wait: Double)], cpus: Int = 8) -> Usage {
        var usage = Usage()
        usage.atNs = 1_000_000_000
        usage.cpuCount = cpus
        for (place, thread) in threads.enumerated() {
            usage.threads.append(
                ThreadUsage(
                    id: place, name: thread.0, runNs: UInt64(thread.run * 1e9), waitNs: UInt64(thread.wait * 1e9)))
        }
        return usage
    }

    private func observation(read: Double = 0.3, serve: Double = 0.3) -> Observation {
        var seen = Observation()
        seen.bytesPerSecond = 1e9
        seen.reading = usage([("bench-read", read, 0)])
        seen.serving = usage([("bench-serve", serve, 0)])
        seen.serving.tcp.busyUs = 900_000
        seen.serving.tcp.segmentBytes = 8948
        return seen
    }

    private func first(_ seen: Observation) -> Finding.Code { Verdict.findings(seen)[0].code }

    @Test func aFullReaderIsNamed() { #expect(first(observation(read: 0.97, serve: 0.6)) == .readingCore) }
    @Test func aFullSourceIsNamed() { #expect(first(observation(read: 0.6, serve: 0.97)) == .servingCore) }
    @Test func twoIdleSidesBlameTheNetwork() { #expect(first(observation()) == .network) }

    @Test func oneProcessorForAll() {
        var seen = observation()
        seen.reading = usage([("bench-read", 0.5, 0.5)], cpus: 1)
        #expect(first(seen) == .sharedProcessor)
    }

    @Test func aProcessorThatOthersUse() {
        var seen = observation()
        seen.reading = usage([("bench-read", 0.5, 0.4)])
        #expect(first(seen) == .sharedProcessor)
    }

    @Test func hashingIsNamedBeforeTheReader() {
        var seen = observation()
        seen.point.verifies = true
        seen.reading = usage([("bench-verify", 0.99, 0), ("bench-read", 0.4, 0)])
        #expect(first(seen) == .verification)
    }

    @Test func cappedBuffersAreNamedThoughACoreIsFull() {
        var seen = observation(read: 0.95)
        seen.serving.tcp.windowLimitedUs = 600_000
        #expect(first(seen) == .readingCore)
        seen.socketBufferBytesMax = 64 << 10
        #expect(first(seen) == .socketBuffers)
    }

    @Test func thePortIsNamed() {
        var seen = observation()
        seen.limits.lineRate = 1.05e9
        #expect(first(seen) == .lineRate)
    }

    @Test func lossesAreNamed() {
        var seen = observation()
        seen.serving.tcp.retransmittedSegments = 5000
        #expect(first(seen) == .losses)
    }

    @Test func tooLittleUnderWay() {
        var seen = observation()
        (seen.point.depth, seen.point.messageBytes) = (1, 65_536)
        #expect(first(seen) == .tooFewRequests)
    }

    @Test func smallPacketsAreToldBeside() {
        var seen = observation(read: 0.97)
        seen.limits.mtuBytes = 1024
        seen.serving.tcp.segmentBytes = 972
        #expect(Verdict.findings(seen).map(\.code) == [.readingCore, .smallPackets])
        #expect(Verdict.findings(seen)[1].sentence.contains("MTU 1024"))
    }

    @Test func memoryThatCannotBePinnedComesFirst() {
        var seen = observation()
        seen.pinningObjection = "cannot register 1 GiB with mlx5_0: the memlock limit (64 KiB) is too low"
        #expect(first(seen) == .lockedMemory)
        seen.point.transport = .rdma
        #expect(first(seen) != .lockedMemory)
    }

    @Test func aSlowDiskIsNamed() {
        var seen = observation()
        seen.diskShare = 0.8
        #expect(first(seen) == .disk)
    }

    @Test func nothingKnownIsSaid() { #expect(first(Observation()) != .readingCore) }
}
