/// When a failed request is tried again: exponential back-off with jitter, `Retry-After` honoured, all bounded.
public struct HTTPRetryPolicy: Hashable, Sendable {
    /// How often a request is repeated after its first failure.
    public var retriesMax: Int
    /// The first wait, before jitter.
    public var baseNs: UInt64
    /// The longest wait of our own choosing.
    public var delayNsMax: UInt64
    /// A `Retry-After` up to this long is obeyed; with a longer one the request fails at once.
    public var retryAfterSecondsMax: UInt64

    /// Describes a policy.
    public init(
        retriesMax: Int = 5, baseNs: UInt64 = 500_000_000, delayNsMax: UInt64 = 20_000_000_000,
        retryAfterSecondsMax: UInt64 = 300
    ) {
        self.retriesMax = retriesMax
        self.baseNs = baseNs
        self.delayNsMax = delayNsMax
        self.retryAfterSecondsMax = retryAfterSecondsMax
    }

    /// Five retries from half a second to twenty.
    public static let standard = HTTPRetryPolicy()
    /// No retry.
    public static let none = HTTPRetryPolicy(retriesMax: 0)

    /// Whether a status says “later”: 408, 425, 429, 500, 502, 503, 504.
    public static func isTransient(status: Int) -> Bool {
        [408, 425, 429, 500, 502, 503, 504].contains(status)
    }

    /// How long to wait before retry number `retry` (from 0), or nil when there is to be none.
    ///
    /// The wait is drawn between half and the whole of `baseNs · 2^retry` (capped), `random` being uniform in 0…1:
    /// clients that failed together do not come back together. The server's `Retry-After` is a lower bound.
    public func delayNs(retry: Int, retryAfterSeconds: UInt64?, random: Double) -> UInt64? {
        guard retry < retriesMax else { return nil }
        let product = baseNs.multipliedReportingOverflow(by: 1 << UInt64(min(retry, 30)))
        let doubled = product.overflow ? delayNsMax : min(product.partialValue, delayNsMax)
        let own = doubled / 2 + UInt64(Double(doubled / 2) * min(max(random, 0), 1))
        guard let retryAfterSeconds else { return own }
        guard retryAfterSeconds <= retryAfterSecondsMax else { return nil }
        // The jitter stays on top, so that a fleet told “60” does not return in one instant.
        return retryAfterSeconds * 1_000_000_000 + own
    }
}
