/// The commands, as the schema names those that use a key.
public enum CommandName: String, Sendable, Hashable, CaseIterable {
    case manager, scheduler, seed, peer, up, get, ls, pin, unpin, rm, info, settings, token

    /// The section whose keys make short flags: `peer.data_dir` is `--data-dir` for `martlet peer`.
    var homeSection: String {
        switch self {
        case .manager, .token: "manager"
        case .scheduler: "scheduler"
        default: "peer"
        }
    }
}

extension Set<CommandName> {
    /// Every command.
    public static let all = Set(CommandName.allCases)
    /// The commands that run until stopped.
    public static let servers: Self = [.manager, .scheduler, .seed, .peer, .up]
    /// The commands that take part in a cluster.
    public static let members: Self = [.manager, .scheduler, .seed, .peer, .up, .get, .settings]
    /// The commands in which a peer runs.
    public static let peers: Self = [.seed, .peer, .up, .get]
    /// The commands that talk to the node's peer, and the peer itself.
    public static let node: Self = [.seed, .peer, .up, .get, .ls, .pin, .unpin, .rm, .info]
    /// The commands that join a cluster.
    public static let joiners: Self = [.scheduler, .seed, .peer, .up, .get]
    /// The commands in which a scheduler runs.
    public static let schedulers: Self = [.scheduler, .up]
    /// The commands in which a manager runs.
    public static let managers: Self = [.manager, .up]
}

/// The value a key has when nobody sets it.
public struct BuiltInValue: Sendable, ExpressibleByStringLiteral {
    /// The value as help shows it.
    public let description: String
    let make: @Sendable (Surroundings) -> String

    /// A constant, written as in an environment variable.
    public init(stringLiteral text: String) {
        description = text
        make = { _ in text }
    }

    /// A value that depends on the surroundings.
    public static func derived(
        _ description: String, _ make: @escaping @Sendable (Surroundings) -> String
    ) -> BuiltInValue {
        BuiltInValue(description: description, make: make)
    }

    private init(description: String, make: @escaping @Sendable (Surroundings) -> String) {
        self.description = description
        self.make = make
    }
}

/// One row of the schema: everything that files, the environment, flags, help and `martlet config print` know of a key.
public struct ConfigurationKey: Sendable {
    /// The name: `section.leaf`, in lower case with underscores.
    public let name: String
    /// What its values look like.
    public let type: ConfigurationType
    /// What it is when nobody sets it; empty for an optional key.
    public let builtIn: BuiltInValue
    /// One sentence for people.
    public let doc: String
    /// Who uses it, and so has a flag for it.
    public let commands: Set<CommandName>
    /// Whether an empty value means "not set".
    public let isOptional: Bool
    /// Whether the value is never shown, and has no flag: command lines are public on a machine.
    public let isSecret: Bool
    /// A flag's name that is better than the generated one, without dashes.
    let flagName: String?
    /// Other variables that set it, because the field knows them by these names.
    let environmentAliases: [String]

    /// The part before the dot.
    public var section: String { String(name.prefix { $0 != "." }) }
    /// The part after the dot.
    public var leaf: String { String(name.dropFirst(section.count + 1)) }

    /// The variable that sets it: `MARTLET_PEER_DATA_DIR`.
    public var environmentName: String {
        "MARTLET_" + name.uppercased().map { $0 == "." ? "_" : String($0) }.joined()
    }

    /// The flag that sets it in a command, e.g. `--data-dir`; nil where the command does not use it, and for secrets.
    ///
    /// Keys of the command's own section are named by their leaf alone; others by section and leaf.
    public func flag(in command: CommandName) -> String? {
        guard commands.contains(command), !isSecret else { return nil }
        let long = section == command.homeSection ? leaf : "\(section)-\(leaf)"
        return "--" + (flagName ?? long).map { $0 == "_" ? "-" : String($0) }.joined()
    }
}
