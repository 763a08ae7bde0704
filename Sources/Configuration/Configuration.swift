/// Where a value came from.
public enum ConfigurationOrigin: Hashable, Sendable, CustomStringConvertible {
    /// Nobody set it.
    case builtIn
    /// A line of a file.
    case file(path: String, line: Int)
    /// A variable of the environment.
    case environment(String)
    /// A flag, as it was spelt.
    case flag(String)
    /// The program itself, and why.
    case program(String)

    /// As `martlet config print` shows it.
    public var description: String {
        switch self {
        case .builtIn: "built-in"
        case .file(let path, let line): "\(path):\(line)"
        case .environment(let name): name
        case .flag(let flag): flag
        case .program(let why): why
        }
    }
}

/// The checked values of every key, each with where it came from. A value: copies do not share anything.
public struct Configuration: Sendable {
    /// One key's value.
    public struct Entry: Sendable {
        /// The schema's row.
        public let key: ConfigurationKey
        /// The checked value.
        public let value: ConfigurationValue
        /// Where it came from.
        public let origin: ConfigurationOrigin

        /// The value as people may see it: `***` for a secret that is set.
        public var shownText: String { key.isSecret && value != .none ? "***" : value.text }
    }

    private var byName: [String: Entry]
    private let surroundings: Surroundings

    init(byName: [String: Entry], surroundings: Surroundings) {
        self.byName = byName
        self.surroundings = surroundings
    }

    /// A setting's value. Never fails: everything was read and checked when the configuration was loaded.
    public subscript<Value>(_ setting: Setting<Value>) -> Value {
        guard let entry = byName[setting.key.name], let value = setting.value(entry.value) else {
            preconditionFailure(
                "\(setting.key.name) is missing in the schema's list, or its type does not fit its reader")
        }
        return value
    }

    /// Where a key's value came from.
    public func origin(of key: ConfigurationKey) -> ConfigurationOrigin {
        byName[key.name]?.origin ?? .builtIn
    }

    /// Every key with its value, in the schema's order.
    public var entries: [Entry] { Schema.all.compactMap { byName[$0.name] } }

    /// A copy in which one key has another value, and why: for commands that run several servers in one process.
    public func setting(_ name: String, to text: String, because why: String) throws(ConfigurationError)
        -> Configuration
    {
        guard let key = Schema.key(named: name) else { throw .unknown(key: name, place: why) }
        var copy = self
        copy.byName[name] = try Configuration.entry(key, text, from: .program(why), surroundings)
        return copy
    }

    static func entry(
        _ key: ConfigurationKey, _ text: String, from origin: ConfigurationOrigin,
        _ surroundings: Surroundings
    ) throws(ConfigurationError) -> Entry {
        let text = text.trimmed
        if text.isEmpty, key.isOptional { return Entry(key: key, value: .none, origin: origin) }
        switch key.type.read(text, surroundings: surroundings) {
        case .success(let value): return Entry(key: key, value: value, origin: origin)
        case .failure(let bad):
            let shown = key.isSecret ? "the value" : "\"\(text.prefix(80))\""
            throw ConfigurationError(.badValue, "\(key.name) (\(origin)): \(shown) \(bad.reason)")
        }
    }
}

extension ConfigurationError {
    static func unknown(key name: String, place: String) -> ConfigurationError {
        let hint = Spelling.hint(for: name, in: Schema.all.map(\.name))
        return ConfigurationError(.unknownKey, "unknown key \(name) in \(place)\(hint)")
    }
}
