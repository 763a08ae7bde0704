/// A typed handle of a schema row: `configuration[Schema.Peer.listen]` is a `NetworkAddress`.
public struct Setting<Value: Sendable>: Sendable {
    /// The row.
    public let key: ConfigurationKey
    let value: @Sendable (ConfigurationValue) -> Value?

    init(
        _ name: String, _ type: ConfigurationType, _ builtIn: BuiltInValue, for commands: Set<CommandName>,
        doc: String,
        optional: Bool = false, secret: Bool = false, flag: String? = nil, aliases: [String] = [],
        value: @escaping @Sendable (ConfigurationValue) -> Value?
    ) {
        key = ConfigurationKey(
            name: name, type: type, builtIn: builtIn, doc: doc, commands: commands, isOptional: optional,
            isSecret: secret, flagName: flag, environmentAliases: aliases)
        self.value = value
    }
}

extension Setting where Value == String {
    static func text(
        _ name: String, _ builtIn: BuiltInValue, for commands: Set<CommandName>, flag: String? = nil,
        aliases: [String] = [], _ doc: String
    ) -> Self {
        Self(name, .text, builtIn, for: commands, doc: doc, flag: flag, aliases: aliases) {
            if case .text(let text) = $0 { text } else { nil }
        }
    }

    static func path(
        _ name: String, _ builtIn: BuiltInValue, for commands: Set<CommandName>, _ doc: String
    ) -> Self {
        Self(name, .path, builtIn, for: commands, doc: doc) {
            if case .text(let text) = $0 { text } else { nil }
        }
    }
}

extension Setting where Value == String? {
    static func text(
        _ name: String, for commands: Set<CommandName>, secret: Bool = false, aliases: [String] = [],
        _ doc: String
    ) -> Self {
        Self(name, .text, "", for: commands, doc: doc, optional: true, secret: secret, aliases: aliases) {
            if case .text(let text) = $0 { .some(text) } else { .some(nil) }
        }
    }

    static func path(_ name: String, for commands: Set<CommandName>, flag: String? = nil, _ doc: String) -> Self {
        Self(name, .path, "", for: commands, doc: doc, optional: true, flag: flag) {
            if case .text(let text) = $0 { .some(text) } else { .some(nil) }
        }
    }
}

extension Setting where Value == Int {
    static func integer(
        _ name: String, _ builtIn: BuiltInValue, in range: ClosedRange<Int64>, for commands: Set<CommandName>,
        _ doc: String
    ) -> Self {
        Self(name, .integer(range), builtIn, for: commands, doc: doc) {
            if case .integer(let number) = $0 { Int(number) } else { nil }
        }
    }
}

extension Setting where Value == Int? {
    static func integer(
        _ name: String, in range: ClosedRange<Int64>, for commands: Set<CommandName>, _ doc: String
    ) -> Self {
        Self(name, .integer(range), "", for: commands, doc: doc, optional: true) {
            if case .integer(let number) = $0 { .some(Int(number)) } else { .some(nil) }
        }
    }
}

extension Setting where Value == [RDMAPortName] {
    /// Empty for `auto`.
    static func rdmaPorts(
        _ name: String, _ builtIn: BuiltInValue, for commands: Set<CommandName>, _ doc: String
    ) -> Self {
        Self(name, .rdmaPorts, builtIn, for: commands, doc: doc) {
            if case .rdmaPorts(let ports) = $0 { ports } else { nil }
        }
    }
}

extension Setting where Value == UInt64 {
    static func bytes(
        _ name: String, _ builtIn: BuiltInValue, in range: ClosedRange<UInt64>,
        for commands: Set<CommandName>,
        _ doc: String
    ) -> Self {
        Self(name, .bytes(range), builtIn, for: commands, doc: doc) {
            if case .bytes(let bytes) = $0 { bytes } else { nil }
        }
    }
}

extension Setting where Value == UInt64? {
    static func bytes(
        _ name: String, in range: ClosedRange<UInt64>, for commands: Set<CommandName>, _ doc: String
    ) -> Self {
        Self(name, .bytes(range), "", for: commands, doc: doc, optional: true) {
            if case .bytes(let bytes) = $0 { .some(bytes) } else { .some(nil) }
        }
    }
}

extension Setting where Value == Duration {
    static func duration(
        _ name: String, _ builtIn: BuiltInValue, inMs range: ClosedRange<UInt64>,
        for commands: Set<CommandName>,
        _ doc: String
    ) -> Self {
        let rangeNs = range.lowerBound * 1_000_000...range.upperBound * 1_000_000
        return Self(name, .duration(rangeNs), builtIn, for: commands, doc: doc) {
            if case .durationNs(let ns) = $0 { .nanoseconds(Int64(clamping: ns)) } else { nil }
        }
    }
}

extension Setting where Value == Bool {
    static func flag(
        _ name: String, _ builtIn: BuiltInValue, for commands: Set<CommandName>, flag: String? = nil, _ doc: String
    ) -> Self {
        Self(name, .flag, builtIn, for: commands, doc: doc, flag: flag) {
            if case .flag(let flag) = $0 { flag } else { nil }
        }
    }
}

extension Setting where Value == NetworkAddress {
    static func address(
        _ name: String, _ builtIn: BuiltInValue, for commands: Set<CommandName>, _ doc: String
    ) -> Self {
        Self(name, .address, builtIn, for: commands, doc: doc) {
            if case .address(let address) = $0 { address } else { nil }
        }
    }
}

extension Setting where Value == NetworkAddress? {
    static func address(
        _ name: String, _ builtIn: BuiltInValue = "", for commands: Set<CommandName>, _ doc: String
    ) -> Self {
        Self(name, .address, builtIn, for: commands, doc: doc, optional: true) {
            if case .address(let address) = $0 { .some(address) } else { .some(nil) }
        }
    }
}

extension Setting where Value == [NetworkAddress] {
    static func addresses(
        _ name: String, for commands: Set<CommandName>, flag: String? = nil, _ doc: String
    ) -> Self {
        Self(name, .addresses, "", for: commands, doc: doc, flag: flag) {
            if case .addresses(let addresses) = $0 { addresses } else { nil }
        }
    }
}

extension Setting where Value: RawRepresentable<String> & CaseIterable {
    static func choice(_ name: String, _ builtIn: BuiltInValue, for commands: Set<CommandName>, _ doc: String)
        -> Self
    {
        Self(name, .choice(Value.allCases.map(\.rawValue)), builtIn, for: commands, doc: doc) {
            if case .text(let text) = $0 { Value(rawValue: text) } else { nil }
        }
    }
}
