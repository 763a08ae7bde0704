import Configuration
import ControlAPI
import Observability
import RPC
import Scheduling

private func milliseconds(_ duration: Duration) -> UInt64 { UInt64(max(0, duration / .milliseconds(1))) }

/// What a scheduler's server needs to know.
public struct SchedulerConfiguration: Sendable {
    /// Its name in the cluster.
    public var name: String
    /// The cluster it serves; hosts of another are refused.
    public var cluster: String
    /// Where it listens; port 0 takes a free one.
    public var listen: RPCAddress
    /// Where hosts find it; nil: where it listens.
    public var advertise: RPCAddress?
    /// How it proves who it is, as server and as client.
    public var credentials: RPCCredentials
    /// Certificates not to be believed.
    public var revocations = Revocations()
    /// Where managers are; none: it does without.
    public var managers: [RPCAddress] = []
    /// Where metrics are served; nil: nowhere.
    public var metricsListen: NetworkAddress?
    /// The machine's limits and times.
    public var settings = SchedulingSettings()
    /// Messages that may wait for one host before its stream is ended.
    public var outboxMax = 262_144

    /// A scheduler with built-in limits.
    public init(name: String, cluster: String, listen: RPCAddress, credentials: RPCCredentials = .insecure) {
        self.name = name
        self.cluster = cluster
        self.listen = listen
        self.credentials = credentials
    }

    /// Reads `cluster.*`, `scheduler.*` and `manager.addresses`.
    public init(_ configuration: Configuration, credentials: RPCCredentials) {
        let listen = configuration[Schema.Scheduler.listen]
        self.init(
            name: configuration[Schema.Scheduler.name], cluster: configuration[Schema.Cluster.name],
            listen: .tcp(host: listen.host, port: listen.port), credentials: credentials)
        advertise = configuration[Schema.Scheduler.advertise].map { .tcp(host: $0.host, port: $0.port) }
        managers = configuration[Schema.Manager.addresses].map { .tcp(host: $0.host, port: $0.port) }
        metricsListen = configuration[Schema.Scheduler.metricsListen]
        settings.learningMs = milliseconds(configuration[Schema.Scheduler.learning])
        settings.graceMs = milliseconds(configuration[Schema.Scheduler.hostTimeout])
        settings.leasePieces = Int(configuration[Schema.Scheduler.leasePieces])
        settings.neighbourhoodSize = Int(configuration[Schema.Scheduler.neighbourhood])
        settings.originPolicy = OriginPolicy(configuration[Schema.Scheduler.originPolicy])
        settings.originBytesPerSecond = configuration[Schema.Scheduler.originBytesPerSecond]
        settings.originRequestsPerMinute = UInt64(configuration[Schema.Scheduler.originRequestsPerMinute])
        settings.originConnections = Int(configuration[Schema.Scheduler.originConnections])
        settings.admissionsPerSecond = Int(configuration[Schema.Scheduler.admissionsPerSecond])
        settings.admissionBurst = max(1, settings.admissionsPerSecond / 2)
        settings.exposedPiecesMax = Int(configuration[Schema.Scheduler.replicationWindow])
    }
}

extension OriginPolicy {
    /// As the configuration says it.
    fileprivate init(_ policy: Schema.Scheduler.OriginPolicy) {
        self =
            switch policy {
            case .auto: .auto
            case .seeds: .seeds
            case .any: .any
            case .never: .never
            }
    }
}
