import Configuration

/// A command line, taken apart. Pure: it neither prints nor reads files.
struct CommandLineParser {
    /// What the words after `martlet` ask for.
    enum Request {
        /// The list of commands; `isError` when nothing was asked for.
        case overview(isError: Bool)
        case help(Command)
        case version
        case run(Command, Command.Input, configFile: String?, flags: [ConfigurationSources.FlagValue])
    }

    /// The longest command line: words.
    static let wordsMax = 4096

    let commands: [Command]

    func parse(_ words: [String]) throws(CommandFailure) -> Request {
        guard words.count <= CommandLineParser.wordsMax else {
            throw CommandFailure(.usage, "too many arguments; at most \(CommandLineParser.wordsMax)")
        }
        guard let first = words.first else { return .overview(isError: true) }
        switch first {
        case "--help", "-h": return .overview(isError: false)
        case "--version", "-V": return .version
        case "help":
            guard words.count > 1 else { return .overview(isError: false) }
            return .help(try command(words[1]))
        case _ where first.hasPrefix("-"):
            throw CommandFailure(
                .usage, "unknown flag \(first) before a command; flags follow it: martlet COMMAND [FLAGS]")
        default: return try parse(try command(first), Array(words.dropFirst()))
        }
    }

    private func command(_ name: String) throws(CommandFailure) -> Command {
        if let command = commands.first(where: { $0.name == name }) { return command }
        let hint = Spelling.hint(for: name, in: commands.map(\.name))
        throw CommandFailure(.usage, "unknown command \(name)\(hint.isEmpty ? "; see martlet --help" : hint)")
    }

    private func parse(_ command: Command, _ words: [String]) throws(CommandFailure) -> Request {
        var reader = WordReader(words: words[...])
        var input = Command.Input()
        var configFile: String?
        var flags: [ConfigurationSources.FlagValue] = []
        let schemaFlags = Dictionary(
            command.schemaFlags.map { ($0.flag, $0.key) }, uniquingKeysWith: { first, _ in first })
        let options = command.options + Command.commonOptions

        while let word = reader.next() {
            guard case .flag(let name) = word else {
                input.arguments.append(word.text)
                continue
            }
            if name == "--help" || name == "-h" { return .help(command) }
            if let key = schemaFlags[name] {
                let isSwitch = if case .flag = key.type { true } else { false }
                let text =
                    isSwitch
                    ? reader.attachedValue() ?? "true" : try reader.value(of: name, key.type.placeholder)
                flags.append(.init(keyName: key.name, text: text, spelled: name))
            } else if let option = options.first(where: { $0.name == name }) {
                guard let placeholder = option.placeholder else {
                    if reader.attachedValue() != nil {
                        throw CommandFailure(.usage, "\(name) takes no value")
                    }
                    input.switches.insert(name)
                    continue
                }
                let text = try reader.value(of: name, placeholder)
                switch name {
                case "--config": configFile = text
                case "--set": flags.append(try setting(text))
                default: input.values[name] = text
                }
            } else {
                let known = options.map(\.name) + schemaFlags.keys.sorted()
                let hint = Spelling.hint(for: name, in: known)
                throw CommandFailure(
                    .usage,
                    "unknown flag \(name) for martlet \(command.name)\(hint.isEmpty ? "; see martlet \(command.name) --help" : hint)"
                )
            }
        }
        try check(input.arguments, of: command)
        return .run(command, input, configFile: configFile, flags: flags)
    }

    private func setting(_ text: String) throws(CommandFailure) -> ConfigurationSources.FlagValue {
        guard let equals = text.firstIndex(of: "="), equals != text.startIndex else {
            throw CommandFailure(.usage, "--set \(text): write --set KEY=VALUE, e.g. --set peer.rack=r12")
        }
        return .init(
            keyName: String(text[..<equals]), text: String(text[text.index(after: equals)...]),
            spelled: "--set")
    }

    private func check(_ arguments: [String], of command: Command) throws(CommandFailure) {
        let example = command.examples.first.map { ", e.g. \($0.line)" } ?? ""
        switch command.arguments {
        case .none:
            guard let extra = arguments.first else { return }
            throw CommandFailure(.usage, "\(command.name) takes no argument, and was given \(extra)")
        case .one(let name):
            if arguments.isEmpty { throw CommandFailure(.usage, "\(command.name) needs \(name)\(example)") }
            guard arguments.count > 1 else { return }
            throw CommandFailure(
                .usage, "\(command.name) takes one \(name), and was also given \(arguments[1])")
        case .some(let name):
            if arguments.isEmpty { throw CommandFailure(.usage, "\(command.name) needs \(name)\(example)") }
        case .any: break
        }
    }
}

/// Words from left to right: `--flag value`, `--flag=value`, arguments, and after `--` arguments only.
private struct WordReader {
    enum Word {
        case flag(String)
        case argument(String)

        var text: String {
            switch self {
            case .flag(let text), .argument(let text): text
            }
        }
    }

    var words: ArraySlice<String>
    private var attached: String?
    private var flagsOver = false

    init(words: ArraySlice<String>) { self.words = words }

    mutating func next() -> Word? {
        guard let word = words.popFirst() else { return nil }
        if flagsOver || word == "-" || !word.hasPrefix("-") { return .argument(word) }
        if word == "--" {
            flagsOver = true
            return next()
        }
        attached = nil
        guard let equals = word.firstIndex(of: "=") else { return .flag(word) }
        attached = String(word[word.index(after: equals)...])
        return .flag(String(word[..<equals]))
    }

    /// What followed the flag's `=`.
    mutating func attachedValue() -> String? {
        defer { attached = nil }
        return attached
    }

    /// The flag's value: after `=`, or the next word.
    mutating func value(of flag: String, _ placeholder: String) throws(CommandFailure) -> String {
        if let text = attachedValue() { return text }
        guard let next = words.first, flagsOver || next == "-" || !next.hasPrefix("--") else {
            throw CommandFailure(.usage, "\(flag) needs a value: \(flag) \(placeholder)")
        }
        words.removeFirst()
        return next
    }
}
