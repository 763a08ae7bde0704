import Configuration
import Engine
import Observability
import Origins
import Rails
import Workers

/// A peer's Prometheus figures and its readiness, all read at the time of the scrape.
enum PeerMetrics {
    /// Serves them where the configuration says; nil when it says nowhere.
    static func serve(
        _ configuration: Configuration, parts: PeerParts, totals: EngineTotalsBox, rails: PeerRails,
        workers: WorkerPool, origins: Origins,
        limiter: OriginLimiter
    ) throws -> ObservabilityServer? {
        guard let listen = configuration[Schema.Peer.metricsListen] else { return nil }
        let metrics = MetricsRegistry()
        traffic(metrics, totals)
        state(metrics, parts, totals, limiter)
        transports(metrics, rails.rails)
        rdma(metrics, rails)
        metrics.collect("martlet_origin_read_bytes_total", "Bytes read at origins, by kind of origin.", kind: .counter)
        {
            OriginKind.allCases.map {
                MetricSample(labels: [("origin", $0.rawValue)], value: origins.counters(of: $0).bytesRead)
            }
        }
        metrics.collect("martlet_origin_requests_total", "Requests sent to origins, by kind of origin.", kind: .counter)
        {
            OriginKind.allCases.map {
                MetricSample(labels: [("origin", $0.rawValue)], value: origins.counters(of: $0).requests)
            }
        }
        let readiness = Readiness()
        // Ready means: the node can serve local requests. A lost scheduler must not take every node out of service.
        readiness.check("store").pass()
        return try ObservabilityServer(
            address: listen.host, port: listen.port, metrics: metrics, readiness: readiness)
    }

    private static func traffic(_ metrics: MetricsRegistry, _ totals: EngineTotalsBox) {
        metrics.collect("martlet_received_bytes_total", "Verified bytes received, by source.", kind: .counter) {
            let traffic = totals.value.traffic
            return [
                MetricSample(labels: [("source", "origin")], value: traffic.originBytes),
                MetricSample(labels: [("source", "seed")], value: traffic.seedBytes),
                MetricSample(labels: [("source", "peer")], value: traffic.peerBytes),
            ]
        }
        metrics.collect(
            "martlet_transport_received_bytes_total", "Verified bytes received from other hosts, by transport.",
            kind: .counter
        ) {
            totals.value.traffic.byTransport.map {
                MetricSample(labels: [("transport", $0.key.description)], value: $0.value)
            }
        }
        metrics.collect(
            "martlet_peer_transport_changes_total", "Times that reads of a host moved from one transport to another.",
            kind: .counter
        ) {
            totals.value.transportChanges.map {
                MetricSample(labels: [("from", "\($0.key.from)"), ("to", "\($0.key.to)")], value: $0.value)
            }
        }
        metrics.collect("martlet_wasted_bytes_total", "Bytes received and thrown away.", kind: .counter) {
            [MetricSample(labels: [], value: totals.value.wastedBytes)]
        }
    }

    private static func state(
        _ metrics: MetricsRegistry, _ parts: PeerParts, _ totals: EngineTotalsBox, _ limiter: OriginLimiter
    ) {
        metrics.collect("martlet_downloads", "Downloads, by state.", kind: .gauge) {
            let value = totals.value
            return [
                MetricSample(labels: [("state", "running")], value: UInt64(value.downloadsRunning)),
                MetricSample(labels: [("state", "finished")], value: value.downloadsFinished),
                MetricSample(labels: [("state", "failed")], value: value.downloadsFailed),
            ]
        }
        metrics.collect("martlet_links", "Links up, by direction.", kind: .gauge) {
            let value = totals.value
            return [
                MetricSample(labels: [("direction", "inbound")], value: UInt64(value.linksInbound)),
                MetricSample(labels: [("direction", "outbound")], value: UInt64(value.linksOutbound)),
            ]
        }
        metrics.collect("martlet_origin_leases", "Origin leases held.", kind: .gauge) {
            [MetricSample(labels: [], value: UInt64(totals.value.leasesHeld))]
        }
        metrics.collect("martlet_uploads_running", "Pieces granted to children and not released.", kind: .gauge) {
            [MetricSample(labels: [], value: UInt64(totals.value.uploadsRunning))]
        }
        metrics.collect("martlet_resident_bytes", "Memory of pieces that lie ready for serving.", kind: .gauge) {
            [MetricSample(labels: [], value: UInt64(totals.value.residentBytes))]
        }
        metrics.collect(
            "martlet_resident_pieces_total",
            "Pieces kept in memory as they arrived, read from the store for serving, and served from memory again.",
            kind: .counter
        ) {
            let value = totals.value
            return [
                MetricSample(labels: [("how", "kept")], value: value.residentKept),
                MetricSample(labels: [("how", "loaded")], value: value.residentLoaded),
                MetricSample(labels: [("how", "hit")], value: value.residentHits),
            ]
        }
        metrics.collect("martlet_slots_bytes", "Memory of slots, by state.", kind: .gauge) {
            let usage = parts.arena.usage
            return [
                MetricSample(labels: [("state", "total")], value: UInt64(usage.totalBytes)),
                MetricSample(labels: [("state", "taken")], value: UInt64(usage.takenBytes)),
                MetricSample(labels: [("state", "taken_peak")], value: UInt64(usage.takenBytesPeak)),
            ]
        }
        metrics.collect("martlet_schedulers", "Schedulers, by whether they are attached.", kind: .gauge) {
            let attached = parts.scheduler.attachedCount
            return [
                MetricSample(labels: [("attached", "1")], value: UInt64(attached)),
                MetricSample(
                    labels: [("attached", "0")], value: UInt64(max(0, parts.scheduler.listedCount - attached))),
            ]
        }
        metrics.collect(
            "martlet_downloads_moved_total", "Downloads that went on under another scheduler.", kind: .counter
        ) { [MetricSample(value: parts.scheduler.modelsMoved)] }
        metrics.collect(
            "martlet_origin_share_bytes_per_second", "What this host may read at origins; 0: no limit.", kind: .gauge
        ) { [MetricSample(value: limiter.limit.bytesPerSecond)] }
        metrics.collect("martlet_scheduler_attached", "1 while a scheduler is attached.", kind: .gauge) {
            [MetricSample(labels: [], value: UInt64(parts.scheduler.attachedTo == nil ? 0 : 1))]
        }
    }

    private static func transports(_ metrics: MetricsRegistry, _ rails: [RailHandle]) {
        func each(_ name: String, _ help: String, _ value: @escaping @Sendable (RailCounters) -> UInt64) {
            metrics.collect(name, help, kind: .counter) {
                rails.map { MetricSample(labels: [("rail", $0.name)], value: value($0.counters)) }
            }
        }
        each("martlet_rail_received_bytes_total", "Bytes a rail's transport received.") { $0.transport.receivedBytes }
        each("martlet_rail_sent_bytes_total", "Bytes a rail's transport sent.") { $0.transport.sentBytes }
        each("martlet_rail_syscalls_total", "System calls a rail's transport made.") { $0.transport.syscalls }
        each("martlet_rail_copied_bytes_total", "Bytes of pieces that a rail's host copied.") {
            $0.transport.copiedBytes
        }
        each("martlet_rail_doorbells_total", "Times a rail handed work to a NIC.") { $0.transport.doorbells }
        each("martlet_rail_work_requests_total", "Work requests a rail handed to a NIC.") {
            $0.transport.workRequests
        }
        each("martlet_rail_reads_failed_total", "Reads that failed.") { $0.transport.readsFailed }
        each("martlet_rail_reads_denied_total", "Reads of others that a rail refused.") { $0.transport.readsDenied }
        each("martlet_rail_links_up_total", "Links that came up on a rail.") { $0.transport.linksUp }
        each("martlet_rail_links_down_total", "Links of a rail that went down or never came up.") {
            $0.transport.linksDown
        }
        each("martlet_rail_device_reopenings_total", "Times a rail opened a lost RDMA device again.") {
            $0.transport.deviceReopenings
        }
    }

    /// Which device each rail over RDMA uses, and how readers are kept to their lease there: labels of a 1.
    private static func rdma(_ metrics: MetricsRegistry, _ rails: PeerRails) {
        let shown = rails.rdma
        guard !shown.isEmpty else { return }
        metrics.collect("martlet_rdma_rail_info", "Rails over RDMA: device, port, interface, lease.", kind: .gauge) {
            shown.map {
                MetricSample(
                    labels: [
                        ("rail", $0.name), ("device", $0.device), ("port", "\($0.port)"),
                        ("interface", $0.networkDevice), ("lease", $0.lease),
                    ], value: UInt64(1))
            }
        }
    }
}
