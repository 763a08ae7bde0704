import Configuration
import RPC
import Registry

/// What a manager's server needs to know.
public struct ManagerConfiguration: Sendable {
    /// Where it listens; port 0 takes a free one.
    public var listen: RPCAddress
    /// How it proves who it is.
    public var credentials: RPCCredentials
    /// Its database: an SQLite file, made when it is not there (its directory must be).
    public var database: String
    /// Where the authority is kept; nil: without one, for callers that bring credentials of their own.
    public var authorityDirectory: String?
    /// The operators' Unix socket; nil: none.
    public var socket: String?
    /// How long members' certificates live, in seconds.
    public var certificateLifeS: Int64 = 86_400
    /// The cluster it makes when its database has none of that name.
    public var cluster: String
    /// Where metrics are served; nil: nowhere.
    public var metricsListen: NetworkAddress?
    /// The machine's limits and times.
    public var settings = RegistrySettings()
    /// Messages that may wait for one member before its stream is ended.
    public var outboxMax = 1_024

    /// A manager with built-in limits.
    public init(
        listen: RPCAddress, database: String, cluster: String, credentials: RPCCredentials = .insecure
    ) {
        self.listen = listen
        self.database = database
        self.cluster = cluster
        self.credentials = credentials
    }

    /// Reads `cluster.*` and `manager.*`.
    ///
    /// - Parameter credentials: nil: those of the cluster's own authority, which the manager makes and keeps.
    public init(_ configuration: Configuration, credentials: RPCCredentials?) {
        let listen = configuration[Schema.Manager.listen]
        self.init(
            listen: .tcp(host: listen.host, port: listen.port),
            database: configuration[Schema.Manager.database],
            cluster: configuration[Schema.Cluster.name], credentials: credentials ?? .insecure)
        metricsListen = configuration[Schema.Manager.metricsListen]
        let beside = database.lastIndex(of: "/").map { String(database[...$0]) } ?? ""
        if credentials == nil { authorityDirectory = configuration[Schema.Manager.authority] ?? beside + "authority" }
        socket = configuration.managerSocket
        certificateLifeS = Int64(configuration[Schema.Manager.certificateLife] / .seconds(1))
        let leaseMs = UInt32(clamping: Int64(configuration[Schema.Manager.lease] / .milliseconds(1)))
        settings.heartbeatMs = max(100, leaseMs / settings.leaseHeartbeats)
    }
}

extension Configuration {
    /// The operators' Unix socket of the manager on this machine.
    public var managerSocket: String {
        let database = self[Schema.Manager.database]
        let beside = database.lastIndex(of: "/").map { String(database[...$0]) } ?? ""
        return self[Schema.Manager.socket] ?? beside + "manager.sock"
    }
}
