import CVerbs
import Testing
import Verbs
import VerbsDouble

/// What real devices do not do on demand: each script, seen through the room.
@Suite struct DoubleScriptTests {
    let double = VerbsDouble()

    func ends() throws -> (Endpoint, Endpoint) {
        let source = try Endpoint(double.library, "double0")
        let reader = try Endpoint(double.library, "double1", access: .localWrite)
        try Endpoint.join(source, reader)
        source.pattern(seed: 3)
        return (source, reader)
    }

    func post(_ count: Int, _ source: Endpoint, _ reader: Endpoint) -> PostOutcome {
        var list = SendList(capacity: count)
        for index in 0..<count {
            list.appendRead(
                localAddress: reader.region.address + UInt64(index * 4096), lengthBytes: 4096,
                localKey: reader.region.localKey, remoteAddress: source.region.address + UInt64(index * 4096),
                remoteKey: source.region.remoteKey, id: UInt64(index), isSignaled: true)
        }
        return reader.pair!.post(&list)
    }

    /// What has completed by now.
    func arrived(_ end: Endpoint) throws -> [WorkCompletion] {
        try withUnsafeTemporaryAllocation(of: WorkCompletion.self, capacity: 64) { buffer in
            Array(buffer.prefix(try end.queue.poll(into: buffer)))
        }
    }

    @Test func heldReadsLandLate() throws {
        let (source, reader) = try ends()
        double.hold("double1")
        _ = post(3, source, reader)
        #expect(try arrived(reader).isEmpty)
        #expect(double.heldCount("double1") == 3)
        #expect(!reader.holdsPattern(seed: 3, count: 4096))
        double.release("double1", countMax: 1)
        #expect(try arrived(reader).map(\.id) == [0])
        #expect(reader.holdsPattern(seed: 3, count: 4096) && !reader.holdsPattern(seed: 3, count: 8192))
        double.release("double1")
        #expect(try arrived(reader).map(\.id) == [1, 2])
    }

    @Test func flushesComeInOddOrder() throws {
        let (source, first) = try ends()
        let second = try QueuePair(in: first.domain, on: first.queue, sendRequestsMax: 8)
        let peer = try QueuePair(in: source.domain, on: source.queue, sendRequestsMax: 8)
        try second.initialise(port: 1, access: [])
        try peer.initialise(port: 1, access: .remoteRead)
        let path = PathSettings(port: 1, gidIndex: 1, remoteGID: source.gid.gid, pathMTU: .bytes4096)
        try second.readyToReceive(path: path, remoteNumber: peer.number, remotePSN: 1, maxReadsServed: 1)
        try second.readyToSend(psn: 1, maxReadsInitiated: 1)
        double.hold("double1")
        _ = post(2, source, first)
        var list = SendList(capacity: 2)
        for id in [10, 11] as [UInt64] {
            list.appendRead(
                localAddress: first.region.address, lengthBytes: 1, localKey: first.region.localKey,
                remoteAddress: source.region.address, remoteKey: source.region.remoteKey, id: id, isSignaled: false)
        }
        _ = second.post(&list)
        try first.pair!.fail()
        try second.fail()
        #expect(try arrived(first).isEmpty)
        double.release("double1", order: .interleaved)
        let done = try arrived(first)
        // Unsignalled ones come too, since they failed; within a queue pair the order is that of posting.
        #expect(done.map(\.id) == [10, 0, 11, 1])
        #expect(done.allSatisfy { $0.status == .flushed })
    }

    @Test func aPartialPostingLeavesTheRestInTheList() throws {
        let (source, reader) = try ends()
        double.failPosting(on: "double1", taken: 2)
        var list = SendList(capacity: 5)
        for index in 0..<5 {
            list.appendRead(
                localAddress: reader.region.address, lengthBytes: 64, localKey: reader.region.localKey,
                remoteAddress: source.region.address, remoteKey: source.region.remoteKey, id: UInt64(index),
                isSignaled: true)
        }
        let outcome = reader.pair!.post(&list)
        #expect(outcome == PostOutcome(posted: 2, errorNumber: ENOMEM) && outcome.isFull)
        #expect(list.count == 3 && list.room == 0)
        #expect(try arrived(reader).map(\.id) == [0, 1])
        let rest = reader.pair!.post(&list)
        #expect(rest == PostOutcome(posted: 3, errorNumber: 0) && list.room == 5)
        #expect(try arrived(reader).map(\.id) == [2, 3, 4])
    }

    @Test func registrationFailsHalfWay() throws {
        let end = try Endpoint(double.library, "double0")
        double.fail(.register, on: "double0", nth: 2, errorNumber: EFAULT)
        var count = 0
        do {
            let first = try MemoryRegion(in: end.domain, base: end.memory, lengthBytes: 64, access: .remoteRead)
            count += 1
            let second = try MemoryRegion(in: end.domain, base: end.memory, lengthBytes: 64, access: .remoteRead)
            _ = (first.localKey, second.localKey)
        } catch {
            #expect(error.code == .invalid)
        }
        #expect(count == 1)
        // The one that worked was given back.
        #expect(double.census("double0").regions == 1)
        double.fail(.register, on: "double0", errorNumber: ENOSPC)
        do {
            _ = try MemoryRegion(in: end.domain, base: end.memory, lengthBytes: 64, access: .remoteRead)
            Issue.record("the device has no region left")
        } catch {
            #expect(error.code == .exhausted && error.sentence.contains("64 bytes with double0"))
        }
    }

    @Test func relaxedOrderingIsAWish() throws {
        var settings = DoubleDevice("strict0", host: 7)
        settings.refusesRelaxedOrdering = true
        double.add(settings)
        let strict = try Endpoint(double.library, "strict0", access: [.localWrite, .relaxedOrdering])
        let other = try Endpoint(double.library, "double0", access: [.localWrite, .relaxedOrdering])
        #expect(strict.region.access == .localWrite)
        #expect(other.region.access == [.localWrite, .relaxedOrdering])
    }

    @Test func aStuckQueuePairSaysNothing() throws {
        let (source, reader) = try ends()
        double.stick(queuePair: reader.number)
        _ = post(1, source, reader)
        try reader.pair!.fail()
        #expect(try arrived(reader).isEmpty)
        double.unstick(queuePair: reader.number)
        #expect(try arrived(reader).map(\.status) == [.flushed])
        double.stick(queuePair: reader.number)
        _ = post(2, source, reader)
        try reader.pair.take()?.close()
        #expect(try arrived(reader).isEmpty)
        #expect(double.census("double1").forgotten == 2)
    }

    @Test func aDownPortIsAnnouncedAndReachesNobody() throws {
        let (source, reader) = try ends()
        double.setPort("double0", isUp: false)
        let down = try #require(try source.device.nextAsyncEvent())
        #expect(down.kind == .portError && down.port == 1)
        #expect(try source.device.nextAsyncEvent() == nil)
        #expect(try reader.device.nextAsyncEvent() == nil)
        #expect(try !source.device.port(1).isActive)
        _ = post(1, source, reader)
        #expect(try arrived(reader).map(\.status) == [.retriesExceeded])
        double.setPort("double0", isUp: true)
        #expect(try source.device.nextAsyncEvent()?.kind == .portActive)
    }

    @Test func aChangedAddressReachesNobody() throws {
        let (source, reader) = try ends()
        double.setAddresses("double0", [GIDEntry(index: 1, gid: GID(ipv4: 10, 77, 0, 99), kind: .roceV2)])
        #expect(try source.device.nextAsyncEvent()?.kind == .gidChange)
        _ = post(1, source, reader)
        #expect(try arrived(reader).map(\.status) == [.retriesExceeded])
        #expect(try source.device.gids(port: 1).map(\.gid) == [GID(ipv4: 10, 77, 0, 99)])
    }

    @Test func aSilentDeviceIsKnownByRetries() throws {
        let (source, reader) = try ends()
        double.setSilent("double0", true)
        _ = post(1, source, reader)
        #expect(try arrived(reader).map(\.status) == [.retriesExceeded])
        #expect(try source.device.nextAsyncEvent() == nil)
    }

    @Test func aRemovedDeviceFlushesAndAnswersNothingMore() throws {
        do {
            let (source, reader) = try ends()
            double.hold("double1")
            _ = post(2, source, reader)
            double.remove("double1")
            double.release("double1")
            #expect(try reader.device.nextAsyncEvent()?.kind == .deviceFatal)
            do {
                _ = try reader.device.port(1)
                Issue.record("a removed device has no port")
            } catch { #expect(error.code == .gone) }
            #expect(try double.library.deviceNames().map(\.name) == ["double0"])
            let outcome = post(1, source, reader)
            #expect(outcome.posted == 0 && !outcome.isFull)
            do {
                _ = try double.library.open("double1")
                Issue.record("a removed device cannot be opened")
            } catch { #expect(error.code == .noDevice) }
            // Plugged in again it is another one, to be opened anew.
            double.add(DoubleDevice("double1", host: 2))
            let again = try Endpoint(double.library, "double1", access: .localWrite)
            let fresh = try Endpoint(double.library, "double0")
            try Endpoint.join(fresh, again)
            fresh.pattern(seed: 8)
            _ = post(1, fresh, again)
            #expect(try arrived(again).map(\.status) == [.success])
            #expect(again.holdsPattern(seed: 8, count: 4096))
        }
        #expect(double.census("double1").isEmpty)
    }

    @Test func removalFlushesWhatIsPosted() throws {
        let (source, reader) = try ends()
        double.hold("double1")
        _ = post(2, source, reader)
        double.remove("double1")
        #expect(try arrived(reader).isEmpty)
        double.release("double1")
        #expect(try arrived(reader).map(\.status) == [.flushed, .flushed])
    }

    @Test func theDeviceStopsAQueuePair() throws {
        let (source, reader) = try ends()
        double.breakQueuePair(reader.number)
        let event = try #require(try reader.device.nextAsyncEvent())
        #expect(event.kind == .queuePairFatal && event.queuePairNumber == reader.number)
        _ = post(1, source, reader)
        #expect(try arrived(reader).map(\.status) == [.flushed])
    }

    @Test func aRequestEndsAsScripted() throws {
        let (source, reader) = try ends()
        double.endNext(queuePair: reader.number, with: .remoteOperation)
        _ = post(2, source, reader)
        #expect(try arrived(reader).map(\.status) == [.remoteOperation, .flushed])
    }

    @Test func anOverrunQueueIsAnError() throws {
        let source = try Endpoint(double.library, "double0")
        let reader = try Endpoint(double.library, "double1", entries: 2, access: .localWrite)
        try Endpoint.join(source, reader)
        _ = post(3, source, reader)
        #expect(throws: VerbsError.self) { try arrived(reader) }
        #expect(try reader.device.nextAsyncEvent()?.kind == .completionQueueError)
    }

    @Test(arguments: [VerbsDouble.Call.open, .makeDomain, .makeQueue, .makePair, .modifyPair])
    func callsFailAndNothingStaysOpen(_ call: VerbsDouble.Call) throws {
        double.fail(call, on: "double0", errorNumber: ENOMEM)
        do {
            _ = try Endpoint(double.library, "double0")
            Issue.record("\(call) was to fail")
        } catch {
            #expect((error as? VerbsError)?.code == .exhausted)
        }
        #expect(double.census("double0").isEmpty)
        _ = try Endpoint(double.library, "double0")
    }
}
