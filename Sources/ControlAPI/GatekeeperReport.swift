import Observability
import RPC

extension Gatekeeper {
    /// A gatekeeper that tells the log whom it refused.
    public convenience init(cluster: String, revocations: Revocations, isOpen: Bool, log: Logger) {
        self.init(cluster: cluster, revocations: revocations, isOpen: isOpen) { reason, method, who in
            log.warning("call refused", ["reason": .text(reason.rawValue), "method": .text(method), "who": .text(who)])
        }
    }

    /// Adds its figures to a server's metrics.
    public func collect(_ metrics: MetricsRegistry) {
        metrics.collect("martlet_refused_total", "Calls and joins refused, by reason.", kind: .counter) {
            self.refusals.map { MetricSample(labels: [("reason", $0.reason.rawValue)], value: $0.count) }
        }
        metrics.collect(
            "martlet_handshakes_failed_total", "TLS handshakes of this process that failed, as server or client.",
            kind: .counter
        ) { [MetricSample(value: RPCHandshakes.failures)] }
    }
}
