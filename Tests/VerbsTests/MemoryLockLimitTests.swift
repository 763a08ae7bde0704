import Testing
import Verbs

@Suite struct MemoryLockLimitTests {
    @Test func tooLowALimitIsSaidWithItsRemedy() throws {
        let limit = MemoryLockLimit(limitBytes: 8 << 20, isLifted: false, pinnedBytes: 0)
        let objection = try #require(limit.objection(toPinning: 1 << 30, on: "mlx5_0"))
        #expect(objection.code == .memoryLock)
        #expect(
            objection.sentence
                == "cannot register 1 GiB with mlx5_0: the memlock limit (8 MiB) is too low for pinned memory; "
                + "raise it (LimitMEMLOCK=infinity, docker --ulimit memlock=-1)")
        #expect(limit.objection(toPinning: 8 << 20, on: "mlx5_0") == nil)
    }

    @Test func whatIsPinnedCounts() throws {
        let limit = MemoryLockLimit(limitBytes: 8 << 20, isLifted: false, pinnedBytes: 6 << 20)
        let objection = try #require(limit.objection(toPinning: 2 << 20 | 1, on: "rxe0"))
        #expect(objection.sentence.contains("6 MiB are pinned already"))
        #expect(limit.objection(toPinning: 2 << 20, on: "rxe0") == nil)
        #expect(limit.objection(toPinning: .max, on: "rxe0") != nil)
    }

    @Test func noLimitAndACapabilityLiftIt() {
        #expect(
            MemoryLockLimit(limitBytes: nil, isLifted: false, pinnedBytes: 1).objection(toPinning: .max, on: "x") == nil
        )
        #expect(
            MemoryLockLimit(limitBytes: 1, isLifted: true, pinnedBytes: 1).objection(toPinning: 1 << 40, on: "x") == nil
        )
    }

    @Test func thisProcessHasValues() {
        let limit = MemoryLockLimit.current()
        #expect(limit.pinnedBytes < 1 << 50)
    }
}
