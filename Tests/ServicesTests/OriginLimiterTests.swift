import Synchronization
import System
import Testing

@testable import PeerService

@Suite struct OriginLimiterTests {
    private let nobody = ObjectIdentifier(OriginLimiterTests.self)

    @Test func withoutAShareNothingIsLimited() async {
        let limiter = OriginLimiter()
        #expect(limiter.bytes(upTo: 1 << 30, of: nobody, more: {}) == 1 << 30)
        #expect(await limiter.enter(isTransfer: true, isGivenUp: { false }))
        limiter.leave()
    }

    @Test func bytesComeNoFasterThanTheSumOfTheShares() async throws {
        let limiter = OriginLimiter()
        limiter.set(.init(bytesPerSecond: 300_000), of: "a")
        limiter.set(.init(bytesPerSecond: 100_000), of: "b")
        #expect(limiter.limit.bytesPerSecond == 400_000)
        let began = MonotonicClock.nowNs()
        var taken = 0
        while taken < 200_000 {
            let (told, more) = AsyncStream<Void>.makeStream()
            let now = limiter.bytes(upTo: 200_000 - taken, of: nobody, more: { more.finish() })
            taken += now
            if taken < 200_000 { for await _ in told {} }
        }
        // A bucket begins empty: half a second at least, however slow the machine.
        #expect(MonotonicClock.nowNs() - began >= 490_000_000)
        // Lifted: whoever asks gets all.
        limiter.set(.init(), of: "a")
        limiter.set(.init(), of: "b")
        #expect(limiter.bytes(upTo: 1 << 30, of: nobody, more: {}) == 1 << 30)
    }

    @Test func transfersAreCounted() async {
        let limiter = OriginLimiter()
        limiter.set(.init(connections: 1), of: "a")
        #expect(await limiter.enter(isTransfer: true, isGivenUp: { false }))
        // Questions are no transfers.
        #expect(await limiter.enter(isTransfer: false, isGivenUp: { false }))
        let isGivenUp = Atomic(false)
        let second = Task { await limiter.enter(isTransfer: true, isGivenUp: { false }) }
        async let third = limiter.enter(isTransfer: true, isGivenUp: { isGivenUp.load(ordering: .relaxed) })
        isGivenUp.store(true, ordering: .relaxed)
        #expect(await third == false, "it was given up before its turn")
        limiter.leave()
        #expect(await second.value)
    }

    @Test func requestsWaitForTheirTurn() async {
        let limiter = OriginLimiter()
        // Twenty a second.
        limiter.set(.init(requestsPerKilosecond: 20_000), of: "a")
        let began = MonotonicClock.nowNs()
        for _ in 0..<8 { #expect(await limiter.enter(isTransfer: false, isGivenUp: { false })) }
        #expect(MonotonicClock.nowNs() - began >= 390_000_000)
        let never = OriginLimiter()
        never.set(.init(requestsPerKilosecond: 1), of: "a")
        let isGivenUp = Atomic(false)
        async let waiting = never.enter(isTransfer: false, isGivenUp: { isGivenUp.load(ordering: .relaxed) })
        isGivenUp.store(true, ordering: .relaxed)
        #expect(await waiting == false)
    }
}
