import Testing

@testable import Artifacts

@Suite struct JSONReaderTests {
    /// Reads the text as any value, then its end.
    private func skip(_ text: String) throws(JSONReader.Fault) {
        var reader = JSONReader(Array(text.utf8))
        try reader.skip()
        try reader.end()
    }

    @Test(arguments: [
        "{}", "[]", " { \"a\" : [1, -2.5e+3, true, false, null, \"x\"] } ", "\"\\u00e4\\ud83d\\ude00\\n\"",
        "0", "[[[]]]",
    ]) func validTextIsRead(_ text: String) throws {
        try skip(text)
    }

    @Test(arguments: [
        "", "{", "[1,]", "{\"a\"}", "{\"a\":}", "{a:1}", "\"x", "\"\u{01}\"", "\"\\x\"", "\"\\u12\"",
        "\"\\ud800\"", "\"\\ud800\\u0041\"",
        "tru", "nul", "1 2", "[1 2]", "{} x", "\"\\",
    ]) func malformedTextIsRefused(_ text: String) {
        #expect(throws: JSONReader.Fault.self) { try skip(text) }
    }

    @Test func bytesThatAreNotUTF8AreRefused() {
        var reader = JSONReader([UInt8(ascii: "\""), 0xff, UInt8(ascii: "\"")])
        #expect(throws: JSONReader.Fault.self) { try reader.string() }
    }

    @Test func depthIsLimited() throws {
        try skip(String(repeating: "[", count: 64) + String(repeating: "]", count: 64))
        #expect(throws: JSONReader.Fault.self) { try skip(String(repeating: "[", count: 1_000_000)) }
    }

    @Test func membersAreRead() throws {
        var reader = JSONReader(
            Array(#"{"n": 18446744073709551615, "s": "a\"\\\/\b\f\n\r\tä", "x": {"y": []}}"#.utf8))
        var number: UInt64 = 0
        var string = ""
        try reader.object { (name, reader) throws(JSONReader.Fault) in
            switch name {
            case "n": number = try reader.unsigned()
            case "s": string = try reader.string()
            default: try reader.skip()
            }
        }
        try reader.end()
        #expect(number == .max)
        #expect(string == "a\"\\/\u{8}\u{c}\n\r\tä")
    }

    @Test(arguments: ["-1", "1.5", "1e3", "01", "18446744073709551616", "", "x"])
    func onlyWholeNumbersAreUnsigned(_ text: String) {
        var reader = JSONReader(Array(text.utf8))
        #expect(throws: JSONReader.Fault.self) { try reader.unsigned() }
    }
}
