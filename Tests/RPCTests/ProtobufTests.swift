import EchoService
import Foundation
import Protobuf
import Testing

typealias Everything = EchoV1.Everything

/// A message with something in every field.
private let full: Everything = {
    var message = Everything()
    message.aDouble = -1.5e300
    message.aFloat = 0.1
    message.anInt32 = -7
    message.anInt64 = Int64.min
    message.aUint32 = UInt32.max
    message.aUint64 = UInt64.max
    message.aSint32 = Int32.min
    message.aSint64 = -2
    message.aFixed32 = 0xDEAD_BEEF
    message.aFixed64 = 1 << 63
    message.aSfixed32 = -1
    message.aSfixed64 = Int64.min
    message.aBool = true
    message.aString = "Grüße, 世界 \u{1F426}"
    message.someBytes = Array(0...255)
    message.colour = .darkBlue
    message.inner = Everything.Inner(name: "inner", mode: .on, children: [.init(name: "child"), .init()])
    message.maybeNumber = 0
    message.maybeText = ""
    message.maybeColour = .below
    message.numbers = [0, -1, 1, Int64.max, Int64.min]
    message.fixedNumbers = [1, 2]
    message.doubles = [0, -0.0, .infinity]
    message.texts = ["", "x"]
    message.blobs = [[], [0]]
    message.colours = [.red, .unspecified, .below]
    message.inners = [.init(), .init(name: String(repeating: "long", count: 5000))]
    message.unpacked = [1, 300]
    message.counts = ["a": 1, "": 0, "z": 9]
    message.innersByNumber = [-1: .init(name: "minus"), 5: .init()]
    message.blobsByFlag = [false: [1], true: []]
    message.choice = .chosenInner(.init(name: "chosen"))
    message.`default` = "d"
    message.self_ = 5
    return message
}()

private let echoProto = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .appendingPathComponent("../interop").standardizedFileURL.path

private func protoc(_ mode: String, _ type: String, _ input: [UInt8]) async throws -> [UInt8] {
    try await run(
        ["protoc", "-I\(echoProto)", "--\(mode)=martlet.test.v1.\(type)", "echo.proto"], input: input)
}

@Suite("Protobuf", .timeLimit(.minutes(2)))
struct ProtobufTests {
    @Test("What is written is read again")
    func roundTrip() throws {
        #expect(try Everything(protobuf: full.protobufBytes()) == full)
        #expect(Everything().protobufBytes() == [])
        #expect(try Everything(protobuf: []) == Everything())
        for choice: Everything.Choice in [
            .chosenText(""), .chosenNumber(0), .chosenColour(.unspecified), .chosenInner(.init()),
        ] {
            let message = Everything(choice: choice)
            #expect(!message.protobufBytes().isEmpty)
            #expect(try Everything(protobuf: message.protobufBytes()) == message)
        }
    }

    @Test("protoc reads what is written here, and writes the same")
    func crossCheck() async throws {
        let text = try await protoc("decode", "Everything", full.protobufBytes())
        #expect(String(decoding: text, as: UTF8.self).contains("chosen_inner {"))
        let theirs = try await protoc("encode", "Everything", text)
        #expect(try Everything(protobuf: theirs) == full)

        // Byte for byte where the order of bytes is not free: no maps, nothing unpacked.
        var ordered = full
        ordered.counts = [:]
        ordered.innersByNumber = [:]
        ordered.blobsByFlag = [:]
        ordered.unpacked = []
        let bytes = ordered.protobufBytes()
        #expect(try await protoc("encode", "Everything", protoc("decode", "Everything", bytes)) == bytes)
    }

    @Test("protoc's text of each scalar's extremes is read")
    func theirsToOurs() async throws {
        let text = """
            a_double: nan a_float: -inf an_int32: -2147483648 an_int64: 9223372036854775807 a_sint32: 2147483647
            a_sint64: -9223372036854775808 a_sfixed32: -2147483648 unpacked: [18446744073709551615, 0, 7]
            colours: [COLOUR_BELOW, COLOUR_DARK_BLUE] maybe_text: "" chosen_number: 0
            """
        let message = try Everything(protobuf: await protoc("encode", "Everything", Array(text.utf8)))
        #expect(message.aDouble.isNaN)
        #expect(message.aFloat == -.infinity)
        #expect(message.anInt32 == Int32.min)
        #expect(message.anInt64 == Int64.max)
        #expect(message.aSint32 == Int32.max)
        #expect(message.aSint64 == Int64.min)
        #expect(message.aSfixed32 == Int32.min)
        #expect(message.unpacked == [UInt64.max, 0, 7])
        #expect(message.colours == [.below, .darkBlue])
        #expect(message.maybeText == "")
        #expect(message.maybeNumber == nil)
        #expect(message.choice == .chosenNumber(0))
    }

    @Test("Unknown fields, unknown enum numbers and wrong wire types do no harm")
    func unknown() throws {
        var writer = ProtoWriter()
        writer.scalar(999, ProtoUInt64.self, 1)
        writer.bytes(998, [1, 2, 3])
        writer.scalar(997, ProtoFixed32.self, 1)
        writer.scalar(996, ProtoFixed64.self, 1)
        // A group with a field in it.
        writer.tag(995, .groupStart)
        writer.string(1, "in a group")
        writer.tag(995, .groupEnd)
        // a_string as a number, colour as a number that is not known.
        writer.scalar(14, ProtoUInt64.self, 5)
        writer.scalar(16, ProtoInt32.self, 99)
        writer.string(14, "here")
        let message = try Everything(protobuf: writer.bytes)
        #expect(message.aString == "here")
        #expect(message.colour == .unrecognized(99))
        #expect(try Everything(protobuf: message.protobufBytes()) == message)
    }

    @Test("A message that comes in parts is merged, and the last case of a oneof counts")
    func merging() throws {
        var writer = ProtoWriter()
        writer.message(17, Everything.Inner(name: "name", children: [.init(name: "1")]))
        writer.message(17, Everything.Inner(mode: .on, children: [.init(name: "2")]))
        writer.string(32, "text")
        writer.message(33, Everything.Inner(name: "chosen"))
        writer.message(33, Everything.Inner(mode: .on))
        let message = try Everything(protobuf: writer.bytes)
        #expect(
            message.inner == .init(name: "name", mode: .on, children: [.init(name: "1"), .init(name: "2")]))
        #expect(message.choice == .chosenInner(.init(name: "chosen", mode: .on)))
    }

    @Test("A message that holds one choice is made by its case's name")
    func factories() {
        let event: EchoV1.Event = .note("n")
        #expect(event.event == .note("n"))
    }

    @Test(
        "Malformed messages are refused with the reason",
        arguments: [
            ([0x08], .truncated), ([0x72, 5, 0x61], .truncated), ([0x4D, 1, 2, 3], .truncated),
            ([0x51, 1, 2, 3, 4, 5, 6, 7], .truncated),
            ([0x20] + [UInt8](repeating: 0xFF, count: 10) + [1], .malformedVarint),
            ([0x00, 0x01], .malformedFieldNumber), ([0x06], .malformedFieldNumber),
            ([0x0E], .malformedWireType), ([0x0C], .malformedWireType), ([0x0B, 0x14], .malformedWireType),
            ([0x0B], .truncated), ([0x72, 2, 0xC3, 0x28], .malformedString),
            ([0xB2, 0x01, 3, 0, 0, 0], .malformedPackedField),
            ([0x7A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], .truncated),
        ] as [([UInt8], ProtobufError)])
    func malformed(_ bytes: [UInt8], _ expected: ProtobufError) {
        #expect(throws: expected) { try Everything(protobuf: bytes) }
    }

    @Test("Nesting and elements are bounded")
    func bounds() throws {
        var inner = Everything.Inner(name: "deepest")
        for _ in 0..<(ProtobufLimits.depthMax - 2) { inner = .init(children: [inner]) }
        #expect(try Everything(protobuf: Everything(inner: inner).protobufBytes()).inner == inner)
        for _ in 0..<3000 { inner = .init(children: [inner]) }
        #expect(throws: ProtobufError.tooDeep) {
            try Everything(protobuf: Everything(inner: inner).protobufBytes())
        }
        let groups = [UInt8](repeating: 0x0B, count: 100_000)
        #expect(throws: ProtobufError.tooDeep) { try Everything(protobuf: groups) }
        let many = [[UInt8]](repeating: [0xC2, 0x01, 0x00], count: ProtobufLimits.elementsMax + 1).flatMap {
            $0
        }
        #expect(throws: ProtobufError.tooManyElements) { try Everything(protobuf: many) }
    }

    @Test("Truncated and damaged messages never trap")
    func damaged() {
        let bytes = Everything(
            aString: "text", inner: full.inner, numbers: full.numbers, colours: full.colours,
            counts: full.counts,
            choice: full.choice
        ).protobufBytes()
        for length in 0..<bytes.count { _ = try? Everything(protobuf: Array(bytes[..<length])) }
        var random = SplitMix(state: 1)
        var read = 0
        for _ in 0..<20_000 {
            var damaged = bytes
            for _ in 0..<(1 + random.next() % 4) {
                damaged[Int(random.next() % UInt64(damaged.count))] = UInt8(truncatingIfNeeded: random.next())
            }
            if let message = try? Everything(protobuf: damaged) {
                // What was read is written again without a trap.
                read += message.protobufBytes().isEmpty ? 0 : 1
            }
            _ = try? Everything(protobuf: (0..<64).map { _ in UInt8(truncatingIfNeeded: random.next()) })
        }
        #expect(read > 0)
    }
}

/// A generator of reproducible numbers: SplitMix64.
private struct SplitMix {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
