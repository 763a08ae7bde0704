import Configuration
import Observability

extension Command {
    static let config = Command(
        name: "config", summary: "show every setting, its value and where it came from",
        examples: [
            Example(
                "martlet config print", "Every key: value, and the file's line, variable or flag that set it."
            ),
            Example("martlet config print --json", "The same for programs."),
            Example(
                "martlet config print --config martlet.toml --set peer.rack=r12",
                "What a server started so would use."),
        ],
        about: [
            "Later sources win: built-in values, then the file, then the environment (peer.data_dir is MARTLET_PEER_DATA_DIR), "
                + "then flags. The file is the one of --config, else of MARTLET_CONFIG, else ~/.config/martlet/martlet.toml, "
                + "else /etc/martlet/martlet.toml. It holds sections and key = value: [peer] and below it data_dir = \"/data\".",
            "Secrets are shown as ***.",
        ],
        arguments: .one("print"),
        options: [.json, Option("--doc", nil, "Say under each key what it is for.")]
    ) { input, context in
        guard input.arguments == ["print"] else {
            throw CommandFailure(
                .usage, "martlet config \(input.arguments[0]): there is only martlet config print")
        }
        if input.has("--json") {
            context.console.printJSON(ConfigurationReport.json(context.configuration))
        } else {
            for line in ConfigurationReport.lines(context.configuration, withDoc: input.has("--doc")) {
                context.console.print(line)
            }
        }
        return .ok
    }
}

/// The configuration as people and programs read it. Secrets are masked.
enum ConfigurationReport {
    static func lines(_ configuration: Configuration, withDoc: Bool) -> [String] {
        var table = TextTable([.left("KEY"), .left("VALUE"), .left("FROM")])
        for entry in configuration.entries {
            table.add([
                entry.key.name, entry.shownText.isEmpty ? "-" : entry.shownText, entry.origin.description,
            ])
        }
        let lines = table.lines()
        guard withDoc else { return lines }
        return [lines[0]]
            + zip(lines.dropFirst(), configuration.entries).flatMap { line, entry in
                [line, "    \(entry.key.doc) (\(entry.key.environmentName))"]
            }
    }

    static func json(_ configuration: Configuration) -> JSONValue {
        .object(
            configuration.entries.map { entry in
                let members: JSONValue = [
                    "value": entry.value == .none ? .null : .string(entry.shownText),
                    "from": .string(entry.origin.description),
                    "environment": .string(entry.key.environmentName),
                    "doc": .string(entry.key.doc),
                ]
                return JSONValue.Member(entry.key.name, members)
            })
    }
}
