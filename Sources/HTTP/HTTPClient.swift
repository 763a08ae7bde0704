import CCurl
import Synchronization

/// The limits of a client.
public struct HTTPClientSettings: Hashable, Sendable {
    /// What the client calls itself.
    public var userAgent = "martlet"
    /// Resolving, connecting and the TLS handshake together.
    public var connectSecondsMax = 10
    /// A stream that brings less than one byte a second for so long has failed; a paused one is exempt.
    public var silentSecondsMax = 30
    /// A pause that nobody ends for so long is a failure.
    public var pausedSecondsMax = 600
    /// Connections per host; further exchanges wait for one.
    public var connectionsPerHostMax = 32
    /// Connections of the client.
    public var connectionsMax = 128
    /// Redirects followed per exchange.
    public var redirectsMax = 10
    /// Where connections may lead: by default to the public Internet alone.
    public var addresses = AddressRule.publicOnly
    /// Names resolved by hand, as curl's `--resolve` has them (`host:port:address[,address]`).
    package var resolved: [String] = []
    /// A proxy instead of the environment's.
    package var proxy: String?
    /// A file of CA certificates in PEM instead of the system's.
    public var caFile: String?

    /// The defaults above.
    public init() {}
}

/// An HTTP/1.1 client on libcurl: one thread of its own drives every exchange.
///
/// Certificates are always verified; proxies come from the environment (`https_proxy`, `no_proxy`, …); redirects are
/// followed within limits, never from https to http, never to addresses that the settings' rule refuses, and without
/// `Authorization` once they leave the server asked.
/// Dropping the client, or `shutdown()`, cancels what still runs.
public final class HTTPClient: Sendable {
    let loop: HTTPLoop

    /// Starts the client's thread; throws `.resources` when the system gives none.
    public init(settings: HTTPClientSettings = HTTPClientSettings()) throws(HTTPError) {
        guard CurlLibrary.isReady, let loop = HTTPLoop(settings: settings) else {
            throw HTTPError(.resources, url: "", detail: "libcurl did not start")
        }
        self.loop = loop
        guard NamedThread.start("martlet-http", { loop.run() }) else {
            loop.abandon()
            throw HTTPError(.resources, url: "", detail: "no thread for the HTTP client")
        }
    }

    deinit { loop.post(.stop) }

    /// Cancels every exchange and ends the thread soon after; later exchanges end with `.cancelled`.
    public func shutdown() { loop.post(.stop) }

    /// Starts an exchange, `afterNs` from now, and returns at once; `receiver` is kept until it has ended.
    ///
    /// Nothing is retried: the receiver knows what it has and asks again for the rest.
    @discardableResult
    public func stream(
        _ request: HTTPRequest, afterNs: UInt64 = 0, to receiver: any HTTPReceiver
    ) -> HTTPTransfer {
        let transfer = HTTPTransfer(id: loop.nextID(), loop: loop)
        let pending = HTTPLoop.Pending(
            id: transfer.id, request: request, receiver: receiver, dueNs: monotonicNowNs() + afterNs)
        if !loop.post(.start(pending)) {
            receiver.ended(
                .failure(HTTPError(.cancelled, url: request.url, detail: "the client was shut down")))
        }
        return transfer
    }

    /// Runs a short piece of work on the client's thread, where receivers run; false when the client was shut down.
    public func onThread(_ work: @escaping @Sendable () -> Void) -> Bool { loop.post(.call(work)) }

    /// Reads a whole response of at most `bytesMax` bytes, whatever its status, retrying transient failures and
    /// statuses.
    ///
    /// A request without a total limit gets 60 seconds per try. Cancelling the task cancels the exchange.
    public func body(
        _ request: HTTPRequest, bytesMax: Int, retry: HTTPRetryPolicy = .standard
    ) async throws(HTTPError) -> HTTPResponse {
        try await attempts(request, retry) { HTTPCollector(bytesMax: bytesMax, url: request.url, then: $0) }
    }

    /// Reads only the head of a response, whatever its status: a body that starts to come is dropped with its
    /// connection.
    public func head(
        _ request: HTTPRequest, retry: HTTPRetryPolicy = .standard
    ) async throws(HTTPError) -> HTTPResponseHead {
        try await attempts(request, retry) { HTTPCollector(bytesMax: nil, url: request.url, then: $0) }.head
    }

    private func attempts(
        _ request: HTTPRequest, _ retry: HTTPRetryPolicy,
        _ collector: (@escaping HTTPCollector.Then) -> HTTPCollector
    ) async throws(HTTPError) -> HTTPResponse {
        var limited = request
        if limited.totalSecondsMax == 0 { limited.totalSecondsMax = 60 }
        var tries = 0
        while true {
            let result = await attempt(limited, collector)
            var retryAfterSeconds: UInt64? = nil
            switch result {
            case .success(let response):
                guard HTTPRetryPolicy.isTransient(status: response.head.status) else { return response }
                retryAfterSeconds = response.head.retryAfterSeconds
            case .failure(let error):
                guard error.isTransient else { throw error }
            }
            guard
                let delayNs = retry.delayNs(
                    retry: tries, retryAfterSeconds: retryAfterSeconds, random: .random(in: 0...1))
            else { return try result.get() }
            tries += 1
            do { try await Task.sleep(nanoseconds: delayNs) } catch {
                throw HTTPError(.cancelled, url: request.url)
            }
        }
    }

    private func attempt(
        _ request: HTTPRequest, _ collector: (@escaping HTTPCollector.Then) -> HTTPCollector
    ) async -> Result<HTTPResponse, HTTPError> {
        let running = Mutex<HTTPTransfer?>(nil)
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let transfer = stream(request, to: collector { continuation.resume(returning: $0) })
                running.withLock { $0 = transfer }
                // Cancelled before the handle stood there to be cancelled by the handler below.
                if Task.isCancelled { transfer.cancel() }
            }
        } onCancel: {
            running.withLock { $0 }?.cancel()
        }
    }
}

extension HTTPResponseHead {
    /// `Retry-After` in seconds from now, given as a number or a date; nil when it is missing or malformed.
    public var retryAfterSeconds: UInt64? {
        guard let value = self["retry-after"] else { return nil }
        if let seconds = UInt64(value) { return seconds }
        let date = curl_getdate(value, nil)
        guard date >= 0 else { return nil }
        return UInt64(max(0, date - wallClockSeconds()))
    }
}

/// libcurl's process-wide start, once.
enum CurlLibrary {
    static let isReady = curl_global_init(Int(CURL_GLOBAL_SSL | CURL_GLOBAL_WIN32)) == CURLE_OK
}

/// Gathers a small response and hands it over when it has ended.
final class HTTPCollector: HTTPReceiver {
    typealias Then = @Sendable (Result<HTTPResponse, HTTPError>) -> Void

    private struct State {
        var head: HTTPResponseHead?
        var body: [UInt8] = []
        var tooLarge = false
    }
    private let state = Mutex(State())
    private let bytesMax: Int?
    private let url: String
    private let then: Then

    /// With no `bytesMax` the head alone is wanted.
    init(bytesMax: Int?, url: String, then: @escaping Then) {
        self.bytesMax = bytesMax
        self.url = url
        self.then = then
    }

    func began(_ head: HTTPResponseHead) -> HTTPHeadVerdict {
        state.withLock { $0.head = head }
        return bytesMax == nil ? .abort : .proceed
    }

    func received(_ bytes: UnsafeRawBufferPointer) -> HTTPBodyVerdict {
        state.withLock { state in
            guard state.body.count + bytes.count <= bytesMax ?? 0 else {
                state.tooLarge = true
                return .abort
            }
            state.body.append(contentsOf: bytes)
            return .consumed
        }
    }

    func ended(_ result: Result<HTTPResponseHead, HTTPError>) {
        let (head, body, tooLarge) = state.withLock { ($0.head, $0.body, $0.tooLarge) }
        switch result {
        case .success(let last): then(.success(HTTPResponse(head: last, body: body)))
        case .failure(let error):
            if tooLarge {
                then(.failure(HTTPError(.tooLarge, url: url)))
            } else if error.code == .aborted, bytesMax == nil, let head {
                then(.success(HTTPResponse(head: head, body: [])))
            } else {
                then(.failure(error))
            }
        }
    }
}
