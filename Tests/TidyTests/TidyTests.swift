import Foundation
import Testing

@Suite struct TidyTests {
    @Test func theTreeIsSeen() {
        // Guards the other tests against looking at nothing.
        #expect(SourceTree.files.contains { $0.path == "Package.swift" })
        for room in ImportLaw.pureCore {
            #expect(SourceTree.swiftSources.contains { $0.room == room }, "no source in \(room)")
        }
    }

    @Test(arguments: SourceTree.swiftSources)
    func importsFollowTheArrows(_ file: SourceFile) throws {
        let room = try #require(file.room)
        for (line, module) in file.imports {
            if let objection = ImportLaw.objection(to: module, in: room) {
                Issue.record("\(file.path):\(line): import \(module): \(objection)")
            }
        }
    }

    @Test func theLawObjects() {
        #expect(ImportLaw.objection(to: "Foundation", in: "Swarm") != nil)
        #expect(ImportLaw.objection(to: "Synchronization", in: "Scheduling") != nil)
        #expect(ImportLaw.objection(to: "Swarm", in: "Artifacts") != nil)
        #expect(ImportLaw.objection(to: "Foundation", in: "CLI") != nil)
        #expect(ImportLaw.objection(to: "CLinux", in: "Engine") != nil)
        #expect(ImportLaw.objection(to: "Artifacts", in: "Swarm") == nil)
        #expect(ImportLaw.objection(to: "Glibc", in: "System") == nil)
        let file = SourceFile(
            path: "Sources/X/Y.swift",
            lines: [
                "@testable import A", "import struct B.C", " import D // E", "important", "public import F",
            ])
        #expect(file.imports.map(\.module) == ["A", "B", "D", "F"])
    }

    @Test func arrowsPointDown() {
        // No room can be reached from itself.
        func reachable(_ room: String) -> Set<String> {
            var seen: Set<String> = []
            var open = Array(ImportLaw.arrows[room] ?? [])
            while let next = open.popLast() {
                if seen.insert(next).inserted { open += ImportLaw.arrows[next] ?? [] }
            }
            return seen
        }
        for room in ImportLaw.arrows.keys {
            #expect(!reachable(room).contains(room), "\(room) imports itself in a circle")
        }
    }

    @Test(arguments: SourceTree.files)
    func textIsTidy(_ file: SourceFile) {
        // Written in halves, so that this file is tidy too.
        let leftOvers = ["TO" + "DO", "FIX" + "ME", "XX" + "X:"]
        let places = ["/wo" + "rk/", "/tmp/" + "wt", "/tmp/" + "w/"]
        for (index, line) in file.lines.enumerated() {
            let place = "\(file.path):\(index + 1)"
            if line.last == " " || line.last == "\t" { Issue.record("\(place): trailing white space") }
            if line.contains("\r") { Issue.record("\(place): carriage return") }
            for word in leftOvers where line.contains(word) {
                Issue.record("\(place): \(word): do it, or write down why not")
            }
            for path in places where line.contains(path) {
                Issue.record("\(place): \(path) is a place on one machine")
            }
            if line.contains("\t"), !file.path.hasSuffix("Makefile"), !file.path.hasSuffix(".S") {
                Issue.record("\(place): tab")
            }
        }
        if file.lines.last != "" { Issue.record("\(file.path): no newline at the end") }
        if file.lines.count > 1, file.lines.suffix(2).allSatisfy(\.isEmpty) {
            Issue.record("\(file.path): blank line at the end")
        }
    }

    @Test(
        arguments: SourceTree.files.filter {
            $0.path.hasSuffix(".swift") || $0.path.hasSuffix(".py") || $0.path.hasSuffix(".c")
        })
    func filesAreShort(_ file: SourceFile) {
        let isGenerated = file.lines.prefix(5).contains { $0.lowercased().contains("generated") }
        #expect(
            isGenerated || file.lines.count <= 501,
            "\(file.path) has \(file.lines.count - 1) lines; a file is one noun, at most 500")
    }

    @Test(arguments: SourceTree.swiftSources)
    func dangerousWordsAreExplained(_ file: SourceFile) {
        let words = [
            "@unchecked Sendable", "nonisolated(unsafe)", "unsafeBitCast(", "Unmanaged<",
        ]
        for (index, line) in file.lines.enumerated() where words.contains(where: line.contains) {
            // The reason stands on the line or in the comment lines just above the declaration or statement.
            let above = file.lines[max(0, index - 8)...index]
            if !above.contains(where: { $0.contains("// Safety:") || $0.contains("/// Safety:") }) {
                Issue.record(
                    "\(file.path):\(index + 1): needs a \"// Safety:\" line that says why this is right")
            }
        }
    }
}
