import Foundation

/// Runs a program, with a limit.
enum Command {
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    /// What it printed; thrown unless it ends with 0 within a minute.
    @discardableResult
    static func run(_ words: String...) throws -> String {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = words
        let output = FileManager.default.temporaryDirectory.appendingPathComponent("martlet-command-\(UUID())")
        guard FileManager.default.createFile(atPath: output.path, contents: nil) else {
            throw Failure(description: "cannot write \(output.path)")
        }
        defer { try? FileManager.default.removeItem(at: output) }
        let file = try FileHandle(forWritingTo: output)
        process.standardOutput = file
        process.standardError = file
        try process.run()
        let deadline = Date(timeIntervalSinceNow: 60)
        while process.isRunning, Date() < deadline { usleep(10_000) }
        if process.isRunning { process.terminate() }
        process.waitUntilExit()
        let text = String(decoding: try Data(contentsOf: output), as: UTF8.self)
        guard process.terminationStatus == 0 else {
            throw Failure(
                description: "\(words.joined(separator: " ")): exit code \(process.terminationStatus)\n\(text)")
        }
        return text
    }
}
