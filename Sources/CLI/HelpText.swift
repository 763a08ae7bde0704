import Configuration

/// The texts of `--help`: examples first, then what can be said.
enum HelpText {
    /// The column at which the explanations of flags begin.
    private static let flagColumn = 30
    private static let width = 100

    static func overview(_ commands: [Command]) -> String {
        var out = """
            martlet: model weights, from peer to peer, to every node of a cluster

            Try it on one machine:
              martlet up                                      manager, scheduler and a peer in one process
              martlet get hf://sentence-transformers/all-MiniLM-L6-v2 --to ./model
              martlet ls

            A cluster:
              martlet manager --listen 0.0.0.0:7600           who belongs to the cluster
              martlet token create --role scheduler,seed,peer what the others join with: --token-file FILE, once
              martlet scheduler --manager HOST:7600           who gets pieces from whom
              martlet seed --manager HOST:7600                reads origins, once for all
              martlet peer --manager HOST:7600                on every node

            Usage: martlet COMMAND [FLAGS] [ARGUMENTS]      martlet COMMAND --help says more

            Commands:

            """
        for command in commands { out += entry(command.name, command.summary, column: 14) }
        out += "\nExit codes:\n"
        for code in ExitCode.allCases { out += entry(String(code.rawValue), code.meaning, column: 14) }
        out += "\nmartlet config print shows every setting, its value and where it came from.\n"
        return out
    }

    static func text(_ command: Command) -> String {
        var out = "martlet \(command.name): \(command.summary)\n\nExamples:\n"
        for example in command.examples {
            out += "  \(example.line)\n"
            out += wrapped(example.meaning, indent: 6)
        }
        out += "\nUsage: martlet \(command.name) [FLAGS]\(command.arguments.usage)\n"
        for paragraph in command.about { out += "\n" + wrapped(paragraph, indent: 0) }
        out += "\nFlags:\n"
        for option in command.options + Command.commonOptions {
            out += entry(option.name + (option.placeholder.map { " \($0)" } ?? ""), option.doc)
        }
        let schemaFlags = command.schemaFlags
        guard !schemaFlags.isEmpty else { return out }
        out +=
            "\nConfiguration (also in the file and the environment; martlet config print shows the names):\n"
        for (flag, key) in schemaFlags {
            let isSwitch = if case .flag = key.type { true } else { false }
            let builtIn = key.builtIn.description
            out += entry(
                isSwitch ? flag : "\(flag) \(key.type.placeholder)",
                key.doc + (builtIn.isEmpty ? "" : " [\(builtIn)]"))
        }
        return out
    }

    private static func entry(_ name: String, _ doc: String, column: Int = flagColumn) -> String {
        let head = "  \(name)"
        let body = wrapped(doc, indent: column)
        if head.count + 2 > column { return head + "\n" + body }
        return head + String(repeating: " ", count: column - head.count) + body.dropFirst(column)
    }

    private static func wrapped(_ text: String, indent: Int) -> String {
        let margin = String(repeating: " ", count: indent)
        var out = ""
        var line = ""
        for word in text.split(separator: " ") {
            if !line.isEmpty, indent + line.count + 1 + word.count > width {
                out += margin + line + "\n"
                line = ""
            }
            line += (line.isEmpty ? "" : " ") + word
        }
        return out + margin + line + "\n"
    }
}
