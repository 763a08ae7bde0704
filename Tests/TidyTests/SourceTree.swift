import Foundation
import Testing

/// One text file of the repository.
struct SourceFile: CustomTestStringConvertible, Sendable {
    /// From the repository's root: `Sources/Swarm/DownloadMachine.swift`.
    let path: String
    let lines: [String]

    var testDescription: String { path }

    /// The room of a Swift source: `Swarm`; nil outside `Sources`.
    var room: String? {
        let parts = path.split(separator: "/")
        return parts.count > 2 && parts[0] == "Sources" ? String(parts[1]) : nil
    }

    /// Modules imported, with their line numbers. Attributes (`@testable import X`) and kinds (`import struct X.Y`) are
    /// seen through.
    var imports: [(line: Int, module: String)] {
        lines.enumerated().compactMap { index, line in
            let prefixes = ["public", "internal", "package", "private", "fileprivate"]
            let kinds = ["struct", "class", "enum", "protocol", "func", "var", "let", "typealias"]
            let words = line.split(separator: " ").drop { $0.hasPrefix("@") || prefixes.contains(String($0)) }
            guard words.first == "import" else { return nil }
            guard let module = words.dropFirst().first(where: { !kinds.contains(String($0)) }) else {
                return nil
            }
            return (index + 1, String(module.prefix { $0 != "." && $0 != ";" }))
        }
    }
}

/// The repository this test was built from.
enum SourceTree {
    static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().path

    /// Every text file of ours, generated code and build products aside, in the order of their paths.
    static let files: [SourceFile] = {
        let folders = ["Sources", "CShims", "Tests", "Bench", "Tools", "proto", "deploy", "docs", ".ci", ".github"]
        var paths = ["Package.swift", "Makefile", "README.md"]
        for folder in folders {
            for case let path as String in FileManager.default.enumerator(atPath: "\(root)/\(folder)")
                ?? .init()
            {
                if path.contains("__pycache__") || path.contains("node_modules") { continue }
                paths.append("\(folder)/\(path)")
            }
        }
        let kinds = ["swift", "c", "h", "py", "sh", "md", "proto", "yaml", "yml", "toml", "json", "S"]
        return paths.sorted().compactMap { path in
            let scripts = ["Makefile", ".ci/run", "Tools/setup", "Tools/setup-rxe", "Tools/install-missing"]
            let isScript = scripts.contains(path) || path.hasPrefix("Tests/rxe/")
            guard isScript || kinds.contains((path as NSString).pathExtension),
                let text = try? String(contentsOfFile: "\(root)/\(path)", encoding: .utf8)
            else { return nil }
            return SourceFile(path: path, lines: text.components(separatedBy: "\n"))
        }
    }()

    static let swiftSources = files.filter { $0.path.hasSuffix(".swift") && $0.room != nil }
}
