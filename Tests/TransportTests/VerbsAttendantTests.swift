import Synchronization
import System
import Testing
import Transport

@testable import TransportVerbs

/// Attendants are fair between addresses and leave no job behind.
@Suite struct VerbsAttendantTests {
    /// What jobs did, in order.
    private final class Diary: Sendable {
        private let entries = Mutex<[Int]>([])
        private let isOpen = Mutex(false)
        func note(_ entry: Int) { entries.withLock { $0.append(entry) } }
        var all: [Int] { entries.withLock { $0 } }
        func open() { isOpen.withLock { $0 = true } }
        /// Blocks as a slow neighbour does, at most ten seconds.
        func waitOpen() {
            for _ in 0..<10_000 where !isOpen.withLock({ $0 }) { MonotonicClock.sleep(ns: 1_000_000) }
        }
    }

    private static func address(_ number: UInt64) -> PeerAddress { PeerAddress(high: 0, low: number) }

    private func wait(for count: Int, _ attendant: VerbsAttendant) -> [VerbsAttendant.JobNumber: String?] {
        var done: [VerbsAttendant.JobNumber: String?] = [:]
        for _ in 0..<10_000 where done.count < count {
            for job in attendant.takeDone() { done.updateValue(job.failure, forKey: job.number) }
            MonotonicClock.sleep(ns: 1_000_000)
        }
        return done
    }

    @Test func whoBlocksIsInHisOwnWayAlone() throws {
        let attendant = try VerbsAttendant(name: "attendant", threads: 2)
        let diary = Diary()
        // Far more slow jobs than threads, all of one address.
        for number in 0..<20 {
            attendant.submit(UInt64(number), for: Self.address(1)) {
                diary.waitOpen()
                diary.note(number)
                return nil
            }
        }
        for number in 100..<110 {
            attendant.submit(UInt64(number), for: Self.address(UInt64(number))) {
                diary.note(number)
                return "failed \(number)"
            }
        }
        let others = wait(for: 10, attendant)
        #expect(Set(others.keys) == Set(100..<110))
        #expect(others[105] == "failed 105")
        #expect(diary.all.allSatisfy { $0 >= 100 })
        diary.open()
        let slow = wait(for: 20, attendant)
        #expect(Set(slow.keys) == Set(0..<20))
        // One after the other, as they were given.
        #expect(diary.all.filter { $0 < 100 } == Array(0..<20))
        attendant.stop()
    }

    @Test func whatHasNotBegunCanBeTakenBack() throws {
        let attendant = try VerbsAttendant(name: "attendant", threads: 1)
        let diary = Diary()
        attendant.submit(1, for: Self.address(1)) {
            diary.note(1)
            diary.waitOpen()
            return nil
        }
        for number in 2...4 {
            attendant.submit(UInt64(number), for: Self.address(1)) {
                diary.note(number)
                return nil
            }
        }
        for _ in 0..<10_000 where diary.all.isEmpty { MonotonicClock.sleep(ns: 1_000_000) }
        #expect(!attendant.withdraw(1, for: Self.address(1)))
        #expect(attendant.withdraw(3, for: Self.address(1)))
        #expect(!attendant.withdraw(3, for: Self.address(1)))
        #expect(!attendant.withdraw(4, for: Self.address(2)))
        diary.open()
        #expect(Set(wait(for: 3, attendant).keys) == [1, 2, 4])
        #expect(diary.all == [1, 2, 4])
        attendant.stop()
    }

    @Test func anAddressThatWasTakenBackComesAgainOnce() throws {
        let attendant = try VerbsAttendant(name: "attendant", threads: 1)
        let diary = Diary()
        attendant.submit(1, for: Self.address(1)) {
            diary.waitOpen()
            return nil
        }
        // Twice in the queue of turns.
        attendant.submit(2, for: Self.address(2)) { nil }
        #expect(attendant.withdraw(2, for: Self.address(2)))
        for number in 3...5 {
            attendant.submit(UInt64(number), for: Self.address(2)) {
                diary.note(number)
                return nil
            }
        }
        diary.open()
        #expect(Set(wait(for: 4, attendant).keys) == [1, 3, 4, 5])
        #expect(diary.all == [3, 4, 5])
        attendant.stop()
    }

    @Test func stoppingDoesWhatIsQueued() throws {
        let attendant = try VerbsAttendant(name: "attendant", threads: 3)
        let diary = Diary()
        for number in 0..<30 {
            attendant.submit(UInt64(number), for: Self.address(UInt64(number % 2))) {
                diary.note(number)
                return nil
            }
        }
        attendant.stop()
        #expect(Set(diary.all) == Set(0..<30))
        #expect(attendant.takeDone().count == 30)
    }
}
