/// Reads JSON member by member without building a tree: bounded in size by its input and in depth by a limit.
///
/// For what origins answer and what stands in front of safetensors files: text that strangers wrote. Numbers are read
/// as unsigned integers or skipped; the reader throws on the first byte that is not JSON. (RFC 8259)
public struct JSONReader: Sendable {
    /// Where and why the text is not what was expected.
    public struct Fault: Error, Hashable, Sendable, CustomStringConvertible {
        /// What was expected.
        public let expected: String
        /// The byte at which it was not found.
        public let offset: Int
        /// One clause: what was expected where.
        public var description: String { "expected \(expected) at byte \(offset) of the JSON text" }
    }

    /// What kind of value comes next.
    public enum Kind: Hashable, Sendable {
        /// `{`
        case object
        /// `[`
        case array
        /// `"`
        case string
        /// A number.
        case number
        /// `true` or `false`
        case boolean
        /// `null`
        case null
    }

    /// How deep values may nest.
    public static let depthMax = 64

    private let bytes: [UInt8]
    private var position: Int
    private var depth = 0

    /// Reads the text from a byte on; what lies before is not looked at.
    public init(_ bytes: [UInt8], from offset: Int = 0) {
        self.bytes = bytes
        position = offset
    }

    /// What comes next; throws at the end and at what starts no value.
    public mutating func kind() throws(Fault) -> Kind {
        skipBlanks()
        guard position < bytes.count else { throw fault("a value") }
        switch bytes[position] {
        case UInt8(ascii: "{"): return .object
        case UInt8(ascii: "["): return .array
        case UInt8(ascii: "\""): return .string
        case UInt8(ascii: "t"), UInt8(ascii: "f"): return .boolean
        case UInt8(ascii: "n"): return .null
        case UInt8(ascii: "-"), 48...57: return .number
        default: throw fault("a value")
        }
    }

    /// Reads an object: `member` gets each name and must read or skip its value.
    public mutating func object(_ member: (String, inout JSONReader) throws(Fault) -> Void) throws(Fault) {
        try enter("{")
        if take("}") {
            depth -= 1
            return
        }
        repeat {
            let name = try string()
            guard take(":") else { throw fault("‘:’") }
            try member(name, &self)
        } while take(",")
        guard take("}") else { throw fault("‘,’ or ‘}’") }
        depth -= 1
    }

    /// Reads an array: `element` must read or skip one value.
    public mutating func array(_ element: (inout JSONReader) throws(Fault) -> Void) throws(Fault) {
        try enter("[")
        if take("]") {
            depth -= 1
            return
        }
        repeat { try element(&self) } while take(",")
        guard take("]") else { throw fault("‘,’ or ‘]’") }
        depth -= 1
    }

    /// Reads a string, escapes resolved.
    public mutating func string() throws(Fault) -> String {
        guard take("\"") else { throw fault("a string") }
        var text: [UInt8] = []
        while position < bytes.count {
            let byte = bytes[position]
            switch byte {
            case UInt8(ascii: "\""):
                guard let valid = String(validating: text, as: UTF8.self) else { throw fault("UTF-8") }
                position += 1
                return valid
            case UInt8(ascii: "\\"):
                position += 1
                try escape(into: &text)
            case 0..<32: throw fault("a string without control characters")
            default:
                text.append(byte)
                position += 1
            }
        }
        throw fault("‘\"’")
    }

    /// Reads a whole number from 0 to 2⁶⁴ − 1.
    public mutating func unsigned() throws(Fault) -> UInt64 {
        skipBlanks()
        let start = position
        while position < bytes.count, (48...57).contains(bytes[position]) { position += 1 }
        let digits = String(decoding: bytes[start..<position], as: UTF8.self)
        let goesOn =
            position < bytes.count
            && [UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E")].contains(bytes[position])
        guard let value = UInt64(digits), !goesOn, digits.count == 1 || !digits.hasPrefix("0") else {
            position = start
            throw fault("a whole number below 2^64")
        }
        return value
    }

    /// Reads any value and forgets it.
    public mutating func skip() throws(Fault) {
        switch try kind() {
        case .object: try object { (_, reader) throws(Fault) in try reader.skip() }
        case .array: try array { (reader) throws(Fault) in try reader.skip() }
        case .string: _ = try string()
        case .number:
            while position < bytes.count, isNumberByte(bytes[position]) { position += 1 }
        case .boolean: try word(bytes[position] == UInt8(ascii: "t") ? "true" : "false")
        case .null: try word("null")
        }
    }

    /// Requires that only blanks follow.
    public mutating func end() throws(Fault) {
        skipBlanks()
        guard position == bytes.count else { throw fault("the end") }
    }

    // Pieces of the grammar.

    private func fault(_ expected: String) -> Fault { Fault(expected: expected, offset: position) }

    private mutating func skipBlanks() {
        while position < bytes.count, [32, 9, 10, 13].contains(bytes[position]) { position += 1 }
    }

    private mutating func take(_ character: Unicode.Scalar) -> Bool {
        skipBlanks()
        guard position < bytes.count, bytes[position] == UInt8(ascii: character) else { return false }
        position += 1
        return true
    }

    private mutating func enter(_ bracket: Unicode.Scalar) throws(Fault) {
        guard take(bracket) else { throw fault("‘\(bracket)’") }
        depth += 1
        guard depth <= JSONReader.depthMax else { throw fault("at most \(JSONReader.depthMax) levels") }
    }

    private mutating func word(_ text: String) throws(Fault) {
        guard bytes[position...].starts(with: text.utf8) else { throw fault("‘\(text)’") }
        position += text.utf8.count
    }

    private func isNumberByte(_ byte: UInt8) -> Bool {
        (48...57).contains(byte)
            || [
                UInt8(ascii: "-"), UInt8(ascii: "+"), UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E"),
            ]
            .contains(byte)
    }

    private mutating func escape(into text: inout [UInt8]) throws(Fault) {
        guard position < bytes.count else { throw fault("an escape") }
        let byte = bytes[position]
        let plain: [UInt8: UInt8] = [
            UInt8(ascii: "\""): UInt8(ascii: "\""), UInt8(ascii: "\\"): UInt8(ascii: "\\"),
            UInt8(ascii: "/"): UInt8(ascii: "/"),
            UInt8(ascii: "b"): 8, UInt8(ascii: "f"): 12, UInt8(ascii: "n"): 10, UInt8(ascii: "r"): 13,
            UInt8(ascii: "t"): 9,
        ]
        if let value = plain[byte] {
            text.append(value)
            position += 1
            return
        }
        guard byte == UInt8(ascii: "u") else { throw fault("an escape") }
        position += 1
        var scalar = UInt32(try hexUnit())
        if (0xD800..<0xDC00).contains(scalar) {
            guard bytes[position...].starts(with: "\\u".utf8) else {
                throw fault("the second half of a surrogate pair")
            }
            position += 2
            let low = UInt32(try hexUnit())
            guard (0xDC00..<0xE000).contains(low) else { throw fault("the second half of a surrogate pair") }
            scalar = 0x10000 + (scalar - 0xD800) << 10 + (low - 0xDC00)
        }
        guard let character = Unicode.Scalar(scalar) else { throw fault("a character") }
        text.append(contentsOf: String(Character(character)).utf8)
    }

    private mutating func hexUnit() throws(Fault) -> UInt16 {
        guard position + 4 <= bytes.count,
            bytes[position..<position + 4].allSatisfy({ Character(Unicode.Scalar($0)).isHexDigit }),
            let unit = UInt16(String(decoding: bytes[position..<position + 4], as: UTF8.self), radix: 16)
        else { throw fault("four hex digits") }
        position += 4
        return unit
    }
}
