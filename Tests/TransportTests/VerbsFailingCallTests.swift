import Artifacts
import Foundation
import Memory
import System
import Testing
import Transport
import TransportVerbs
import Verbs
import VerbsDouble

extension VerbsScripts {
    /// Calls of the verbs library that fail, one after the other: the link or export in question is refused with a
    /// sentence, all that was made for it is free again, and the next one works.
    @Suite struct FailingCalls {
        static let leases: [VerbsConfiguration.Lease] = [.window, .region]

        /// The calls that make a link's objects, on either side, and how many of them there are.
        static let steps: [(call: VerbsDouble.Call, nth: Int)] =
            [(.makeDomain, 1), (.register, 1)] + (1...3).map { (.makePair, $0) } + (1...9).map { (.modifyPair, $0) }

        @Test(arguments: ["double0", "double1"], Array(steps.indices))
        func aLinkThatCannotBeMadeIsRefused(_ device: String, _ step: Int) throws {
            let (call, nth) = Self.steps[step]
            for lease in Self.leases {
                // All windows share one domain.
                if lease == .window, call == .makeDomain { continue }
                try Script.run(lease: lease) { script in
                    let (bench, child, parent) = (script.bench, script.child, script.parent)
                    let before = script.open
                    script.double.fail(call, on: device, nth: nth, errorNumber: ENOMEM)
                    let link = try bench.connect(child, to: parent)
                    #expect(bench.pump { child.seen.down(link) != nil })
                    // Who failed says `system`; whose far side failed is refused.
                    #expect(child.seen.down(link) == (device == "double0" ? .system : .refused))
                    #expect(bench.pump { parent.transport.counters.handshakesRefused == 1 })
                    #expect(parent.seen.events.isEmpty)
                    #expect(script.awaitOpen(before))
                    try script.checkReading(try bench.link(child, parent), tag: 1)
                }
            }
        }

        @Test(arguments: leases)
        func anExportThatCannotBeLeasedIsRefused(_ lease: VerbsConfiguration.Lease) throws {
            try Script.run(lease: lease) { script in
                let link = try script.bench.link(script.child, script.parent)
                let before = script.open
                script.double.fail(lease == .window ? .makeWindow : .register, on: "double1", errorNumber: ENOMEM)
                let error = #expect(throws: TransportError.self) {
                    _ = try script.parent.exportMemory(0, 4096, to: link.parent)
                }
                #expect(error?.code == (lease == .window ? .limit : .sourceFailed))
                #expect(error?.description.contains("child") == true)
                #expect(script.open == before)
                try script.checkReading(link, tag: 1)
            }
        }

        /// The mapping of a file whose pages the device does not take goes as well.
        @Test func aFileThatCannotBeRegisteredIsRefused() throws {
            try Script.run { script in
                let link = try script.bench.link(script.child, script.parent)
                let before = script.open
                let file = try TemporaryFile(script.parent.contents(0..<8192))
                defer { file.close() }
                script.double.fail(.register, on: "double1", errorNumber: EFAULT)
                let source = ExportSource.file(
                    descriptor: file.descriptor, range: ByteRange(offset: 0, length: 8192))
                let error = #expect(throws: TransportError.self) {
                    _ = try script.parent.transport.export(source, to: link.parent)
                }
                #expect(error?.code == .sourceFailed)
                #expect(script.open == before)
                let export = try script.parent.transport.export(source, to: link.parent)
                script.child.post(link.child, export.key, length: 8192, tag: 3)
                #expect(script.bench.pump { script.child.seen.isRead(3) })
                #expect(script.child.seen.read(3) == .some(nil))
            }
        }

        // MARK: Regions smaller than an arena

        private static let chunkBytes = 16 << 20

        private static func smallRegions() -> [DoubleDevice] {
            (0..<2).map {
                var device = DoubleDevice("double\($0)", host: UInt8($0 + 1))
                device.regionBytesMax = UInt64(chunkBytes)
                return device
            }
        }

        /// By window every chunk of an arena is registered twice: for our reads, and for binding windows to it.
        @Test(arguments: leases)
        func anArenaIsRegisteredWholeOrNotAtAll(_ lease: VerbsConfiguration.Lease) throws {
            try Script.run(lease: lease, devices: Self.smallRegions()) { script in
                let arena = try SharedMemory(name: "arena", lengthBytes: 40 << 20)
                let memory = RegionMemory(base: arena.base, lengthBytes: arena.lengthBytes)
                let before = script.open
                let count = lease == .window ? 6 : 3
                for nth in 1...count {
                    script.double.fail(.register, on: "double0", nth: nth, errorNumber: ENOMEM)
                    let error = #expect(throws: TransportError.self) {
                        _ = try script.child.transport.register(memory)
                    }
                    #expect(error?.code == .system)
                    #expect(error?.description.contains("double0") == true)
                    #expect(script.open == before)
                }
                let region = try script.child.transport.register(memory)
                #expect(script.open[0].counts[4] == before[0].counts[4] + count)
                // What was refused has no number: the next read lands where it says.
                #expect(region == RegionID(index: 1))
                let link = try script.bench.link(script.child, script.parent)
                let export = try script.parent.exportMemory(0, 4096, to: link.parent)
                let request = ReadRequest(
                    link: link.child, key: export.key, remoteOffset: 0, region: region,
                    localOffset: UInt64(Self.chunkBytes - 100), lengthBytes: 4096, tag: 1)
                #expect(
                    withUnsafePointer(to: request) {
                        script.child.transport.post(UnsafeBufferPointer(start: $0, count: 1))
                    } == 1)
                #expect(script.bench.pump { script.child.seen.isRead(1) })
                #expect(script.child.seen.read(1) == .some(nil))
                let landed = UnsafeRawBufferPointer(start: arena.base + Self.chunkBytes - 200, count: 4096 + 200)
                #expect(landed[..<100].allSatisfy { $0 == 0 })
                #expect(isSame(Array(landed[100..<4196]), script.parent.contents(0..<4096)))
                #expect(landed[4196...].allSatisfy { $0 == 0 })
                script.child.shutdown()
            }
        }

        /// READs are cut where a chunk ends, whatever the read's place, length and lane.
        @Test(arguments: leases)
        func readsAcrossChunksAreCutRight(_ lease: VerbsConfiguration.Lease) throws {
            try Script.run(lease: lease, devices: Self.smallRegions()) { script in
                let (bench, child, parent) = (script.bench, script.child, script.parent)
                let arena = try SharedMemory(name: "arena", lengthBytes: 36 << 20)
                let region = try child.transport.register(
                    RegionMemory(base: arena.base, lengthBytes: arena.lengthBytes))
                let link = try bench.link(child, parent)
                let bytes = UnsafeMutableRawBufferPointer(start: arena.base, count: arena.lengthBytes)
                let cases: [(before: Int, length: Int)] = [
                    (1, 2), (65_536, 131_072), (65_537, 65_538), (4096, 4097), (1 << 20, 3 << 20), (0, 70_000),
                    (70_000, 70_000), (3 << 20, 5 << 20),
                ]
                for (number, (before, length)) in cases.enumerated() {
                    let export = try parent.exportMemory(number * 4096 + 7, length, to: link.parent)
                    let place = Self.chunkBytes * (1 + number % 2) - before
                    guard place + length <= arena.lengthBytes else {
                        Issue.record("case \(number) does not fit")
                        continue
                    }
                    let request = ReadRequest(
                        link: link.child, key: export.key, remoteOffset: 0, region: region,
                        localOffset: UInt64(place), lengthBytes: UInt32(length), tag: UInt64(number))
                    #expect(
                        withUnsafePointer(to: request) {
                            child.transport.post(UnsafeBufferPointer(start: $0, count: 1))
                        } == 1)
                    #expect(bench.pump { child.seen.isRead(UInt64(number)) })
                    #expect(child.seen.read(UInt64(number)) == .some(nil))
                    let isRight = isSame(
                        Array(bytes[place..<(place + length)]),
                        parent.contents((number * 4096 + 7)..<(number * 4096 + 7 + length)))
                    #expect(isRight, "\(length) bytes, \(before) before a chunk's end")
                    parent.transport.revoke(export.id)
                    #expect(bench.pump { parent.seen.isRetired(export.id) })
                }
                #expect(child.seen.down(link.child) == nil)
                child.shutdown()
            }
        }

        /// A window lies in one region. Exact regions know no chunks.
        @Test(arguments: leases)
        func anExportAcrossChunksIsRefusedWhereItMust(_ lease: VerbsConfiguration.Lease) throws {
            try Script.run(lease: lease, devices: Self.smallRegions()) { script in
                let (bench, child, parent) = (script.bench, script.child, script.parent)
                let arena = try SharedMemory(name: "arena", lengthBytes: 36 << 20)
                UnsafeMutableRawBufferPointer(start: arena.base, count: arena.lengthBytes)[..<(17 << 20)]
                    .initializeMemory(as: UInt8.self, repeating: 0x5C)
                let region = try parent.transport.register(
                    RegionMemory(base: arena.base, lengthBytes: arena.lengthBytes))
                let link = try bench.link(child, parent)
                let before = script.open
                let across = ExportSource.memory(
                    region: region, offset: UInt64(Self.chunkBytes - 1), lengthBytes: 2)
                if lease == .window {
                    let error = #expect(throws: TransportError.self) {
                        _ = try parent.transport.export(across, to: link.parent)
                    }
                    #expect(error?.code == .sourceFailed)
                    #expect(script.open == before)
                } else {
                    _ = try parent.transport.export(across, to: link.parent)
                }
                // Up to the end, and from it on.
                for (tag, offset) in [Self.chunkBytes - 4096, Self.chunkBytes].enumerated() {
                    let export = try parent.transport.export(
                        .memory(region: region, offset: UInt64(offset), lengthBytes: 4096), to: link.parent)
                    child.post(link.child, export.key, length: 4096, tag: UInt64(tag))
                    #expect(bench.pump { child.seen.isRead(UInt64(tag)) })
                    #expect(child.seen.read(UInt64(tag)) == .some(nil))
                    #expect(child.contents(0..<4096).allSatisfy { $0 == 0x5C })
                }
                parent.shutdown()
            }
        }
    }
}
