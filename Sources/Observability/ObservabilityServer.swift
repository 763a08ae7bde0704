import HTTP

/// Serves `/metrics` (Prometheus), `/readyz` (200 or 503, with every check) and `/livez` over HTTP.
///
/// One thread of its own; what it serves is read without blocking.
public final class ObservabilityServer: Sendable {
    private let server: HTTPServer

    /// Listens on a numeric address; port 0 takes a free one. The error's sentence says what to do (port in use, no
    /// such address).
    public init(
        address: String, port: UInt16, metrics: MetricsRegistry, readiness: Readiness
    ) throws(HTTPServer.StartError) {
        server = try HTTPServer(
            address: address, port: port,
            routes: [
                "/metrics": {
                    .init(contentType: "text/plain; version=0.0.4; charset=utf-8", body: metrics.exposition())
                },
                "/readyz": {
                    let isReady = readiness.isReady
                    return .init(
                        status: isReady ? 200 : 503,
                        body: readiness.report + (isReady ? "ready\n" : "not ready\n"))
                },
                "/livez": { .init(body: "alive\n") },
            ])
    }

    /// The port listened on.
    public var port: UInt16 { server.port }

    /// Stops listening and joins the thread.
    public func stop() { server.stop() }
}
