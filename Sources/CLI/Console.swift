import Glibc
import Observability

/// Where people read: results on stdout, everything else on stderr. Safe from every thread; a line is written whole.
public final class Console: Sendable {
    /// Whether somebody watches stderr on a terminal.
    public let isInteractive: Bool
    private let standardOutput: @Sendable (String) -> Void
    private let standardError: @Sendable (String) -> Void

    /// A console that writes by these closures: for tests.
    public init(
        isInteractive: Bool, output: @escaping @Sendable (String) -> Void,
        error: @escaping @Sendable (String) -> Void
    ) {
        self.isInteractive = isInteractive
        standardOutput = output
        standardError = error
    }

    /// The process's own.
    public static func ofThisProcess() -> Console {
        let isDumb = getenv("TERM").map { String(cString: $0) == "dumb" } ?? true
        return Console(
            isInteractive: isatty(2) == 1 && !isDumb, output: { writeAll($0, to: 1) },
            error: { writeAll($0, to: 2) })
    }

    /// A line of the result.
    public func print(_ line: String) { standardOutput(line + "\n") }

    /// A line that is not the result: progress, remarks.
    public func note(_ line: String) { standardError(line + "\n") }

    /// The result as JSON, for programs.
    public func printJSON(_ value: JSONValue, pretty: Bool = true) {
        standardOutput(value.text(pretty: pretty) + "\n")
    }

    /// Text for the terminal as it is, with control sequences.
    func draw(_ text: String) { standardError(text) }

    private static func writeAll(_ text: String, to descriptor: CInt) {
        var text = text
        text.withUTF8 { bytes in
            var written = 0
            while written < bytes.count {
                let count = write(descriptor, bytes.baseAddress! + written, bytes.count - written)
                // The reader has gone (EPIPE) or the disk is full: there is nobody left to tell.
                if count < 0 && errno != EINTR { return }
                written += max(0, count)
            }
        }
    }
}
