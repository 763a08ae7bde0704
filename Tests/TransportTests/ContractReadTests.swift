import Artifacts
import Foundation
import System
import Testing
import Transport

/// The contract of `PieceTransport`: exports and reads.
@Suite(.serialized) struct ContractReadTests {
    /// A child linked to a parent whose memory is filled.
    private func withPair(
        _ subject: ContractSubject, bounds: ContractBounds = ContractBounds(),
        _ body: (ContractBench, ContractHost, ContractHost, (child: LinkID, parent: LinkID)) throws -> Void
    ) throws {
        try withBench(subject) { bench in
            let child = try bench.host("child", bounds: bounds)
            let parent = try bench.host("parent", bounds: bounds)
            parent.fill(seed: 3)
            try body(bench, child, parent, try bench.link(child, parent))
        }
    }

    @Test(arguments: ContractSubject.all)
    func memoryIsReadInPlace(_ subject: ContractSubject) throws {
        try withPair(subject) { bench, child, parent, link in
            let export = try parent.exportMemory(4096, 3 << 20, to: link.parent)
            #expect(child.post(link.child, export.key, local: 1000, length: 3 << 20, tag: 5) == 1)
            #expect(bench.pump { child.seen.isRead(5) })
            #expect(child.seen.read(5) == .some(nil))
            #expect(isSame(child.contents(1000..<(1000 + 3 << 20)), parent.contents(4096..<(4096 + 3 << 20))))
            #expect(child.contents(0..<1000).allSatisfy { $0 == 0 })
            #expect(child.contents((1000 + 3 << 20)..<(1000 + 3 << 20 + 4096)).allSatisfy { $0 == 0 })
            #expect(child.transport.counters.receivedBytes == 3 << 20)
            #expect(child.transport.counters.readsCompleted == 1)
        }
    }

    @Test(arguments: ContractSubject.all)
    func filesAreReadInPlace(_ subject: ContractSubject) throws {
        try withPair(subject) { bench, child, parent, link in
            try #require(parent.transport.capabilities.exportsFiles)
            let file = try TemporaryFile(parent.contents(0..<(2 << 20)))
            let export = try parent.transport.export(
                .file(descriptor: file.descriptor, range: ByteRange(offset: 12_345, length: 1_500_000)),
                to: link.parent)
            // The caller's descriptor is not needed any more.
            file.close()
            #expect(child.post(link.child, export.key, remote: 7, local: 64, length: 1_400_000, tag: 1) == 1)
            #expect(bench.pump { child.seen.isRead(1) })
            #expect(child.seen.read(1) == .some(nil))
            #expect(isSame(child.contents(64..<1_400_064), parent.contents(12_352..<1_412_352)))
        }
    }

    @Test(arguments: ContractSubject.all)
    func aRangeEndsWhereItEnds(_ subject: ContractSubject) throws {
        try withPair(subject, bounds: ContractBounds(readsPerLinkMax: 32)) { bench, child, parent, link in
            let export = try parent.exportMemory(100, 1000, to: link.parent)
            let cases: [(offset: UInt64, length: Int, isFine: Bool)] = [
                (0, 1000, true), (999, 1, true), (0, 1, true), (0, 1001, false), (1000, 1, false),
                (999, 2, false),
                (1 << 40, 1, false), (.max, 1, false), (.max - 5, 10, false), (500, 500, true),
            ]
            for (tag, some) in cases.enumerated() {
                #expect(
                    child.post(
                        link.child, export.key, remote: some.offset, local: tag * 2000, length: some.length,
                        tag: UInt64(tag)) == 1)
            }
            #expect(bench.pump { cases.indices.allSatisfy { child.seen.isRead(UInt64($0)) } })
            for (tag, some) in cases.enumerated() {
                #expect(child.seen.read(UInt64(tag)) == .some(some.isFine ? nil : .accessDenied), "\(some)")
                guard some.isFine else { continue }
                let start = 100 + Int(some.offset)
                #expect(
                    isSame(
                        child.contents((tag * 2000)..<(tag * 2000 + some.length)),
                        parent.contents(start..<(start + some.length))))
            }
            bench.settle()
            #expect(child.seen.down(link.child) == nil)
        }
    }

    @Test(arguments: ContractSubject.all)
    func severalReadsRunAtOnce(_ subject: ContractSubject) throws {
        try withPair(subject, bounds: ContractBounds(readsPerLinkMax: 64)) { bench, child, parent, link in
            let chunk = 100_000
            let export = try parent.exportMemory(0, 40 * chunk, to: link.parent)
            var order = Array(0..<40)
            var generator = SeededGenerator(seed: 4)
            order.shuffle(using: &generator)
            for place in order {
                #expect(
                    child.post(
                        link.child, export.key, remote: UInt64(place * chunk), local: place * chunk,
                        length: chunk,
                        tag: UInt64(place)) == 1)
            }
            #expect(bench.pump { order.allSatisfy { child.seen.isRead(UInt64($0)) } })
            #expect(isSame(child.contents(0..<(40 * chunk)), parent.contents(0..<(40 * chunk))))
        }
    }

    @Test(arguments: ContractSubject.all)
    func bothSidesReadAtOnce(_ subject: ContractSubject) throws {
        try withPair(subject) { bench, child, parent, link in
            // The lower half goes up, the upper half comes down.
            let half = 2 << 20
            child.fill(seed: 5)
            let mine = child.contents(0..<half)
            let theirs = parent.contents(0..<half)
            let up = try child.exportMemory(0, half, to: link.child)
            let down = try parent.exportMemory(0, half, to: link.parent)
            for part in 0..<4 {
                let offset = part * half / 4
                child.post(
                    link.child, down.key, remote: UInt64(offset), local: half + offset, length: half / 4,
                    tag: UInt64(part))
                parent.post(
                    link.parent, up.key, remote: UInt64(offset), local: half + offset, length: half / 4,
                    tag: UInt64(part))
            }
            #expect(
                bench.pump {
                    (0..<4).allSatisfy { child.seen.isRead(UInt64($0)) && parent.seen.isRead(UInt64($0)) }
                })
            #expect(isSame(child.contents(half..<(2 * half)), theirs))
            #expect(isSame(parent.contents(half..<(2 * half)), mine))
        }
    }

    @Test(arguments: ContractSubject.all)
    func aRevokedKeyReadsNothing(_ subject: ContractSubject) throws {
        try withPair(subject) { bench, child, parent, link in
            let export = try parent.exportMemory(0, 4096, to: link.parent)
            let other = try parent.exportMemory(4096, 4096, to: link.parent)
            parent.transport.revoke(export.id)
            parent.transport.revoke(export.id)
            #expect(bench.pump { parent.seen.isRetired(export.id) })
            child.post(link.child, export.key, length: 4096, tag: 1)
            child.post(link.child, other.key, local: 8192, length: 4096, tag: 2)
            #expect(bench.pump { child.seen.isRead(1) && child.seen.isRead(2) })
            #expect(child.seen.read(1) == .some(.accessDenied))
            #expect(child.seen.read(2) == .some(nil))
            bench.settle()
            #expect(parent.seen.events.filter { $0 == .retired(export.id) }.count == 1)
            #expect(!parent.seen.isRetired(other.id))
        }
    }

    @Test(arguments: ContractSubject.all)
    func anExportRetiresAfterItsReads(_ subject: ContractSubject) throws {
        try withPair(subject) { bench, child, parent, link in
            // 24 MiB, more than the kernel takes in advance: all reads land in the same place.
            let half = 4 << 20
            let export = try parent.exportMemory(0, half, to: link.parent)
            let original = parent.contents(0..<half)
            for tag in 0..<6 { child.post(link.child, export.key, local: half, length: half, tag: UInt64(tag)) }
            for _ in 0..<3 { bench.turn() }
            parent.transport.revoke(export.id)
            #expect(bench.pump { parent.seen.isRetired(export.id) })
            // From here on the source may change, and no read that succeeds shows it.
            for place in 0..<half { parent.bytes[place] = 0xEE }
            #expect(bench.pump { (0..<6).allSatisfy { child.seen.isRead(UInt64($0)) } })
            for tag in 0..<6 {
                let end = child.seen.read(UInt64(tag))
                #expect(end == .some(nil) || end == .some(.accessDenied))
            }
            if (0..<6).contains(where: { child.seen.read(UInt64($0)) == .some(nil) }) {
                #expect(isSame(child.contents(half..<(2 * half)), original))
            }
            #expect(child.seen.down(link.child) == nil)
        }
    }

    @Test(arguments: ContractSubject.all)
    func aKeyWorksOnItsLinkAlone(_ subject: ContractSubject) throws {
        try withPair(subject) { bench, child, parent, link in
            let stranger = try bench.host("stranger")
            let strange = try bench.link(stranger, parent)
            let second = try bench.link(child, parent)
            let export = try parent.exportMemory(0, 4096, to: link.parent)
            stranger.post(strange.child, export.key, length: 16, tag: 1)
            child.post(second.child, export.key, length: 16, tag: 2)
            child.post(link.child, export.key, local: 64, length: 16, tag: 3)
            #expect(bench.pump { stranger.seen.isRead(1) && child.seen.isRead(2) && child.seen.isRead(3) })
            #expect(stranger.seen.read(1) == .some(.accessDenied))
            #expect(child.seen.read(2) == .some(.accessDenied))
            #expect(child.seen.read(3) == .some(nil))
        }
    }

    @Test(arguments: ContractSubject.all)
    func madeUpKeysReadNothing(_ subject: ContractSubject) throws {
        try withPair(subject) { bench, child, parent, link in
            _ = try parent.exportMemory(0, 4096, to: link.parent)
            var generator = SeededGenerator(seed: 6)
            for (tag, size) in [0, 1, 15, 16, 17, RemoteKey.bytesMax].enumerated() {
                let bytes = (0..<size).map { _ in UInt8.random(in: 0...255, using: &generator) }
                let key = bytes.withUnsafeBytes { RemoteKey($0)! }
                #expect(child.post(link.child, key, length: 16, tag: UInt64(tag)) == 1)
            }
            #expect(bench.pump { (0..<6).allSatisfy { child.seen.isRead(UInt64($0)) } })
            for tag in 0..<6 { #expect(child.seen.read(UInt64(tag)) == .some(.accessDenied)) }
            #expect(child.seen.down(link.child) == nil)
        }
    }

    @Test(arguments: ContractSubject.all)
    func postedReadsAreBounded(_ subject: ContractSubject) throws {
        try withPair(subject) { bench, child, parent, link in
            let export = try parent.exportMemory(0, 4096, to: link.parent)
            let requests = (0..<20).map {
                ReadRequest(
                    link: link.child, key: export.key, remoteOffset: 0, region: child.region,
                    localOffset: UInt64($0 * 4096),
                    lengthBytes: 4096, tag: UInt64($0))
            }
            #expect(requests.withUnsafeBufferPointer { child.transport.post($0) } == 8)
            #expect(child.post(link.child, export.key, length: 16, tag: 99) == 0)
            #expect(bench.pump { (0..<8).allSatisfy { child.seen.isRead(UInt64($0)) } })
            #expect(requests[8...].withUnsafeBufferPointer { child.transport.post($0) } == 8)
            #expect(bench.pump { (0..<16).allSatisfy { child.seen.isRead(UInt64($0)) } })
            #expect(!child.seen.isRead(16))
            #expect(!child.seen.isRead(99))
        }
    }

    @Test(arguments: ContractSubject.all)
    func exportsAreBounded(_ subject: ContractSubject) throws {
        try withPair(subject) { bench, child, parent, link in
            let exports = try (0..<6).map { try parent.exportMemory($0 * 4096, 4096, to: link.parent) }
            let error = #expect(throws: TransportError.self) {
                _ = try parent.exportMemory(0, 16, to: link.parent)
            }
            #expect(error?.code == .limit)
            parent.transport.revoke(exports[3].id)
            #expect(bench.pump { parent.seen.isRetired(exports[3].id) })
            _ = try parent.exportMemory(0, 16, to: link.parent)
        }
    }

    @Test(arguments: ContractSubject.all)
    func aSourceMustHaveItsRange(_ subject: ContractSubject) throws {
        try withPair(subject) { bench, child, parent, link in
            let file = try TemporaryFile(Array(repeating: 1, count: 1000))
            defer { file.close() }
            let bad: [ExportSource] = [
                .memory(
                    region: parent.region, offset: UInt64(ContractHost.memoryBytes - 10), lengthBytes: 11),
                .memory(region: parent.region, offset: .max, lengthBytes: 2),
                .file(descriptor: file.descriptor, range: ByteRange(offset: 990, length: 11)),
                .file(descriptor: -1, range: ByteRange(offset: 0, length: 1)),
            ]
            for source in bad {
                let error = #expect(throws: TransportError.self) {
                    _ = try parent.transport.export(source, to: link.parent)
                }
                #expect(error?.code == .sourceFailed)
            }
        }
    }

    @Test(arguments: ContractSubject.all)
    func aCloseCompletesReadsThenExportsThenTheLink(_ subject: ContractSubject) throws {
        try withPair(subject) { bench, child, parent, link in
            let export = try parent.exportMemory(0, 4 << 20, to: link.parent)
            let mine = try child.exportMemory(0, 4096, to: link.child)
            for tag in 0..<8 {
                #expect(
                    child.post(link.child, export.key, local: 1 << 20, length: 4 << 20, tag: UInt64(tag)) == 1
                )
            }
            for _ in 0..<3 { bench.turn() }
            let start = child.seen.events.count
            child.transport.close(link.child)
            #expect(bench.pump { child.seen.down(link.child) != nil })
            // From here on nothing may land.
            for place in child.bytes.indices { child.bytes[place] = 0xEE }
            #expect(bench.pump { parent.seen.down(link.parent) != nil })
            bench.settle()
            #expect(child.bytes.allSatisfy { $0 == 0xEE })
            for tag in 0..<8 { #expect(child.seen.isRead(UInt64(tag))) }
            #expect(child.seen.events.last == .down(link.child, .linkClosed))
            #expect(child.seen.events.dropLast().last == .retired(mine.id))
            for event in child.seen.events[start...].dropLast(2) {
                guard case .read(link.child, _, let failure) = event else {
                    Issue.record("\(event) stands between the reads of a closed link")
                    continue
                }
                #expect(failure == nil || failure == .linkClosed)
            }
            #expect(parent.seen.events.suffix(2) == [.retired(export.id), .down(link.parent, .peerClosed)])
        }
    }

    @Test(arguments: ContractSubject.all)
    func readsEndWithTheFarSide(_ subject: ContractSubject) throws {
        try withPair(subject) { bench, child, parent, link in
            let export = try parent.exportMemory(0, 4 << 20, to: link.parent)
            for tag in 0..<8 { child.post(link.child, export.key, length: 4 << 20, tag: UInt64(tag)) }
            bench.turn()
            parent.shutdown()
            #expect(bench.pump { child.seen.down(link.child) != nil })
            #expect(child.seen.down(link.child) == .peerClosed)
            for tag in 0..<8 {
                let end = child.seen.read(UInt64(tag))
                #expect(end == .some(nil) || end == .some(.linkClosed))
            }
            guard case .down = child.seen.events.last else {
                Issue.record("something followed linkDown: \(child.seen.events.last as Any)")
                return
            }
        }
    }

    @Test(arguments: ContractSubject.all.filter { $0.serves || $0.pings })
    func aParentThatGoesSilentTimesOut(_ subject: ContractSubject) throws {
        try withPair(subject, bounds: ContractBounds(progressLimitNs: 4_000_000_000)) {
            bench, child, parent, link in
            let export = try parent.exportMemory(0, 4 << 20, to: link.parent)
            for tag in 0..<3 { child.post(link.child, export.key, length: 4 << 20, tag: UInt64(tag)) }
            for _ in 0..<20 { bench.turn([child]) }
            #expect(child.seen.down(link.child) == nil)
            bench.skewNs += 4_000_000_000
            #expect(bench.pump([child]) { child.seen.down(link.child) != nil })
            for tag in 0..<3 {
                let end = child.seen.read(UInt64(tag))
                #expect(end == .some(.linkClosed) || end == .some(nil) && !subject.serves)
            }
            #expect(child.seen.events.last == .down(link.child, .timedOut))
        }
    }

    @Test(arguments: ContractSubject.all)
    func anIdleLinkStaysUp(_ subject: ContractSubject) throws {
        try withPair(subject, bounds: ContractBounds(progressLimitNs: 4_000_000_000)) {
            bench, child, parent, link in
            bench.settle()
            bench.skewNs += 3_600_000_000_000
            bench.settle()
            let export = try parent.exportMemory(0, 4096, to: link.parent)
            child.post(link.child, export.key, length: 4096, tag: 1)
            #expect(bench.pump { child.seen.isRead(1) })
            #expect(child.seen.read(1) == .some(nil))
        }
    }

    @Test(arguments: ContractSubject.all)
    func anIdleTransportAsksForNoPoll(_ subject: ContractSubject) throws {
        try withPair(subject) { bench, child, parent, link in
            bench.settle()
            #expect(child.transport.wakeAtNs.map { $0 > bench.nowNs } ?? true)
            _ = child.send([1], on: link.child)
            #expect(
                child.transport.wakeAtNs.map { $0 <= bench.nowNs } ?? false
                    || child.transport.wakeDescriptor == nil)
        }
    }
}

/// A file without a name, gone when closed.
final class TemporaryFile {
    let descriptor: CInt
    private var isOpen = true

    init(_ bytes: [UInt8]) throws {
        var path = Array("\(NSTemporaryDirectory())/martlet-XXXXXX".utf8CString)
        descriptor = mkstemp(&path)
        try #require(descriptor >= 0)
        unlink(path)
        var written = 0
        while written < bytes.count {
            let count = bytes.withUnsafeBytes {
                write(descriptor, $0.baseAddress! + written, bytes.count - written)
            }
            try #require(count > 0)
            written += count
        }
    }

    func close() {
        guard isOpen else { return }
        isOpen = false
        _ = Foundation.close(descriptor)
    }

    deinit { close() }
}
