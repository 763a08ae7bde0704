import Testing
import Verbs
import VerbsDouble

/// The room above the double: what one connection does, and what its checks refuse.
@Suite struct DoubleTests {
    let double = VerbsDouble()

    func ends(readerAccess: MemoryAccess = .localWrite) throws -> (Endpoint, Endpoint) {
        let source = try Endpoint(double.library, "double0")
        let reader = try Endpoint(double.library, "double1", access: readerAccess)
        try Endpoint.join(source, reader)
        source.pattern(seed: 3)
        return (source, reader)
    }

    func read(_ list: inout SendList, _ source: Endpoint, _ reader: Endpoint, at offset: Int = 0, id: UInt64 = 1) {
        list.appendRead(
            localAddress: reader.region.address + UInt64(offset), lengthBytes: 4096, localKey: reader.region.localKey,
            remoteAddress: source.region.address + UInt64(offset), remoteKey: source.region.remoteKey, id: id,
            isSignaled: true)
    }

    @Test func aReadBringsTheBytesAndWakesTheSleeper() throws {
        let (source, reader) = try ends()
        var list = SendList(capacity: 4)
        for index in 0..<4 { read(&list, source, reader, at: index * 4096, id: UInt64(index)) }
        #expect(list.count == 4 && list.room == 0)
        let outcome = reader.pair!.post(&list)
        #expect(outcome == PostOutcome(posted: 4, errorNumber: 0))
        let done = try reader.completions(atLeast: 4)
        #expect(done.map(\.id) == [0, 1, 2, 3])
        #expect(done.allSatisfy { $0.isSuccess && $0.queuePairNumber == reader.number })
        #expect(reader.holdsPattern(seed: 3, count: 4 * 4096))
        #expect(!reader.holdsPattern(seed: 3, count: 4 * 4096 + 4096))
        let census = double.census("double1")
        #expect(census.doorbells == 1 && census.requests == 4 && census.bytesRead == 4 * 4096)
    }

    @Test func aWriteIsRefusedAndBothEndsStop() throws {
        let (source, reader) = try ends()
        var list = SendList(capacity: 2)
        list.appendWrite(
            localAddress: reader.region.address, lengthBytes: 64, localKey: reader.region.localKey,
            remoteAddress: source.region.address, remoteKey: source.region.remoteKey, id: 1, isSignaled: true)
        read(&list, source, reader, id: 2)
        _ = reader.pair!.post(&list)
        let done = try reader.completions(atLeast: 2)
        #expect(done.map(\.status) == [.remoteInvalidRequest, .flushed])
        #expect(source.holdsPattern(seed: 3, count: 64))
        let states = [try reader.pair!.state(), try source.pair!.state()]
        #expect(states == [.failed, .failed])
        let event = try #require(try source.device.nextAsyncEvent())
        #expect(event.kind == .queuePairRequest && event.queuePairNumber == source.number)
    }

    @Test func aReadOutsideTheRegionIsRefused() throws {
        let (source, reader) = try ends()
        var list = SendList(capacity: 1)
        list.appendRead(
            localAddress: reader.region.address, lengthBytes: 4096, localKey: reader.region.localKey,
            remoteAddress: source.region.address + (1 << 20) - 4095, remoteKey: source.region.remoteKey, id: 1,
            isSignaled: true)
        _ = reader.pair!.post(&list)
        #expect(try reader.completions().map(\.status) == [.remoteAccess])
    }

    @Test func aReadIntoMemoryThatMayNotBeWrittenFails() throws {
        let (source, reader) = try ends(readerAccess: .remoteRead)
        var list = SendList(capacity: 1)
        read(&list, source, reader)
        _ = reader.pair!.post(&list)
        #expect(try reader.completions().map(\.status) == [.localProtection])
    }

    @Test func unlikeSequenceNumbersReachNobody() throws {
        let source = try Endpoint(double.library, "double0")
        let reader = try Endpoint(double.library, "double1")
        try source.connect(to: reader)
        let path = PathSettings(port: 1, gidIndex: 1, remoteGID: source.gid.gid, pathMTU: .bytes4096)
        try reader.pair!.readyToReceive(path: path, remoteNumber: source.number, remotePSN: 77, maxReadsServed: 1)
        try reader.pair!.readyToSend(psn: 78, maxReadsInitiated: 1)
        var list = SendList(capacity: 1)
        read(&list, source, reader)
        _ = reader.pair!.post(&list)
        #expect(try reader.completions().map(\.status) == [.retriesExceeded])
    }

    @Test func moreReadsThanTheOtherEndServesAreRefused() throws {
        let source = try Endpoint(double.library, "double0")
        let reader = try Endpoint(double.library, "double1")
        try source.connect(to: reader, readsMax: 4)
        try reader.connect(to: source, readsMax: 8)
        var list = SendList(capacity: 1)
        read(&list, source, reader)
        _ = reader.pair!.post(&list)
        #expect(try reader.completions().map(\.status) == [.remoteInvalidRequest])
    }

    @Test func statesFollowEachOtherOrAreRefused() throws {
        let one = try Endpoint(double.library, "double0")
        var list = SendList(capacity: 1)
        read(&list, one, one)
        let early = one.pair!.post(&list)
        #expect(early.posted == 0 && !early.isComplete && !early.isFull && list.count == 1)
        #expect(throws: VerbsError.self) { try one.pair!.readyToSend(psn: 1, maxReadsInitiated: 1) }
        // No such address index.
        let path = PathSettings(port: 1, gidIndex: 9, remoteGID: one.gid.gid, pathMTU: .bytes4096)
        do {
            try one.pair!.readyToReceive(path: path, remoteNumber: 1, remotePSN: 1, maxReadsServed: 1)
            Issue.record("there is no address at index 9")
        } catch {
            #expect(error.code == .invalid)
            #expect(error.sentence.contains("queue pair \(one.number) of double0"))
        }
        try one.pair!.fail()
        let failed = try one.pair!.state()
        try one.pair!.reset()
        let fresh = try one.pair!.state()
        #expect(failed == .failed && fresh == .reset)
    }

    @Test func aQueueOfRequestsFillsUntilACompletionIsSeen() throws {
        let source = try Endpoint(double.library, "double0")
        let reader = try Endpoint(double.library, "double1", access: .localWrite, requests: 4)
        try Endpoint.join(source, reader)
        source.pattern(seed: 3)
        var list = SendList(capacity: 6)
        for index in 0..<6 { read(&list, source, reader, at: index * 4096, id: UInt64(index)) }
        let first = reader.pair!.post(&list)
        #expect(first == PostOutcome(posted: 4, errorNumber: first.errorNumber) && first.isFull)
        #expect(list.count == 2)
        #expect(try reader.completions(atLeast: 4).count == 4)
        let second = reader.pair!.post(&list)
        #expect(second == PostOutcome(posted: 2, errorNumber: 0) && list.isEmpty)
        #expect(try reader.completions(atLeast: 2).map(\.id) == [4, 5])
        #expect(reader.holdsPattern(seed: 3, count: 6 * 4096))
    }

    @Test func parentsCloseAfterTheirChildren() throws {
        do {
            let (source, reader) = try ends()
            #expect(double.census("double0").pairs == 1 && double.census("double1").regions == 1)
            let device = try double.library.open("double0")
            let domain = try ProtectionDomain(device)
            let region = try MemoryRegion(in: domain, base: source.memory, lengthBytes: 64, access: .remoteRead)
            do {
                try device.close()
                Issue.record("a device with a domain cannot be closed")
            } catch { #expect(error.code == .invalid && error.cause != nil) }
            do {
                try domain.close()
                Issue.record("a domain with a region cannot be closed")
            } catch { #expect(error.code == .invalid) }
            try region.close()
            _ = reader
        }
        #expect(double.census("double0").isEmpty && double.census("double1").isEmpty)
    }

    @Test func anArrivalBeforeArmingWakesNobody() throws {
        let (source, reader) = try ends()
        var list = SendList(capacity: 1)
        read(&list, source, reader)
        _ = reader.pair!.post(&list)
        try reader.queue.arm()
        let none = try reader.queue.consumeEvent()
        read(&list, source, reader, id: 2)
        _ = reader.pair!.post(&list)
        let one = try reader.queue.consumeEvent()
        #expect(!none && one)
        #expect(try reader.completions(atLeast: 2).count == 2)
    }

    @Test func aQueueClosesThoughItsEventsWereReadMomentsAgo() throws {
        do {
            let (source, reader) = try ends()
            var list = SendList(capacity: 1)
            for id in 0..<3 as Range<UInt64> {
                try reader.queue.arm()
                read(&list, source, reader, id: id)
                _ = reader.pair!.post(&list)
                let wasWoken = try reader.queue.consumeEvent()
                #expect(wasWoken)
            }
            #expect(try reader.completions(atLeast: 3).count == 3)
        }
        // libibverbs waits for ever for what is not acknowledged; the double refuses.
        #expect(double.census("double1").isEmpty)
    }

    @Test func doublesAreApart() throws {
        let other = VerbsDouble([DoubleDevice("else0", host: 9)])
        #expect(try other.library.deviceNames().map(\.name) == ["else0"])
        #expect(try double.library.deviceNames().map(\.name) == ["double0", "double1"])
    }
}
