import Configuration
import ControlAPI
import Observability
import Registry

/// A manager's Prometheus figures and its readiness, read at the time of the scrape.
enum ManagerMetrics {
    static func serve(
        _ listen: NetworkAddress, core: ManagerCore, database: DatabaseQueue, gatekeeper: Gatekeeper, trust: TrustCore?
    ) throws -> ObservabilityServer {
        let metrics = MetricsRegistry()
        metrics.collect("martlet_manager_members", "Members, by cluster, role and liveness.", kind: .gauge) {
            var counts: [[String]: UInt64] = [:]
            for member in core.members(cluster: "", liveOnly: false) {
                counts[[member.key.cluster, "\(member.key.role)", member.isLive ? "1" : "0"], default: 0] += 1
            }
            return counts.sorted { $0.key.lexicographicallyPrecedes($1.key) }.map { key, count in
                MetricSample(
                    labels: [("cluster", key[0]), ("role", key[1]), ("live", key[2])], value: count)
            }
        }
        metrics.collect("martlet_manager_streams", "Members with a stream.", kind: .gauge) {
            [MetricSample(value: UInt64(core.sessionCount))]
        }
        metrics.collect("martlet_manager_database_batches_total", "Batches made durable.", kind: .counter) {
            [MetricSample(value: database.batchesSaved)]
        }
        metrics.collect("martlet_manager_database_failing", "1 while changes cannot be saved.", kind: .gauge) {
            [MetricSample(value: UInt64(database.failure == nil ? 0 : 1))]
        }
        gatekeeper.collect(metrics)
        if let trust {
            metrics.collect(
                "martlet_manager_certificates", "Valid certificates, and those of them revoked.", kind: .gauge
            ) {
                let counts = trust.counts
                return [
                    MetricSample(labels: [("state", "valid")], value: UInt64(counts.valid - counts.revoked)),
                    MetricSample(labels: [("state", "revoked")], value: UInt64(counts.revoked)),
                ]
            }
        }
        let readiness = Readiness()
        readiness.check("serving").pass()
        return try ObservabilityServer(
            address: listen.host, port: listen.port, metrics: metrics, readiness: readiness)
    }
}
