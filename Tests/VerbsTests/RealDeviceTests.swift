import Foundation
import System
import Testing
import Verbs

/// What the machine has: none where there is no RDMA.
enum RealDevices {
    static let library = try? VerbsLibrary.load()
    static let names: [String] =
        (try? library?.deviceNames())?.filter { $0.wire == .infiniBand }.map(\.name).sorted() ?? []
    /// `MARTLET_RDMA=required`: devices are known to be there.
    static let areRequired = ProcessInfo.processInfo.environment["MARTLET_RDMA"] == "required"
    /// A guest of the rxe lane, whose interfaces may be changed.
    static let isGuest = ProcessInfo.processInfo.environment["MARTLET_GUEST"] != nil
    /// Two ends: two devices joined by a wire where there are, else one twice.
    static var ends: (String, String) { (names[0], names.count > 1 ? names[1] : names[0]) }
}

@Suite struct RequiredDeviceTests {
    @Test func devicesAreThereWhereTheyAreRequired() {
        #expect(!RealDevices.areRequired || !RealDevices.names.isEmpty, "MARTLET_RDMA=required, and no RDMA device")
    }
}

/// On the RDMA devices the machine has (hardware, or rxe as in the test guest).
@Suite(.serialized, .enabled(if: !RealDevices.names.isEmpty, "no RDMA device here; the rxe lane runs this"))
struct RealDeviceTests {
    let library = RealDevices.library!

    @Test func aDeviceSaysWhatItCan() throws {
        let device = try library.open(RealDevices.ends.0)
        #expect(device.attributes.portCount >= 1)
        #expect(device.attributes.isSoft == (device.name.hasPrefix("rxe") || device.name.hasPrefix("siw")))
        #expect(device.attributes.regionBytesMax > 1 << 30)
        #expect(device.attributes.readsInitiatedMax >= 1)
        let port = try device.port(1)
        #expect(port.isActive)
        #expect(port.activeMTU >= .bytes1024)
        #expect(port.gigabitsPerSecond > 0)
        #expect(port.messageBytesMax >= 1 << 20)
        #expect(try !device.gids(port: 1).isEmpty)
        #expect(try device.partitionIndex(of: 0xFFFF, port: 1) == 0)
        #expect(throws: VerbsError.self) { try device.port(99) }
        try device.close()
    }

    @Test func aReadBringsTheBytes() throws {
        let (source, reader) = (
            try Endpoint(library, RealDevices.ends.0), try Endpoint(library, RealDevices.ends.1, access: .localWrite)
        )
        try Endpoint.join(source, reader)
        let state = try source.pair!.state()
        #expect(state == .readyToSend)
        source.pattern(seed: 3)
        var list = SendList(capacity: 16)
        for index in 0..<16 {
            list.appendRead(
                localAddress: reader.region.address + UInt64(index << 16), lengthBytes: 1 << 16,
                localKey: reader.region.localKey, remoteAddress: source.region.address + UInt64(index << 16),
                remoteKey: source.region.remoteKey, id: UInt64(index), isSignaled: index == 15)
        }
        #expect(list.room == 0)
        let outcome = reader.pair!.post(&list)
        #expect(outcome == PostOutcome(posted: 16, errorNumber: 0))
        #expect(list.isEmpty && list.room == 16)
        let done = try reader.completions()
        #expect(done.map(\.id) == [15])
        #expect(done.allSatisfy { $0.status == .success && $0.queuePairNumber == reader.number })
        #expect(reader.holdsPattern(seed: 3, count: 1 << 20))
    }

    @Test func aWriteToASourceIsRefused() throws {
        let (source, reader) = (try Endpoint(library, RealDevices.ends.0), try Endpoint(library, RealDevices.ends.1))
        try Endpoint.join(source, reader)
        source.pattern(seed: 5)
        var list = SendList(capacity: 1)
        list.appendWrite(
            localAddress: reader.region.address, lengthBytes: 4096, localKey: reader.region.localKey,
            remoteAddress: source.region.address, remoteKey: source.region.remoteKey, id: 9, isSignaled: true)
        let outcome = reader.pair!.post(&list)
        #expect(outcome.isComplete)
        let status = try reader.completions().first?.status
        #expect(status == .remoteAccess || status == .remoteInvalidRequest)
        #expect(source.holdsPattern(seed: 5, count: 1 << 20))
        let state = try reader.pair!.state()
        #expect(state == .failed)
    }

    @Test func aDeadOtherEndIsKnownAndTheRestIsFlushed() throws {
        let (source, reader) = (try Endpoint(library, RealDevices.ends.0), try Endpoint(library, RealDevices.ends.1))
        try source.connect(to: reader)
        try reader.connect(to: source, timeoutExponent: 12, retries: 2)
        try source.pair!.fail()
        var list = SendList(capacity: 3)
        for index in 0..<3 {
            list.appendRead(
                localAddress: reader.region.address, lengthBytes: 4096, localKey: reader.region.localKey,
                remoteAddress: source.region.address, remoteKey: source.region.remoteKey, id: UInt64(index),
                isSignaled: true)
        }
        let outcome = reader.pair!.post(&list)
        #expect(outcome.isComplete)
        let done = try reader.completions(atLeast: 3)
        #expect(done.map(\.id) == [0, 1, 2])
        #expect(done.first?.status == .retriesExceeded)
        #expect(done.dropFirst().allSatisfy { $0.status == .flushed })
    }

    @Test func failingAQueuePairFlushesWhatIsPosted() throws {
        let (source, reader) = (try Endpoint(library, RealDevices.ends.0), try Endpoint(library, RealDevices.ends.1))
        try Endpoint.join(source, reader)
        try reader.pair!.fail()
        var list = SendList(capacity: 1)
        list.appendRead(
            localAddress: reader.region.address, lengthBytes: 64, localKey: reader.region.localKey,
            remoteAddress: source.region.address, remoteKey: source.region.remoteKey, id: 4, isSignaled: true)
        // A queue pair in error still takes requests, and flushes them.
        let outcome = reader.pair!.post(&list)
        #expect(outcome.isComplete)
        #expect(try reader.completions().map(\.status) == [.flushed])
    }

    @Test func parentsOutliveTheirChildren() throws {
        let device = try library.open(RealDevices.ends.0)
        let domain = try ProtectionDomain(device)
        let memory = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 4096)
        defer { memory.deallocate() }
        let region = try MemoryRegion(in: domain, base: memory, lengthBytes: 4096, access: .localWrite)
        #expect(region.localKey != 0)
        // libibverbs itself would close the device under them, and free what they point to.
        do {
            try device.close()
            Issue.record("a device with a domain cannot be closed")
        } catch { #expect(error.code == .invalid) }
        do {
            try domain.close()
            Issue.record("a domain with a region cannot be closed")
        } catch { #expect(error.code == .invalid) }
        try region.close()
    }

    @Test func theLeaseProbeFindsAMechanism() throws {
        let device = try library.open(RealDevices.ends.0)
        let answer = GIDSelection.automatic.choose(from: try device.gids(port: 1))
        guard case .chosen(let gid) = answer else {
            Issue.record("\(answer)")
            return
        }
        let found = try LeaseProbe.run(device, port: try device.port(1), gid: gid)
        print("\(device.name): \(found)")
        #expect(found.regions.isComplete)
        #expect(found.mechanism != nil)
        if RealDevices.ends.0.hasPrefix("rxe") {
            // Its windows do not enforce their range.
            #expect(
                found.windows
                    == .init(bindsToReader: true, refusesWrites: true, boundsRange: false, revokes: true))
            #expect(found.mechanism == .exactRegion)
        }
    }

    @Test func aPlaceInAListHoldsAnyKindOfRequest() throws {
        let source = try Endpoint(
            library, RealDevices.ends.0, access: [.localWrite, .remoteRead, .windowBind], serves: .remoteRead)
        let reader = try Endpoint(library, RealDevices.ends.1, access: .localWrite)
        try #require(source.device.attributes.windowsMax > 0, "this device has no windows")
        try Endpoint.join(source, reader)
        source.pattern(seed: 9)
        let window = try MemoryWindow(in: source.domain)
        var list = SendList(capacity: 1)
        var keys: [UInt32] = []
        for _ in 0..<3 {
            let key = window.nextKey
            list.appendBind(
                window, newKey: key, region: source.region, address: source.region.address, lengthBytes: 4096, id: 1,
                isSignaled: true)
            let bound = source.pair!.post(&list)
            let boundKey = window.remoteKey
            #expect(bound.isComplete && boundKey == key)
            #expect(try source.completions().map(\.status) == [.success])
            keys.append(key)
            #expect(try read(&list, source, reader, key: key) == .success)
            list.appendInvalidate(remoteKey: key, id: 3, isSignaled: true)
            _ = source.pair!.post(&list)
            #expect(try source.completions().map(\.status) == [.success])
        }
        #expect(Set(keys).count == 3)
        #expect(reader.holdsPattern(seed: 9, count: 4096))
        #expect(try read(&list, source, reader, key: keys[2]) == .remoteAccess)
        try window.close()
    }

    private func read(
        _ list: inout SendList, _ source: Endpoint, _ reader: Endpoint, key: UInt32
    ) throws -> CompletionStatus? {
        list.appendRead(
            localAddress: reader.region.address, lengthBytes: 4096, localKey: reader.region.localKey,
            remoteAddress: source.region.address, remoteKey: key, id: 2, isSignaled: true)
        _ = reader.pair!.post(&list)
        return try reader.completions().first?.status
    }

    @Test(.enabled(if: RealDevices.isGuest, "adds an address to an interface: only in a guest"))
    func aNewAddressIsAnnouncedAndSeen() throws {
        let device = try library.open(RealDevices.ends.1)
        let interface = try #require(try device.gids(port: 1).first { $0.gid.isIPv4 }?.networkDevice)
        let gid = GID(ipv4: 10, 111, 0, 1)
        try Command.run("ip", "addr", "add", "10.111.0.1/32", "dev", interface)
        var isThere = true
        defer { if isThere { _ = try? Command.run("ip", "addr", "del", "10.111.0.1/32", "dev", interface) } }
        #expect(try seesGIDChange(device))
        let added = try device.gids(port: 1)
        #expect(added.contains { $0.gid == gid && $0.networkDevice == interface })
        try Command.run("ip", "addr", "del", "10.111.0.1/32", "dev", interface)
        isThere = false
        #expect(try seesGIDChange(device))
        let left = try device.gids(port: 1)
        #expect(!left.contains { $0.gid == gid })
    }

    private func seesGIDChange(_ device: borrowing Device) throws -> Bool {
        let poller = try EpollQueue()
        try poller.add(device.asyncDescriptor, .reading, token: 1)
        let deadlineNs = MonotonicClock.nowNs() + Endpoint.patienceNs
        while MonotonicClock.nowNs() < deadlineNs {
            while let event = try device.nextAsyncEvent() {
                if event.kind == .gidChange { return event.port == 1 }
            }
            var ready: [EpollQueue.Ready] = []
            try poller.wait(limitMs: 100, into: &ready)
        }
        return false
    }

    /// Where the limit does not hold for this process, in a child for which it does.
    @Test func aLowMemlockLimitIsSaid() throws {
        let limit = MemoryLockLimit.current()
        if let limitBytes = limit.limitBytes, !limit.isLifted, limitBytes <= 1 << 20 {
            let end = try Endpoint(library, RealDevices.ends.0, lengthBytes: 4096)
            let memory = OwnedMemory(4 << 20)
            do {
                _ = try MemoryRegion(in: end.domain, base: memory.base, lengthBytes: 4 << 20, access: .localWrite)
                Issue.record("4 MiB were pinned past a limit of \(limitBytes) bytes")
            } catch {
                #expect(error.code == .memoryLock)
                #expect(error.sentence.contains("cannot register 4 MiB with \(RealDevices.ends.0)"))
                #expect(error.sentence.contains("LimitMEMLOCK=infinity"))
                #expect(error.cause?.code == 12)
            }
            return
        }
        let isChild = ProcessInfo.processInfo.environment["MARTLET_MEMLOCK_CHILD"] != nil
        try #require(!isChild, "the limit does not hold here")
        let drop = getuid() == 0 ? "setpriv --bounding-set=-ipc_lock --inh-caps=-ipc_lock" : ""
        let text = try Command.run(
            "bash", "-c", "ulimit -l 1024 && MARTLET_MEMLOCK_CHILD=1 exec \(drop) \"$0\" \"$@\"",
            CommandLine.arguments[0], "--testing-library", "swift-testing", "--filter", "aLowMemlockLimitIsSaid")
        #expect(text.contains("aLowMemlockLimitIsSaid() passed"), "the child tested nothing: \(text)")
    }

    @Test func unknownNamesAreSaid() {
        do {
            _ = try library.open("nonesuch0")
            Issue.record("there is no such device")
        } catch {
            #expect(error.code == .noDevice)
            #expect(error.sentence.contains(RealDevices.ends.0))
        }
    }
}
