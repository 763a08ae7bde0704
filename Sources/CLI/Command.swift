import Configuration

/// One subcommand as a value: what help says of it, what it takes, and what it does.
struct Command: Sendable {
    /// A line to try, and what it does.
    struct Example: Sendable {
        let line: String
        let meaning: String

        init(_ line: String, _ meaning: String) {
            self.line = line
            self.meaning = meaning
        }
    }

    /// A flag of the command's own, beside those that the schema gives it.
    struct Option: Sendable {
        /// With its dashes: `--to`.
        let name: String
        /// What stands for its value in help; nil for a switch.
        let placeholder: String?
        let doc: String

        init(_ name: String, _ placeholder: String? = nil, _ doc: String) {
            self.name = name
            self.placeholder = placeholder
            self.doc = doc
        }
    }

    /// The words after the flags.
    enum Arguments: Sendable {
        case none
        /// Exactly one, and what stands for it in help.
        case one(String)
        /// One or more.
        case some(String)
        /// Any number, none too.
        case any(String)

        var usage: String {
            switch self {
            case .none: ""
            case .one(let name): " \(name)"
            case .some(let name): " \(name)..."
            case .any(let name): " [\(name)...]"
            }
        }
    }

    /// What the command line said.
    struct Input: Sendable {
        var arguments: [String] = []
        var values: [String: String] = [:]
        var switches: Set<String> = []

        /// Whether a switch was given.
        func has(_ name: String) -> Bool { switches.contains(name) }
    }

    let name: String
    /// One line of `martlet --help`.
    let summary: String
    let examples: [Example]
    /// What one should know, in short paragraphs.
    var about: [String] = []
    var arguments: Arguments = .none
    var options: [Option] = []
    /// Whose flags the schema gives it; nil for commands without.
    var configuration: CommandName?
    /// Whether it stops by itself when asked to; others end at once on Ctrl-C.
    var stopsGracefully = false
    let run: @Sendable (Input, CommandContext) async throws -> ExitCode

    /// The flags that every command has.
    static let commonOptions = [
        Option("--config", "FILE", "Read this configuration file instead of the usual ones."),
        Option(
            "--set", "KEY=VALUE",
            "Set any key of the configuration; may be repeated. See martlet config print."),
        Option("--help", nil, "Show this text."),
    ]

    /// The schema's flags, with their keys.
    var schemaFlags: [(flag: String, key: ConfigurationKey)] {
        guard let configuration else { return [] }
        return Schema.keys(of: configuration).compactMap { key in
            key.flag(in: configuration).map { ($0, key) }
        }
    }
}

/// The shared parts of what commands take.
extension Command.Option {
    static let json = Command.Option("--json", nil, "Print the result as JSON on stdout.")
}
