/// A JSON value to be written: log lines and the commands' `--json`. Members keep their order.
public indirect enum JSONValue: Sendable, Equatable {
    case null
    case bool(Bool)
    case integer(Int64)
    case unsigned(UInt64)
    /// Written as null when it is not finite: JSON has no word for that.
    case number(Double)
    case string(String)
    case array([JSONValue])
    case object([Member])

    /// One member of an object.
    public struct Member: Sendable, Equatable {
        /// Its name.
        public let name: String
        /// Its value.
        public let value: JSONValue
        /// Pairs a name and a value.
        public init(_ name: String, _ value: JSONValue) {
            self.name = name
            self.value = value
        }
    }

    /// A string, or null for none.
    public static func optional(_ text: String?) -> JSONValue { text.map { .string($0) } ?? .null }

    /// A whole number, or null for none.
    public static func count(_ number: Int?) -> JSONValue { number.map { .integer(Int64($0)) } ?? .null }

    /// The text: on one line, or indented by two spaces.
    public func text(pretty: Bool = false) -> String {
        var out = ""
        write(into: &out, indent: pretty ? 0 : nil)
        return out
    }

    /// Appends a JSON string with its quotes.
    static func writeString(_ text: String, into out: inout String) {
        out += "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": out += "\\\""
            case "\\": out += "\\\\"
            case "\n": out += "\\n"
            case "\r": out += "\\r"
            case "\t": out += "\\t"
            case _ where scalar.value < 0x20 || scalar.value == 0x7F:
                let digits = String(scalar.value, radix: 16)
                out += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: out.unicodeScalars.append(scalar)
            }
        }
        out += "\""
    }

    private func write(into out: inout String, indent: Int?) {
        switch self {
        case .null: out += "null"
        case .bool(let flag): out += flag ? "true" : "false"
        case .integer(let number): out += String(number)
        case .unsigned(let number): out += String(number)
        case .number(let number): out += number.isFinite ? "\(number)" : "null"
        case .string(let text): JSONValue.writeString(text, into: &out)
        case .array(let items):
            JSONValue.writeSequence(items, "[", "]", into: &out, indent: indent) { item, out, indent in
                item.write(into: &out, indent: indent)
            }
        case .object(let members):
            JSONValue.writeSequence(members, "{", "}", into: &out, indent: indent) { member, out, indent in
                JSONValue.writeString(member.name, into: &out)
                out += indent == nil ? ":" : ": "
                member.value.write(into: &out, indent: indent)
            }
        }
    }

    private static func writeSequence<Element>(
        _ items: [Element], _ open: String, _ close: String, into out: inout String, indent: Int?,
        _ write: (Element, inout String, Int?) -> Void
    ) {
        out += open
        for (index, item) in items.enumerated() {
            if index > 0 { out += "," }
            if let indent { out += "\n" + String(repeating: " ", count: indent + 2) }
            write(item, &out, indent.map { $0 + 2 })
        }
        if let indent, !items.isEmpty { out += "\n" + String(repeating: " ", count: indent) }
        out += close
    }
}

extension JSONValue: ExpressibleByStringLiteral, ExpressibleByStringInterpolation,
    ExpressibleByIntegerLiteral,
    ExpressibleByBooleanLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral,
    ExpressibleByFloatLiteral
{
    /// A string.
    public init(stringLiteral text: String) { self = .string(text) }
    /// A whole number.
    public init(integerLiteral number: Int64) { self = .integer(number) }
    /// True or false.
    public init(booleanLiteral flag: Bool) { self = .bool(flag) }
    /// Any number.
    public init(floatLiteral number: Double) { self = .number(number) }
    /// A list.
    public init(arrayLiteral items: JSONValue...) { self = .array(items) }
    /// An object, its members in this order.
    public init(dictionaryLiteral members: (String, JSONValue)...) {
        self = .object(members.map { Member($0.0, $0.1) })
    }
}
