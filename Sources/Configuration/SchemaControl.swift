// The keys of the control plane: manager and scheduler.

extension Schema {
    /// `[manager]`
    public enum Manager {
        /// Where the manager listens.
        public static let listen = Setting.address(
            "manager.listen", "127.0.0.1:7600", for: .managers,
            "Where the manager listens for schedulers, seeds and peers.")
        /// Where its metrics are.
        public static let metricsListen = Setting<NetworkAddress?>.address(
            "manager.metrics_listen", "127.0.0.1:7601", for: .managers,
            "Where /metrics, /readyz and /livez are served; empty: nowhere.")
        /// Where the others find it.
        public static let addresses = Setting.addresses(
            "manager.addresses", for: [.scheduler, .seed, .peer, .get, .settings, .token], flag: "manager",
            "Where the manager is found; none: do without (schedulers are then named by --schedulers).")
        /// Its database.
        public static let database = Setting.path(
            "manager.database",
            .derived("<state>/manager.sqlite") { "\($0.stateDirectory)/manager.sqlite" },
            for: [.manager, .up, .token, .settings],
            "The SQLite file with clusters, members and catalogue.")
        /// How long a member is live without a heartbeat.
        public static let lease = Setting.duration(
            "manager.lease", "15s", inMs: 1_000...600_000, for: .managers,
            "How long a member counts as live after its last heartbeat.")
        /// The authority's directory.
        public static let authority = Setting<String?>.path(
            "manager.authority", for: .managers,
            "The directory of the cluster's authority: key.pem, cert.pem, ca.pem, made at the first start; none: authority beside the database."
        )
        /// The manager's Unix socket.
        public static let socket = Setting<String?>.path(
            "manager.socket", for: [.manager, .up, .token, .settings],
            "The Unix socket for this machine's operators (0600); none: manager.sock beside the database.")
        /// How long members' certificates live.
        public static let certificateLife = Setting.duration(
            "manager.certificate_life", "24h", inMs: 5_000...2_592_000_000, for: .managers,
            "How long members' certificates are valid; they are renewed at two thirds of it.")
        static let keys = [
            listen.key, metricsListen.key, addresses.key, database.key, lease.key, authority.key, socket.key,
            certificateLife.key,
        ]
    }

    /// `[scheduler]`
    public enum Scheduler {
        /// Its name in the cluster.
        public static let name = Setting.text(
            "scheduler.name", .derived("<host name>") { $0.hostName }, for: .schedulers,
            "The scheduler's name, unique in its cluster.")
        /// Where it listens.
        public static let listen = Setting.address(
            "scheduler.listen", "127.0.0.1:7610", for: .schedulers, "Where the scheduler listens for hosts.")
        /// Where hosts find it.
        public static let advertise = Setting<NetworkAddress?>.address(
            "scheduler.advertise", for: .schedulers,
            "The address the manager gives to hosts; none: the one listened on, or for 0.0.0.0 the one the manager is reached from."
        )
        /// Where its metrics are.
        public static let metricsListen = Setting<NetworkAddress?>.address(
            "scheduler.metrics_listen", "127.0.0.1:7611", for: .schedulers,
            "Where /metrics, /readyz and /livez are served; empty: nowhere.")
        /// How long it only listens after a start.
        public static let learning = Setting.duration(
            "scheduler.learning", "2s", inMs: 0...600_000, for: .schedulers,
            "How long after its start it grants no origin lease, so that hosts can say first what they hold.")
        /// How long a silent host keeps its leases.
        public static let hostTimeout = Setting.duration(
            "scheduler.host_timeout", "3s", inMs: 100...600_000, for: .schedulers,
            "How long a host whose stream is lost keeps its origin leases.")
        /// Pieces of one lease.
        public static let leasePieces = Setting.integer(
            "scheduler.lease_pieces", "16", in: 1...4096, for: .schedulers,
            "How many pieces one origin lease covers at most.")
        /// Parents of one host.
        public static let neighbourhood = Setting.integer(
            "scheduler.neighbourhood", "12", in: 1...64, for: .schedulers,
            "How many parents a host is given for a model.")
        /// Pieces leased ahead of their replication.
        public static let replicationWindow = Setting.integer(
            "scheduler.replication_window", "256", in: 1...65_536, for: .schedulers,
            "How many pieces one host may have read from the origin that no other host holds yet.")
        /// Who reads origins in the cluster.
        public enum OriginPolicy: String, Sendable, CaseIterable { case auto, seeds, any, never }
        /// Who reads origins.
        public static let originPolicy = Setting<OriginPolicy>.choice(
            "scheduler.origin_policy", "auto", for: .schedulers,
            "Who reads origins in the cluster: auto (downloaders where there is no seed), seeds, any or never.")
        /// The cluster's budget: bytes.
        public static let originBytesPerSecond = Setting.bytes(
            "scheduler.origin_bytes_per_second", "0", in: 0...1 << 50, for: .schedulers,
            "Bytes a second that the whole cluster reads at origins; 0: no limit.")
        /// The cluster's budget: requests.
        public static let originRequestsPerMinute = Setting.integer(
            "scheduler.origin_requests_per_minute", "0", in: 0...1_000_000_000, for: .schedulers,
            "Requests a minute that the whole cluster makes to origins; 0: no limit.")
        /// The cluster's budget: transfers at a time.
        public static let originConnections = Setting.integer(
            "scheduler.origin_connections", "0", in: 0...100_000, for: .schedulers,
            "Transfers from origins at a time in the whole cluster; 0: no limit.")
        /// How many hosts may attach.
        public static let admissionsPerSecond = Setting.integer(
            "scheduler.admissions_per_second", "2000", in: 1...1_000_000, for: .schedulers,
            "Hosts that may attach in a second; the others are told when to come back.")
        static let keys = [
            name.key, listen.key, advertise.key, metricsListen.key, learning.key, hostTimeout.key,
            leasePieces.key, neighbourhood.key, replicationWindow.key, originPolicy.key, originBytesPerSecond.key,
            originRequestsPerMinute.key, originConnections.key, admissionsPerSecond.key,
        ]
    }
}
