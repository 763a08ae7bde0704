/// A configuration file: a strict subset of TOML, so that editors know it and people can comment it (JSON has no
/// comments).
///
///     # where this host stands
///     [peer]
///     rack = "r12"
///     slots_bytes = "1GiB"
///     schedulers = ["10.0.0.5:7610", "10.0.0.6:7610"]
///
/// Sections, and `key = value` with a basic or literal string, an integer, `true`/`false` or a list of strings on one
/// line. No other TOML: no tables in lists, dotted keys, dates or multi-line strings. At most 1 MiB and 4096 entries.
package struct ConfigurationFile {
    package struct Entry: Equatable {
        package let name: String
        package let text: String
        let line: Int
    }

    static let bytesMax = 1 << 20
    static let entriesMax = 4096

    let path: String
    package private(set) var entries: [Entry] = []
    /// Every section's header, so that a misspelt one without keys is found too.
    private(set) var sections: [(name: String, line: Int)] = []

    static func load(_ path: String) throws(ConfigurationError) -> ConfigurationFile {
        switch readWholeFile(path, bytesMax: bytesMax) {
        case .success(let bytes):
            guard let text = String(validating: bytes, as: UTF8.self) else {
                throw ConfigurationError(.syntax, "\(path) is not UTF-8 text; save it as UTF-8")
            }
            return try ConfigurationFile(path: path, text: text)
        case .failure(.tooLarge):
            throw ConfigurationError(.unreadable, "\(path) is larger than 1 MiB; is it a configuration file?")
        case .failure(.errno(let code)):
            throw ConfigurationError(
                .unreadable, "cannot read the configuration file \(path): \(sentence(code)) [errno \(code)]",
                cause: code)
        }
    }

    package init(path: String, text: String) throws(ConfigurationError) {
        self.path = path
        var section = ""
        var seen: [String: Int] = [:]
        // By bytes: to Swift "\r\n" is one character.
        let lines = text.utf8.split(separator: 0x0A, omittingEmptySubsequences: false)
        for (index, raw) in lines.enumerated() {
            let line = index + 1
            var scanner = LineScanner(raw.last == 0x0D ? raw.dropLast() : raw)
            scanner.skipSpace()
            if scanner.isAtEnd { continue }
            if scanner.take("[") {
                section = try header(&scanner, line)
                sections.append((section, line))
                continue
            }
            guard let leaf = scanner.name() else {
                throw fault(line, "expected [section], key = value or # comment")
            }
            scanner.skipSpace()
            guard scanner.take("=") else { throw fault(line, "expected = after \(leaf)") }
            scanner.skipSpace()
            guard let text = scanner.value() else {
                throw fault(
                    line,
                    "the value of \(leaf) is no \"text\", number, true, false or [\"list\"] on one line; put text in quotes"
                )
            }
            scanner.skipSpace()
            guard scanner.isAtEnd else { throw fault(line, "something follows the value of \(leaf)") }
            guard !section.isEmpty else {
                throw fault(line, "\(leaf) stands in no section; put [peer] or another above it")
            }
            let name = "\(section).\(leaf)"
            if let earlier = seen.updateValue(line, forKey: name) {
                throw fault(line, "\(name) is already set in line \(earlier); keep one of them")
            }
            guard entries.count < ConfigurationFile.entriesMax else { throw fault(line, "too many entries") }
            entries.append(Entry(name: name, text: text, line: line))
        }
    }

    private func header(_ scanner: inout LineScanner, _ line: Int) throws(ConfigurationError) -> String {
        scanner.skipSpace()
        guard let name = scanner.name() else { throw fault(line, "expected a section's name, e.g. [peer]") }
        scanner.skipSpace()
        guard scanner.take("]") else { throw fault(line, "expected ] after [\(name)") }
        scanner.skipSpace()
        guard scanner.isAtEnd else { throw fault(line, "something follows [\(name)]") }
        return name
    }

    private func fault(_ line: Int, _ sentence: String) -> ConfigurationError {
        ConfigurationError(.syntax, "\(path):\(line): \(sentence)")
    }

    private static func sentence(_ code: Int32) -> String {
        switch code {
        case 2: "there is no such file"
        case 13: "permission denied"
        case 21: "it is a directory"
        default: "it cannot be read"
        }
    }
}

/// One line, read from left to right.
private struct LineScanner {
    private var rest: Substring.UTF8View

    init(_ line: Substring.UTF8View) { rest = line }

    /// Nothing is left but a comment.
    var isAtEnd: Bool { rest.isEmpty || rest.first == UInt8(ascii: "#") }

    mutating func skipSpace() { rest = rest.drop { $0 == 0x20 || $0 == 0x09 } }

    mutating func take(_ character: Unicode.Scalar) -> Bool {
        guard rest.first == UInt8(ascii: character) else { return false }
        rest.removeFirst()
        return true
    }

    mutating func name() -> String? {
        let bytes = rest.prefix { byte in
            (0x61...0x7A).contains(byte) || (0x41...0x5A).contains(byte) || (0x30...0x39).contains(byte)
                || byte == UInt8(ascii: "_") || byte == UInt8(ascii: "-")
        }
        rest = rest.dropFirst(bytes.count)
        return bytes.isEmpty ? nil : String(Substring(bytes))
    }

    mutating func value() -> String? {
        if take("[") { return list() }
        if rest.first == UInt8(ascii: "\"") || rest.first == UInt8(ascii: "'") { return string() }
        let bytes = rest.prefix { $0 != 0x20 && $0 != 0x09 && $0 != UInt8(ascii: "#") }
        let word = String(Substring(bytes))
        let digits = word.filter { $0 != "_" }
        guard word == "true" || word == "false" || Int64(digits) != nil else { return nil }
        rest = rest.dropFirst(bytes.count)
        return Int64(digits) == nil ? word : digits
    }

    private mutating func list() -> String? {
        var items: [String] = []
        while true {
            skipSpace()
            if take("]") { return items.joined(separator: ",") }
            guard let item = string(), !item.contains(",") else { return nil }
            items.append(item)
            skipSpace()
            if take(",") { continue }
            return take("]") ? items.joined(separator: ",") : nil
        }
    }

    private mutating func string() -> String? {
        if take("'") {
            let bytes = rest.prefix { $0 != UInt8(ascii: "'") }
            rest = rest.dropFirst(bytes.count)
            return take("'") ? String(Substring(bytes)) : nil
        }
        guard take("\"") else { return nil }
        var text: [UInt8] = []
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "\"") { return String(decoding: text, as: UTF8.self) }
            guard byte == UInt8(ascii: "\\") else {
                text.append(byte)
                continue
            }
            switch rest.popFirst() {
            case UInt8(ascii: "\""): text.append(UInt8(ascii: "\""))
            case UInt8(ascii: "\\"): text.append(UInt8(ascii: "\\"))
            case UInt8(ascii: "t"): text.append(0x09)
            default: return nil
            }
        }
        return nil
    }
}
