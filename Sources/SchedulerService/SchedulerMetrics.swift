import Configuration
import ControlAPI
import Observability
import Scheduling

/// A scheduler's Prometheus figures and its readiness, read at the time of the scrape.
enum SchedulerMetrics {
    static func serve(
        _ listen: NetworkAddress, core: SchedulerCore, membership: ManagerMembership?, gatekeeper: Gatekeeper
    ) throws -> ObservabilityServer {
        let metrics = MetricsRegistry()
        gatekeeper.collect(metrics)
        metrics.collect("martlet_scheduler_hosts", "Hosts, by role or state.", kind: .gauge) {
            let snapshot = core.snapshot
            return [
                MetricSample(labels: [("state", "peer")], value: UInt64(snapshot.peersAttached)),
                MetricSample(labels: [("state", "seed")], value: UInt64(snapshot.seedsAttached)),
                MetricSample(labels: [("state", "grace")], value: UInt64(snapshot.hostsInGrace)),
                MetricSample(labels: [("state", "excluded")], value: UInt64(snapshot.hostsExcluded)),
            ]
        }
        gauge(metrics, "models", "Models known.", core) { UInt64($0.models) }
        gauge(metrics, "models_active", "Models that hosts download.", core) { UInt64($0.modelsActive) }
        gauge(metrics, "tasks", "Tasks known.", core) { UInt64($0.tasks) }
        gauge(metrics, "leases", "Origin leases that are out.", core) { UInt64($0.leases) }
        gauge(metrics, "learning", "1 while it only listens after its start.", core) { $0.learning ? 1 : 0 }
        counter(metrics, "leases_granted", "Origin leases granted.", core) { $0.leasesGranted }
        counter(metrics, "pieces_leased", "Pieces in granted leases.", core) { $0.piecesLeased }
        counter(metrics, "leases_adopted", "Leases taken over from hosts after a restart.", core) {
            $0.leasesAdopted
        }
        counter(metrics, "leases_lost", "Leases whose holder was lost or excluded.", core) { $0.leasesLost }
        counter(metrics, "leases_failed", "Leases returned with a failure.", core) { $0.leasesFailed }
        counter(metrics, "resolve_orders", "Orders to ask an origin.", core) { $0.resolveOrders }
        counter(metrics, "resolve_replies", "Resolve requests answered.", core) { $0.resolveReplies }
        counter(metrics, "resolve_replies_stale", "Of those, from memory.", core) { $0.resolveRepliesStale }
        counter(metrics, "neighbourhoods", "Neighbourhoods sent.", core) { $0.neighbourhoods }
        counter(metrics, "digests_sent", "Piece digests sent.", core) { $0.digestsSent }
        counter(metrics, "digests_withdrawn", "Tasks whose digests were withdrawn.", core) {
            $0.digestsWithdrawn
        }
        counter(metrics, "blames", "Accusations of hosts by hosts.", core) { $0.blames }
        counter(metrics, "refusals", "Models refused.", core) { $0.refusals }
        counter(metrics, "dropped", "Messages that were late or made no sense.", core) { $0.dropped }
        counter(metrics, "models_moved", "Models that came from another scheduler, or went to one.", core) {
            $0.modelsMoved
        }
        counter(metrics, "origin_shares", "Shares of the origin's budget that hosts were told.", core) {
            $0.originShares
        }
        collectAdmission(metrics, core)
        metrics.collect(
            "martlet_scheduler_setting", "Settings in force that can be changed while it runs.", kind: .gauge
        ) {
            let settings = core.settings
            return SchedulingKnob.all.map {
                MetricSample(labels: [("setting", $0.name)], value: $0.number(in: settings))
            }
        }
        metrics.collect(
            "martlet_scheduler_streams_overflown_total", "Streams ended because their host did not read.",
            kind: .counter
        ) { [MetricSample(value: core.streamsOverflown)] }
        metrics.collect("martlet_scheduler_manager_attached", "1 while the manager knows it.", kind: .gauge) {
            [MetricSample(value: UInt64(membership?.isAttached == true ? 1 : 0))]
        }
        let readiness = Readiness()
        // A lost manager takes no scheduler out of service.
        readiness.check("serving").pass()
        return try ObservabilityServer(
            address: listen.host, port: listen.port, metrics: metrics, readiness: readiness)
    }

    private static func collectAdmission(_ metrics: MetricsRegistry, _ core: SchedulerCore) {
        metrics.collect(
            "martlet_scheduler_admissions_total", "Hosts that wanted to attach, by what they were told.", kind: .counter
        ) {
            let counts = core.admission.counts
            return [
                MetricSample(labels: [("answer", "admitted")], value: counts.admitted),
                MetricSample(labels: [("answer", "later_too_many_a_second")], value: counts.deferredByRate),
                MetricSample(labels: [("answer", "later_too_many_inventories")], value: counts.deferredByReports),
            ]
        }
        metrics.collect(
            "martlet_scheduler_admissions_preferred_total",
            "Of the hosts admitted, those that are let in whatever the load.", kind: .counter
        ) { [MetricSample(value: core.admission.counts.preferred)] }
        metrics.collect(
            "martlet_scheduler_hosts_reporting", "Hosts whose inventories are on their way.", kind: .gauge
        ) { [MetricSample(value: UInt64(core.admission.reporting))] }
        metrics.collect(
            "martlet_scheduler_retry_after_ms_max", "The longest time a host was told to stay away.", kind: .gauge
        ) { [MetricSample(value: core.admission.counts.retryAfterMsMax)] }
    }

    private static func gauge(
        _ metrics: MetricsRegistry, _ name: String, _ help: String, _ core: SchedulerCore,
        _ read: @escaping @Sendable (SchedulerSnapshot) -> UInt64
    ) {
        metrics.collect("martlet_scheduler_\(name)", help, kind: .gauge) {
            [MetricSample(value: read(core.snapshot))]
        }
    }

    private static func counter(
        _ metrics: MetricsRegistry, _ name: String, _ help: String, _ core: SchedulerCore,
        _ read: @escaping @Sendable (SchedulerSnapshot) -> UInt64
    ) {
        metrics.collect("martlet_scheduler_\(name)_total", help, kind: .counter) {
            [MetricSample(value: read(core.snapshot))]
        }
    }
}
