/// Every key there is: the one place that files, environment, flags, help and documentation are made from.
///
/// A section of the file is a nested enum; its members are typed handles. To add a key, add a member and list it in
/// `all`.
public enum Schema {
    /// Every row, in the order of `martlet config print`.
    public static let all: [ConfigurationKey] =
        Cluster.keys + Manager.keys + Scheduler.keys + Peer.keys + Origin.keys + Swarm.keys + Log.keys
        + TLS.keys + Identity.keys

    /// The row of this name.
    public static func key(named name: String) -> ConfigurationKey? { byName[name] }

    /// The rows that a command uses, in order.
    public static func keys(of command: CommandName) -> [ConfigurationKey] {
        all.filter { $0.commands.contains(command) }
    }

    private static let byName = Dictionary(uniqueKeysWithValues: all.map { ($0.name, $0) })

    /// `[cluster]`
    public enum Cluster {
        /// The cluster that the process belongs to.
        public static let name = Setting.text(
            "cluster.name", "default", for: .members, flag: "cluster",
            "The cluster this process belongs to; members of another one are refused.")
        static let keys = [name.key]
    }

    /// `[log]`
    public enum Log {
        /// How much is said.
        public enum Level: String, Sendable, CaseIterable { case debug, info, warning, error }
        /// How a line looks.
        public enum Format: String, Sendable, CaseIterable { case text, json }

        /// The least grave message that is written.
        public static let level = Setting<Level>.choice(
            "log.level", "info", for: .all, "The least grave message that is written to stderr.")
        /// How a line looks.
        public static let format = Setting<Format>.choice(
            "log.format", "text", for: .all, "How a log line looks: for people or for machines.")
        static let keys = [level.key, format.key]
    }

    /// `[tls]`: where servers and clients take their credentials from.
    public enum TLS {
        /// The authority that the others' certificates must come from.
        public static let ca = Setting<String?>.path(
            "tls.ca", for: .members,
            "PEM file of the authority that every member's certificate must come from.")
        /// This process's certificate.
        public static let certificate = Setting<String?>.path(
            "tls.cert", for: .members, "PEM file of this process's certificate (chain).")
        /// The certificate's key.
        public static let key = Setting<String?>.path(
            "tls.key", for: .members, "PEM file of the certificate's private key.")
        /// Whether to do without TLS where others can listen.
        public static let insecure = Setting.flag(
            "tls.insecure", "false", for: .members, flag: "insecure",
            "Do without TLS and identities, on loopback addresses alone: every process of this machine can then take part."
        )
        static let keys = [ca.key, certificate.key, key.key, insecure.key]
    }

    /// `[identity]`: how a member gets its own certificate from the cluster's manager.
    public enum Identity {
        /// The token's file.
        public static let tokenFile = Setting<String?>.path(
            "identity.token_file", for: .joiners, flag: "token-file",
            "File with the join token that martlet token create printed; needed once, until there is a certificate.")
        /// The token.
        public static let token = Setting<String?>.text(
            "identity.token", for: .joiners, secret: true,
            "The join token itself; a file is better, since environments are inherited.")
        /// Where key and certificate are kept.
        public static let directory = Setting<String?>.path(
            "identity.directory", for: .joiners,
            "Where this server's key and certificate are kept (0700); none: identity/ROLE-NAME below its data directory."
        )
        static let keys = [tokenFile.key, token.key, directory.key]
    }
}
