import Testing

@testable import Bandwidth

@Suite struct LatencyHistogramTests {
    @Test func aQuantileIsRightToSixPercent() {
        var histogram = LatencyHistogram()
        for microseconds in 1...10_000 { histogram.add(UInt64(microseconds) * 1000) }
        for (share, exact) in [(0.5, 5_000_000.0), (0.99, 9_900_000.0), (0.999, 9_990_000.0)] {
            let found = Double(histogram.quantile(share)!)
            #expect(found >= exact && found < exact * 1.07, "\(share): \(found) instead of \(exact)")
        }
    }

    @Test func smallTimesAreExactAndNoneIsNil() {
        var histogram = LatencyHistogram()
        #expect(histogram.quantile(0.5) == nil)
        for ns in 0..<16 { histogram.add(UInt64(ns)) }
        #expect(histogram.quantile(1) == 15)
        #expect(histogram.quantile(0.5) == 7)
    }

    @Test func everyTimeHasAPlace() {
        var histogram = LatencyHistogram()
        for shift in 0..<64 { histogram.add(1 << UInt64(shift)) }
        histogram.add(.max)
        #expect(histogram.count == 65)
    }

    @Test func differencesAndSumsUndoEachOther() {
        var before = LatencyHistogram()
        before.add(1000)
        var after = before
        after.add(2_000_000)
        var sum = after.since(before)
        #expect(sum.count == 1 && sum.quantile(1)! >= 2_000_000)
        sum.merge(before)
        #expect(sum == after)
    }

    @Test func itTravelsAsText() {
        var histogram = LatencyHistogram()
        for ns in [3, 700, 90_000, 90_001, 5_000_000_000] as [UInt64] { histogram.add(ns) }
        #expect(LatencyHistogram(encoded: histogram.encoded) == histogram)
        #expect(LatencyHistogram(encoded: "1:2,x,99999:1,3:-1,4:99999999999999999").count == 2)
    }
}

@Suite struct ControlFrameTests {
    @Test func whatIsWrittenIsRead() {
        let frame = ControlFrame("point", ["size": "4096", "why": "a = b", "empty": ""])
        #expect(ControlFrame.decode(Array(frame.encoded().dropFirst(4))) == frame)
    }

    @Test func newLinesInValuesMakeNoFields() {
        let frame = ControlFrame("refused", ["why": "first\nsecond=3"])
        let read = ControlFrame.decode(Array(frame.encoded().dropFirst(4)))
        #expect(read?.fields == ["why": "first second=3"])
    }

    @Test(arguments: ["", "\na=b", "verb\nno value", "verb\n=x", "verb\na=1\na=2"])
    func whatIsNoneIsRefused(text: String) {
        #expect(ControlFrame.decode(Array(text.utf8)) == nil)
    }

    @Test func bytesThatAreNoTextAndTooManyFieldsAreRefused() {
        #expect(ControlFrame.decode([0x76, 0xFF]) == nil)
        let many = "verb" + (0...ControlFrame.fieldsMax).map { "\nf\($0)=1" }.joined()
        #expect(ControlFrame.decode(Array(many.utf8)) == nil)
    }
}

@Suite struct BenchContentTests {
    @Test func everyByteCounts() throws {
        let content = BenchContent(seed: 7)
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
        defer { memory.deallocate() }
        content.write(into: memory, from: 1 << 20)
        #expect(content.matches(UnsafeRawBufferPointer(memory), from: 1 << 20))
        #expect(!content.matches(UnsafeRawBufferPointer(memory), from: 0), "a place is part of the content")
        #expect(!BenchContent(seed: 8).matches(UnsafeRawBufferPointer(memory), from: 1 << 20))
        for place in [0, 8, 15, 16, 4095, 4096, memory.count - 1] {
            memory[place] ^= 1
            #expect(!content.matches(UnsafeRawBufferPointer(memory), from: 1 << 20), "byte \(place) was changed")
            memory[place] ^= 1
        }
    }
}

@Suite struct BenchPointTests {
    @Test func aPointTravels() throws {
        var point = BenchPoint()
        (point.messageBytes, point.depth, point.links, point.streams) = (1 << 20, 3, 2, 4)
        (point.direction, point.source, point.verifies, point.socketBufferBytes) = (.both, .memory, true, 65_536)
        #expect(try BenchPoint(ControlFrame("point", point.fields)) == point)
    }

    @Test(arguments: [0, 4095, 4097, 32 << 20])
    func sizesOutOfBoundsAreRefused(bytes: Int) {
        var point = BenchPoint()
        point.messageBytes = bytes
        #expect(throws: BenchError.self) { try point.check(memoryBytes: 1 << 30) }
    }

    @Test func memoryHasRoomForAllThatIsUnderWay() {
        let point = BenchPoint()
        #expect(throws: Never.self) { try point.check(memoryBytes: 2 * point.depth * point.messageBytes) }
        #expect(throws: BenchError.self) { try point.check(memoryBytes: 2 * point.depth * point.messageBytes - 1) }
    }

    @Test func pcieSlots() {
        let gen4 = Limits.pcieBytesPerSecond(speed: "16.0 GT/s PCIe", lanes: 16)!
        #expect(gen4 > 31.4e9 && gen4 < 31.6e9)
        #expect(Limits.pcieBytesPerSecond(speed: "5.0 GT/s PCIe", lanes: 1) == 0.5e9)
        #expect(Limits.pcieBytesPerSecond(speed: "Unknown", lanes: 1) == nil)
    }
}
