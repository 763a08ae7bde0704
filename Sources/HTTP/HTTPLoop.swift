import CCurl
import Glibc
import Synchronization

/// The client's thread: takes commands, lets libcurl work, reports ends.
///
/// Safety: `multi` is used on the loop's thread only, but for `curl_multi_wakeup`, which may be called from any thread
/// and is called under the inbox's lock while the loop has not stopped. `exchanges`, `handles` and `delayed` are the
/// thread's own.
final class HTTPLoop: @unchecked Sendable {
    /// An exchange that has not started.
    struct Pending: Sendable {
        let id: UInt64
        let request: HTTPRequest
        let receiver: any HTTPReceiver
        let dueNs: UInt64
    }

    enum Command: Sendable {
        case start(Pending)
        case resume(UInt64)
        case cancel(UInt64)
        case call(@Sendable () -> Void)
        case stop
    }

    private struct Inbox {
        var commands: [Command] = []
        var lastID: UInt64 = 0
        var isStopped = false
    }

    private let settings: HTTPClientSettings
    private let proxies: ProxyAddresses
    private let multi: UnsafeMutableRawPointer
    private let inbox = Mutex(Inbox())
    private var exchanges: [UInt64: HTTPExchange] = [:]
    private var handles: [UnsafeMutableRawPointer: UInt64] = [:]
    private var delayed: [Pending] = []

    init?(settings: HTTPClientSettings) {
        guard let multi = curl_multi_init() else { return nil }
        self.multi = multi
        self.settings = settings
        proxies = ProxyAddresses { name in settings.proxy ?? getenv(name).map { String(cString: $0) } }
        // HTTP/1.1 only: a connection per bulk stream is what moves weights, and one paused stream then stops no other.
        martlet_curl_multi_set_long(multi, CURLMOPT_PIPELINING, Int(CURLPIPE_NOTHING))
        martlet_curl_multi_set_long(multi, CURLMOPT_MAX_HOST_CONNECTIONS, settings.connectionsPerHostMax)
        martlet_curl_multi_set_long(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, settings.connectionsMax)
    }

    // From any thread.

    func nextID() -> UInt64 {
        inbox.withLock {
            $0.lastID += 1
            return $0.lastID
        }
    }

    /// Leaves a command for the thread; false when the loop has stopped.
    @discardableResult
    func post(_ command: Command) -> Bool {
        inbox.withLock { inbox in
            guard !inbox.isStopped else { return false }
            inbox.commands.append(command)
            if inbox.commands.count == 1 { curl_multi_wakeup(multi) }
            return true
        }
    }

    /// Frees what `run` would have, when no thread came to run it.
    func abandon() {
        inbox.withLock { $0.isStopped = true }
        curl_multi_cleanup(multi)
    }

    // On the loop's thread.

    func run() {
        var isStopping = false
        while !isStopping {
            let commands = inbox.withLock { inbox in
                let taken = inbox.commands
                inbox.commands.removeAll()
                return taken
            }
            for command in commands {
                switch command {
                case .start(let pending): delayed.append(pending)
                case .resume(let id): exchanges[id]?.resume()
                case .cancel(let id): cancel(id)
                case .call(let work): work()
                case .stop: isStopping = true
                }
            }
            startDue()
            failOverlongPauses()
            var running: CInt = 0
            curl_multi_perform(multi, &running)
            reportEnds()
            if !isStopping { curl_multi_poll(multi, nil, 0, waitMilliseconds(), nil) }
        }
        stop()
    }

    private func startDue() {
        guard !delayed.isEmpty else { return }
        let nowNs = monotonicNowNs()
        let due = delayed.filter { $0.dueNs <= nowNs }
        delayed.removeAll { $0.dueNs <= nowNs }
        for pending in due {
            if let server = AddressRule.Server(url: pending.request.url),
                let refusal = settings.addresses.refusal(of: server)
            {
                let error = HTTPError(.refusedAddress, url: pending.request.url, detail: refusal)
                pending.receiver.ended(.failure(error))
                continue
            }
            guard let exchange = HTTPExchange(pending, settings: settings, proxies: proxies) else {
                pending.receiver.ended(.failure(HTTPError(.resources, url: pending.request.url)))
                continue
            }
            guard curl_multi_add_handle(multi, exchange.easy) == CURLM_OK else {
                exchange.close()
                pending.receiver.ended(.failure(HTTPError(.resources, url: pending.request.url)))
                continue
            }
            exchanges[pending.id] = exchange
            handles[exchange.easy] = pending.id
        }
    }

    private func reportEnds() {
        var left: CInt = 0
        while let message = curl_multi_info_read(multi, &left) {
            guard message.pointee.msg == CURLMSG_DONE, let easy = message.pointee.easy_handle,
                let id = handles[easy]
            else { continue }
            let result = message.pointee.data.result
            end(id) { $0.outcome(result) }
        }
    }

    private func cancel(_ id: UInt64) {
        if let place = delayed.firstIndex(where: { $0.id == id }) {
            let pending = delayed.remove(at: place)
            pending.receiver.ended(.failure(HTTPError(.cancelled, url: pending.request.url)))
        } else {
            end(id) { .failure(HTTPError(.cancelled, url: $0.request.url)) }
        }
    }

    private func failOverlongPauses() {
        guard exchanges.contains(where: { $0.value.pausedSinceNs != nil }) else { return }
        let limitNs = UInt64(settings.pausedSecondsMax) * 1_000_000_000
        let nowNs = monotonicNowNs()
        for (id, exchange) in exchanges {
            guard let since = exchange.pausedSinceNs, nowNs - since > limitNs else { continue }
            end(id) { .failure(HTTPError(.timeout, url: $0.request.url, detail: "paused too long")) }
        }
    }

    private func end(_ id: UInt64, _ outcome: (HTTPExchange) -> Result<HTTPResponseHead, HTTPError>) {
        guard let exchange = exchanges.removeValue(forKey: id) else { return }
        handles[exchange.easy] = nil
        let result = outcome(exchange)
        curl_multi_remove_handle(multi, exchange.easy)
        exchange.close()
        exchange.receiver.ended(result)
    }

    /// At most a second: libcurl shortens it by its own timers and sockets, a command by `curl_multi_wakeup`.
    private func waitMilliseconds() -> CInt {
        guard let next = delayed.map(\.dueNs).min() else { return 1000 }
        let nowNs = monotonicNowNs()
        return next <= nowNs ? 0 : CInt(min(1000, (next - nowNs) / 1_000_000 + 1))
    }

    private func stop() {
        let late = inbox.withLock { inbox in
            inbox.isStopped = true
            let taken = inbox.commands
            inbox.commands = []
            return taken
        }
        for command in late {
            switch command {
            case .start(let pending): delayed.append(pending)
            case .call(let work): work()
            case .resume, .cancel, .stop: break
            }
        }
        for id in exchanges.keys { cancel(id) }
        for id in delayed.map(\.id) { cancel(id) }
        curl_multi_cleanup(multi)
    }
}

/// Nanoseconds of `CLOCK_MONOTONIC`.
func monotonicNowNs() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

/// Seconds since 1970.
func wallClockSeconds() -> Int { time(nil) }
