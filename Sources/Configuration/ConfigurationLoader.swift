/// What a configuration is made from. Later sources win: built-in, file, environment, flags.
public struct ConfigurationSources: Sendable {
    /// A flag's value, as it was given.
    public struct FlagValue: Sendable, Hashable {
        /// The key it sets.
        public let keyName: String
        /// The value's text.
        public let text: String
        /// How the flag was spelt, to be shown again: `--data-dir`, `--set`.
        public let spelled: String

        /// Describes a flag's value.
        public init(keyName: String, text: String, spelled: String) {
            self.keyName = keyName
            self.text = text
            self.spelled = spelled
        }
    }

    /// The file named by `--config`; nil: the one named by MARTLET_CONFIG, or the first that exists in the usual
    /// places.
    public var file: String?
    /// The flags, in order.
    public var flags: [FlagValue]
    /// The environment, the home directory and who runs the process.
    public var surroundings: Surroundings

    /// Names the sources.
    public init(file: String? = nil, flags: [FlagValue] = [], surroundings: Surroundings = .ofThisProcess()) {
        self.file = file
        self.flags = flags
        self.surroundings = surroundings
    }

    /// The variable that names a configuration file.
    public static let fileVariable = "MARTLET_CONFIG"
}

extension Configuration {
    /// Reads and checks everything. Blocks on the disk for a moment: call it at the start.
    public static func load(_ sources: ConfigurationSources) throws(ConfigurationError) -> Configuration {
        let surroundings = sources.surroundings
        var byName: [String: Entry] = [:]
        for key in Schema.all {
            byName[key.name] = try entry(key, key.builtIn.make(surroundings), from: .builtIn, surroundings)
        }
        if let file = try configurationFile(sources) {
            for item in file.entries {
                guard let key = Schema.key(named: item.name) else {
                    throw .unknown(key: item.name, place: "\(file.path):\(item.line)")
                }
                let origin = ConfigurationOrigin.file(path: file.path, line: item.line)
                byName[key.name] = try entry(key, item.text, from: origin, surroundings)
            }
            try checkSections(of: file)
        }
        for (name, variable, text) in try variables(surroundings.environment) {
            guard let key = Schema.key(named: name) else { continue }
            byName[name] = try entry(key, text, from: .environment(variable), surroundings)
        }
        for flag in sources.flags {
            guard let key = Schema.key(named: flag.keyName) else {
                throw .unknown(key: flag.keyName, place: flag.spelled)
            }
            guard !key.isSecret else {
                throw ConfigurationError(
                    .conflict,
                    "\(key.name) is a secret and command lines are public; set it by \(key.environmentName) or in a file"
                )
            }
            byName[key.name] = try entry(key, flag.text, from: .flag(flag.spelled), surroundings)
        }
        return Configuration(byName: byName, surroundings: surroundings)
    }

    private static func configurationFile(
        _ sources: ConfigurationSources
    ) throws(ConfigurationError) -> ConfigurationFile? {
        let named = sources.surroundings.environment[ConfigurationSources.fileVariable]
        if let path = sources.file ?? named.flatMap({ $0.isEmpty ? nil : $0 }) {
            return try ConfigurationFile.load(path)
        }
        for path in sources.surroundings.configurationFiles {
            do {
                return try ConfigurationFile.load(path)
            } catch  where error.cause == 2 {
                continue
            }
        }
        return nil
    }

    private static func checkSections(of file: ConfigurationFile) throws(ConfigurationError) {
        let known = Set(Schema.all.map(\.section))
        for section in file.sections where !known.contains(section.name) {
            throw ConfigurationError(
                .unknownKey,
                "unknown section [\(section.name)] in \(file.path):\(section.line)"
                    + Spelling.hint(for: section.name, in: known.sorted()))
        }
    }

    /// The variables that set keys, aliases first so that our own names win.
    private static func variables(
        _ environment: [String: String]
    ) throws(ConfigurationError) -> [(key: String, variable: String, text: String)] {
        var found: [(key: String, variable: String, text: String)] = []
        var names: [String: String] = [:]
        for key in Schema.all {
            names[key.environmentName] = key.name
            for alias in key.environmentAliases {
                if let text = environment[alias], !text.isEmpty { found.append((key.name, alias, text)) }
            }
        }
        for (variable, text) in environment.sorted(by: { $0.key < $1.key })
        where variable.hasPrefix("MARTLET_") {
            if let key = names[variable] {
                found.append((key, variable, text))
            } else if !isForeign(variable) {
                let hint = Spelling.hint(for: variable, in: names.keys.sorted())
                throw ConfigurationError(
                    .unknownKey, "unknown variable \(variable) in the environment\(hint)")
            }
        }
        return found
    }

    /// Variables with our prefix that are not configuration: the file's name, an origin's credentials (a secret that
    /// stays in the environment), the fault injector's (tests), and those that Kubernetes sets for services called
    /// `martlet…`.
    private static func isForeign(_ variable: String) -> Bool {
        if variable == ConfigurationSources.fileVariable || variable == "MARTLET_HTTP_AUTHORIZATION"
            || variable.hasPrefix("MARTLET_FAULT_")
        {
            return true
        }
        if variable.hasSuffix("_SERVICE_HOST") || variable.hasSuffix("_PORT") { return true }
        let parts = variable.split(separator: "_")
        for (index, part) in parts.enumerated().dropLast() where part == "PORT" {
            if UInt16(parts[index + 1]) != nil { return true }
        }
        return parts.indices.dropLast().contains { parts[$0] == "SERVICE" && parts[$0 + 1] == "PORT" }
    }
}
