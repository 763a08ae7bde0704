import Testing

/// The threat model says which test shows each row: those tests exist.
@Suite struct ThreatModelTests {
    private static let page = SourceTree.files.first { $0.path == "docs/threat-model.md" }
    private static let tests = SourceTree.files.filter { $0.path.hasPrefix("Tests/") }

    /// Words in backticks, with the suite a leading dot stands for.
    private static var named: [String] {
        var found: [String] = []
        var suite = ""
        for line in page?.lines ?? [] {
            for (place, word) in line.split(separator: "`", omittingEmptySubsequences: false).enumerated()
            where place % 2 == 1 {
                if word.hasPrefix("."), word.dropFirst().first?.isLowercase ?? false, !suite.isEmpty {
                    found.append(suite + word)
                }
                guard let first = word.first, first.isUppercase,
                    word.contains("Tests."), !word.contains("/") || word.hasSuffix("Tests")
                else {
                    if word.hasSuffix("Tests") { (suite, found) = (String(word), found + [String(word)]) }
                    continue
                }
                suite = String(word.prefix { $0 != "." })
                found.append(String(word))
            }
        }
        return found
    }

    @Test func everyTestNamedExists() throws {
        let named = Self.named
        #expect(named.count > 20)
        for name in named {
            let parts = name.split(separator: ".")
            let isThere = Self.tests.contains { file in
                (file.path.hasSuffix("/\(parts[0]).swift") || file.lines.contains { $0.contains("struct \(parts[0])") })
                    && (parts.count == 1 || file.lines.contains { $0.contains("func \(parts[1])(") })
            }
            #expect(isThere, "docs/threat-model.md names \(name), which is no test")
        }
    }

    @Test func everyFuzzTargetIsInTheTable() throws {
        let page = try #require(Self.page).lines.joined(separator: "\n")
        let targets = Self.tests.filter { $0.path.hasPrefix("Tests/Fuzz/Targets/") }.flatMap(\.lines)
        let names = targets.enumerated().compactMap { index, line -> String? in
            guard line.contains("FuzzTarget("), index + 1 < targets.count else { return nil }
            let text = line + targets[index + 1]
            let parts = text.split(separator: "\"")
            return parts.count > 1 && !text.contains("init(") ? String(parts[1]) : nil
        }
        #expect(names.count > 15)
        for name in names { #expect(page.contains("`\(name)`"), "the table of parsers lacks \(name)") }
    }
}
