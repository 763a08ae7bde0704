import Artifacts
import Foundation
import Testing
import Transport
import TransportVerbs
import Verbs
import VerbsDouble

extension VerbsScripts {
    /// Ports that go down, addresses that change, devices that are pulled out and plugged in again.
    @Suite struct DeviceLoss {
        static let leases: [VerbsConfiguration.Lease] = [.window, .region]

        /// Another link to the same hosts, as soon as there can be one.
        private func linkAgain(_ script: Script) throws -> (child: LinkID, parent: LinkID) {
            let reopened = script.bench.pump { script.verbs(script.child).deviceObjection == nil }
            try #require(reopened, "the device did not come back")
            return try script.bench.link(script.child, script.parent)
        }

        @Test func aPortThatIsDownRefusesLinks() throws {
            try Script.run { script in
                let (bench, child, parent, double) = (script.bench, script.child, script.parent, script.double)
                let link = try bench.link(child, parent)
                double.setPort("double0", isUp: false)
                #expect(bench.pump { script.verbs(child).deviceObjection != nil })
                let error = #expect(throws: TransportError.self) { _ = try bench.connect(child, to: parent) }
                #expect(error?.code == .system)
                #expect(error?.description.contains("port 1 of double0 is down") == true)
                // Nor does it take links of others.
                let toChild = try bench.connect(parent, to: child)
                #expect(bench.pump { parent.seen.down(toChild) != nil })
                #expect(parent.seen.down(toChild) == .refused)
                // A port that is down does not close links: their READs do, if they fail.
                #expect(child.seen.down(link.child) == nil)
                double.setPort("double0", isUp: true)
                let again = try linkAgain(script)
                try script.checkReading(again, tag: 1)
                try script.checkReading(link, tag: 2)
                #expect(child.transport.counters.deviceReopenings == 0)
            }
        }

        @Test func readsOverADownPortEndTheirLinks() throws {
            try Script.run { script in
                let (bench, child, parent, double) = (script.bench, script.child, script.parent, script.double)
                let link = try bench.link(child, parent)
                let export = try parent.exportMemory(0, 1 << 20, to: link.parent)
                double.setPort("double1", isUp: false)
                child.post(link.child, export.key, length: 1 << 20, tag: 1)
                #expect(bench.pump { child.seen.down(link.child) != nil })
                #expect(child.seen.down(link.child) == .timedOut)
                #expect(child.seen.read(1) == .some(.linkClosed))
                double.setPort("double1", isUp: true)
                #expect(bench.pump { script.verbs(parent).deviceObjection == nil })
                try script.checkReading(try bench.link(child, parent), tag: 2)
            }
        }

        @Test(arguments: leases)
        func anAddressThatChangesEndsTheLinks(_ lease: VerbsConfiguration.Lease) throws {
            try Script.run(lease: lease) { script in
                let (bench, child, parent, double) = (script.bench, script.child, script.parent, script.double)
                let before = script.open
                let link = try bench.link(child, parent)
                let export = try parent.exportMemory(0, 1 << 20, to: link.parent)
                let mine = try child.exportMemory(0, 4096, to: link.child)
                #expect(script.awaitQuiet())
                double.hold("double0")
                child.post(link.child, export.key, local: 1 << 20, length: 1 << 20, tag: 1)
                bench.turn()
                double.setAddresses(
                    "double0", [GIDEntry(index: 1, gid: GID(ipv4: 10, 77, 0, 99), kind: .roceV2)])
                bench.settle()
                #expect(child.seen.down(link.child) == nil, "the device has not given the reads back")
                double.release("double0")
                #expect(bench.pump { child.seen.down(link.child) != nil && parent.seen.down(link.parent) != nil })
                #expect(
                    Array(child.seen.events.suffix(3)) == [
                        .read(link.child, 1, .linkClosed), .retired(mine.id), .down(link.child, .system),
                    ])
                try script.checkReading(try linkAgain(script), tag: 2)
                #expect(child.transport.counters.deviceReopenings == 1)
                #expect(parent.transport.counters.deviceReopenings == 0)
                #expect(Array(script.open[0].counts[..<3]) == Array(before[0].counts[..<3]))
            }
        }

        /// Another address beside ours, or another event for ours, is nobody's loss.
        @Test func addressesThatAreNotOursMayChange() throws {
            try Script.run { script in
                let (bench, child, double) = (script.bench, script.child, script.double)
                let link = try bench.link(child, script.parent)
                double.setAddresses(
                    "double0",
                    [
                        GIDEntry(index: 1, gid: GID(ipv4: 10, 77, 0, 1), kind: .roceV2),
                        GIDEntry(index: 2, gid: GID(ipv4: 10, 78, 0, 1), kind: .roceV2),
                    ])
                bench.settle()
                try script.checkReading(link, tag: 1)
                #expect(child.transport.counters.deviceReopenings == 0)
            }
        }

        @Test(arguments: leases)
        func aPulledDeviceEndsItsLinksAndComesBack(_ lease: VerbsConfiguration.Lease) throws {
            try Script.run(lease: lease) { script in
                let (bench, child, parent, double) = (script.bench, script.child, script.parent, script.double)
                let fresh = script.open
                let links = try (0..<3).map { _ in try bench.link(child, parent) }
                let exports = try links.map { try parent.exportMemory(0, 1 << 20, to: $0.parent) }
                let mine = try child.exportMemory(0, 4096, to: links[1].child)
                #expect(script.awaitQuiet())
                double.hold("double0")
                for (tag, (link, export)) in zip(links, exports).enumerated() {
                    child.post(link.child, export.key, local: (tag + 1) << 20, length: 1 << 20, tag: UInt64(tag))
                }
                bench.turn()
                double.remove("double0")
                bench.settle()
                for link in links { #expect(child.seen.down(link.child) == nil) }
                double.release("double0")
                #expect(bench.pump { links.allSatisfy { child.seen.down($0.child) != nil } })
                for (tag, link) in links.enumerated() {
                    #expect(child.seen.read(UInt64(tag)) == .some(.linkClosed))
                    #expect(child.seen.down(link.child) == .system)
                    let read = child.seen.events.firstIndex(of: .read(link.child, UInt64(tag), .linkClosed)) ?? .max
                    let down = child.seen.events.firstIndex(of: .down(link.child, .system)) ?? 0
                    #expect(read < down)
                }
                #expect(child.seen.isRetired(mine.id))
                // Only when nothing of it is open can a device go for good.
                #expect(bench.pump { double.census("double0").isEmpty })
                #expect(bench.pump { links.allSatisfy { parent.seen.down($0.parent) != nil } })
                let error = #expect(throws: TransportError.self) { _ = try bench.connect(child, to: parent) }
                #expect(error?.code == .system)
                #expect(error?.description.contains("double0") == true)
                // It is looked for, in vain for some time.
                bench.settle()
                #expect(child.transport.counters.deviceReopenings == 0)
                double.add(DoubleDevice("double0", host: 1))
                let again = try linkAgain(script)
                #expect(child.transport.counters.deviceReopenings == 1)
                try script.checkReading(again, tag: 10)
                child.transport.close(again.child)
                #expect(bench.pump { parent.seen.down(again.parent) != nil })
                #expect(bench.pump { script.open[0] == fresh[0] }, "\(script.open[0]), at first \(fresh[0])")
            }
        }

        /// Memory registered while there is no device is registered with the next one.
        @Test(arguments: leases)
        func memoryMayBeRegisteredMeanwhile(_ lease: VerbsConfiguration.Lease) throws {
            try Script.run(lease: lease) { script in
                let (bench, child, parent, double) = (script.bench, script.child, script.parent, script.double)
                double.remove("double0")
                #expect(bench.pump { double.census("double0").isEmpty })
                let half = ContractHost.memoryBytes / 2
                let region = try child.transport.register(
                    RegionMemory(base: child.memory.base + half, lengthBytes: half))
                double.add(DoubleDevice("double0", host: 1))
                let link = try linkAgain(script)
                let export = try parent.exportMemory(0, 4096, to: link.parent)
                let request = ReadRequest(
                    link: link.child, key: export.key, remoteOffset: 0, region: region, localOffset: 512,
                    lengthBytes: 4096, tag: 1)
                #expect(
                    withUnsafePointer(to: request) {
                        child.transport.post(UnsafeBufferPointer(start: $0, count: 1))
                    } == 1)
                #expect(bench.pump { child.seen.isRead(1) })
                #expect(isSame(child.contents((half + 512)..<(half + 512 + 4096)), parent.contents(0..<4096)))
            }
        }

        /// Pulled out with links on it, and memory registered before the transport has heard of it.
        @Test func memoryMayBeRegisteredJustThen() throws {
            try Script.run { script in
                let (bench, child, parent, double) = (script.bench, script.child, script.parent, script.double)
                let link = try bench.link(child, parent)
                double.hold("double0")
                let export = try parent.exportMemory(0, 4096, to: link.parent)
                child.post(link.child, export.key, length: 4096, tag: 1)
                bench.turn()
                double.remove("double0")
                bench.turn([child])
                #expect(child.seen.down(link.child) == nil)
                // Its links are not drained: the device is lost, and still open.
                let region = try child.transport.register(
                    RegionMemory(base: child.memory.base, lengthBytes: 1 << 20))
                #expect(region == RegionID(index: 1))
                double.release("double0")
                #expect(bench.pump { double.census("double0").isEmpty })
                double.add(DoubleDevice("double0", host: 1))
                try script.checkReading(try linkAgain(script), tag: 2)
            }
        }

        /// A reopening that fails half way leaves nothing behind and is tried again.
        @Test(arguments: [VerbsDouble.Call.makeDomain, .register, .makeQueue, .queryPort])
        func aReopeningMayFail(_ call: VerbsDouble.Call) throws {
            try Script.run { script in
                let (bench, child, double) = (script.bench, script.child, script.double)
                double.remove("double0")
                #expect(bench.pump { double.census("double0").isEmpty })
                double.add(DoubleDevice("double0", host: 1))
                double.fail(call, on: "double0", nth: call == .register ? 2 : 1, times: 3, errorNumber: ENOMEM)
                let link = try linkAgain(script)
                #expect(child.transport.counters.deviceReopenings == 1)
                try script.checkReading(link, tag: 1)
                #expect(double.census("double0").contexts == 1)
                _ = bench
            }
        }

        /// At every stage of a handshake, on either side: the link does not come up, and nothing stays behind.
        @Test(arguments: ["double0", "double1"], Array(0..<16))
        func aDeviceMayGoDuringAHandshake(_ device: String, _ turns: Int) throws {
            try Script.run { script in
                let (bench, child, parent, double) = (script.bench, script.child, script.parent, script.double)
                let link = try bench.connect(child, to: parent)
                for number in 0..<turns {
                    bench.turn([number % 2 == 0 ? child : parent])
                    bench.network.idle()
                }
                double.remove(device)
                #expect(bench.pump { double.census(device).isEmpty })
                #expect(bench.pump { child.seen.down(link) != nil })
                #expect(bench.pump { parent.seen.up(inbound: true).allSatisfy { parent.seen.down($0.0) != nil } })
                double.add(DoubleDevice(device, host: device == "double0" ? 1 : 2))
                #expect(
                    bench.pump {
                        script.verbs(child).deviceObjection == nil && script.verbs(parent).deviceObjection == nil
                    })
                try script.checkReading(try bench.link(child, parent), tag: 1)
            }
        }

        /// The source's device goes while it is read.
        @Test(arguments: leases)
        func exportsRetireWithTheirDevice(_ lease: VerbsConfiguration.Lease) throws {
            try Script.run(lease: lease) { script in
                let (bench, child, parent, double) = (script.bench, script.child, script.parent, script.double)
                let link = try bench.link(child, parent)
                let exports = try (0..<4).map { try parent.exportMemory($0 << 20, 1 << 20, to: link.parent) }
                parent.transport.revoke(exports[2].id)
                for (tag, export) in exports.prefix(2).enumerated() {
                    child.post(link.child, export.key, local: tag << 20, length: 1 << 20, tag: UInt64(tag))
                }
                double.remove("double1")
                #expect(bench.pump { parent.seen.down(link.parent) != nil && child.seen.down(link.child) != nil })
                #expect(
                    Array(parent.seen.events.suffix(5)) == exports.map { .retired($0.id) } + [
                        .down(link.parent, .system)
                    ])
                for tag in 0..<2 { #expect(child.seen.isRead(UInt64(tag))) }
                #expect(bench.pump { double.census("double1").isEmpty })
                double.add(DoubleDevice("double1", host: 2))
                #expect(bench.pump { script.verbs(parent).deviceObjection == nil })
                try script.checkReading(try bench.link(child, parent), tag: 5)
            }
        }

        /// A completion queue that cannot be polled is a lost device.
        @Test func aBrokenCompletionQueueIsALoss() throws {
            try Script.run(adjust: { $0.drainLimitNs = 20_000_000 }) { script in
                let (bench, child, parent, double) = (script.bench, script.child, script.parent, script.double)
                let link = try bench.link(child, parent)
                let export = try parent.exportMemory(0, 1 << 20, to: link.parent)
                #expect(script.awaitQuiet())
                double.fail(.poll, on: "double0", times: 1_000_000, errorNumber: EIO)
                child.post(link.child, export.key, length: 1 << 20, tag: 1)
                #expect(bench.pump { child.seen.down(link.child) != nil })
                #expect(child.seen.down(link.child) == .system)
                #expect(child.seen.read(1) == .some(.linkClosed))
                #expect(bench.pump { child.transport.counters.deviceReopenings == 1 })
                double.remove("double0")
                double.add(DoubleDevice("double0", host: 1))
                #expect(bench.pump { child.transport.counters.deviceReopenings == 2 })
                try script.checkReading(try linkAgain(script), tag: 2)
            }
        }

        @Test func aTransportMayEndWithoutItsDevice() throws {
            try Script.run { script in
                let (bench, child, double) = (script.bench, script.child, script.double)
                let link = try bench.link(child, script.parent)
                double.remove("double0")
                bench.turn()
                child.shutdown()
                #expect(child.seen.down(link.child) != nil)
                #expect(double.census("double0").isEmpty)
            }
        }
    }
}
