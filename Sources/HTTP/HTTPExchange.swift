import CCurl

/// One request under way: libcurl's handle, the header lines so far, the receiver. On the loop's thread only.
final class HTTPExchange {
    let request: HTTPRequest
    let receiver: any HTTPReceiver
    let easy: UnsafeMutableRawPointer
    /// When the receiver paused it; nil while it runs.
    private(set) var pausedSinceNs: UInt64?

    private static let headerLinesMax = 256
    private static let headerBytesMax = 64 << 10

    private var list: UnsafeMutablePointer<curl_slist>?
    private var errorText: UnsafeMutablePointer<CChar>
    private var headers: [HTTPHeader] = []
    private var headerBytes = 0
    private var hasBegun = false
    /// Bytes at the start of the next part that the receiver took before it paused.
    private var alreadyTaken = 0
    /// Why a callback broke the transfer off.
    private var broken: HTTPError.Code?
    private let rule: AddressRule
    private let proxies: ProxyAddresses
    /// Whether the head that is coming is a redirect's.
    private var isRedirect = false
    /// Why an address was passed over, or a redirect not followed.
    private var refusal: String?
    private let gate: UnsafeMutablePointer<martlet_curl_gate>
    private var resolved: UnsafeMutablePointer<curl_slist>?

    init?(_ pending: HTTPLoop.Pending, settings: HTTPClientSettings, proxies: ProxyAddresses) {
        guard let easy = curl_easy_init() else { return nil }
        self.easy = easy
        rule = settings.addresses
        self.proxies = proxies
        gate = .allocate(capacity: 1)
        request = pending.request
        receiver = pending.receiver
        errorText = .allocate(capacity: Int(CURL_ERROR_SIZE))
        errorText.initialize(repeating: 0, count: Int(CURL_ERROR_SIZE))
        configure(settings)
    }

    private func configure(_ settings: HTTPClientSettings) {
        let isSecure = request.url.lowercased().hasPrefix("https:")
        martlet_curl_set_string(easy, CURLOPT_URL, request.url)
        martlet_curl_set_long(easy, CURLOPT_NOSIGNAL, 1)
        martlet_curl_set_long(easy, CURLOPT_HTTP_VERSION, Int(CURL_HTTP_VERSION_1_1))
        martlet_curl_set_string(easy, CURLOPT_PROTOCOLS_STR, "http,https")
        martlet_curl_set_string(easy, CURLOPT_REDIR_PROTOCOLS_STR, isSecure ? "https" : "http,https")
        martlet_curl_set_long(easy, CURLOPT_FOLLOWLOCATION, request.followsRedirects ? 1 : 0)
        martlet_curl_set_long(easy, CURLOPT_MAXREDIRS, settings.redirectsMax)
        martlet_curl_set_long(easy, CURLOPT_UNRESTRICTED_AUTH, 0)
        martlet_curl_set_long(easy, CURLOPT_SSL_VERIFYPEER, 1)
        martlet_curl_set_long(easy, CURLOPT_SSL_VERIFYHOST, 2)
        if let caFile = settings.caFile { martlet_curl_set_string(easy, CURLOPT_CAINFO, caFile) }
        martlet_curl_set_long(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1)
        martlet_curl_set_long(easy, CURLOPT_CONNECTTIMEOUT_MS, settings.connectSecondsMax * 1000)
        martlet_curl_set_long(easy, CURLOPT_LOW_SPEED_LIMIT, 1)
        martlet_curl_set_long(easy, CURLOPT_LOW_SPEED_TIME, settings.silentSecondsMax)
        martlet_curl_set_long(easy, CURLOPT_TIMEOUT_MS, request.totalSecondsMax * 1000)
        martlet_curl_set_long(easy, CURLOPT_TCP_KEEPALIVE, 1)
        // The largest read libcurl allows: fewer system calls a gigabyte.
        martlet_curl_set_long(easy, CURLOPT_BUFFERSIZE, 512 << 10)
        martlet_curl_set_string(easy, CURLOPT_USERAGENT, settings.userAgent)
        if request.method == .head { martlet_curl_set_long(easy, CURLOPT_NOBODY, 1) }
        // Bytes must be the file's own: a compressed answer has another length and digest.
        list = curl_slist_append(list, "Accept-Encoding: identity")
        for header in request.headers { list = curl_slist_append(list, "\(header.name): \(header.value)") }
        martlet_curl_set_headers(easy, list)
        martlet_curl_set_pointer(easy, CURLOPT_ERRORBUFFER, errorText)
        // Safety: the loop keeps the exchange until after it has taken the handle out of libcurl.
        let context = Unmanaged.passUnretained(self).toOpaque()
        martlet_curl_set_receivers(
            easy,
            { bytes, size, count, context in HTTPExchange.at(context).body(bytes, size * count) },
            { bytes, size, count, context in HTTPExchange.at(context).header(bytes, size * count) },
            context)
        gate.initialize(
            to: martlet_curl_gate(
                admit: { context, bytes, count, port in
                    let address = InternetAddress(
                        bytes: Array(UnsafeRawBufferPointer(start: bytes, count: Int(count))))
                    return HTTPExchange.at(context).admits(address, port: port) ? 1 : 0
                }, context: context))
        martlet_curl_set_gate(easy, gate)
        for line in settings.resolved { resolved = curl_slist_append(resolved, line) }
        if let proxy = settings.proxy { martlet_curl_set_string(easy, CURLOPT_PROXY, proxy) }
        if let resolved { martlet_curl_set_pointer(easy, CURLOPT_RESOLVE, resolved) }
    }

    private static func at(_ context: UnsafeMutableRawPointer?) -> HTTPExchange {
        // Safety: libcurl hands back the pointer set in `configure`, and only while the exchange lives.
        Unmanaged<HTTPExchange>.fromOpaque(context!).takeUnretainedValue()
    }

    /// Frees libcurl's handle, which must be out of the multi handle by now.
    func close() {
        curl_easy_cleanup(easy)
        curl_slist_free_all(list)
        curl_slist_free_all(resolved)
        gate.deallocate()
        errorText.deallocate()
    }

    func resume() {
        guard pausedSinceNs != nil else { return }
        pausedSinceNs = nil
        curl_easy_pause(easy, CURLPAUSE_CONT)
    }

    // libcurl's callbacks. Returning fewer bytes than given breaks the transfer off.

    private func header(_ bytes: UnsafeMutablePointer<CChar>?, _ count: Int) -> Int {
        guard let bytes, count > 0 else { return count }
        let line = String(decoding: UnsafeRawBufferPointer(start: bytes, count: count), as: UTF8.self)
        if line.hasPrefix("HTTP/") {
            // A new response: what a redirect or an interim answer said does not count.
            headers = []
            headerBytes = 0
            isRedirect = line.split(separator: " ").dropFirst().first?.hasPrefix("3") ?? false
            return count
        }
        headerBytes += count
        guard headers.count < HTTPExchange.headerLinesMax, headerBytes <= HTTPExchange.headerBytesMax else {
            broken = .tooLarge
            return 0
        }
        if !hasBegun, let colon = line.firstIndex(of: ":") {
            let header = HTTPHeader(line[..<colon].lowercased(), trimmed(line[line.index(after: colon)...]))
            if header.name == "location", isRedirect, request.followsRedirects, !mayFollow(header.value) {
                broken = .refusedAddress
                return 0
            }
            headers.append(header)
        }
        return count
    }

    /// Judges a redirect by its text, before libcurl asks it, or asks a proxy to. What is no http(s) URL is left to
    /// libcurl, which follows none.
    private func mayFollow(_ location: String) -> Bool {
        guard let server = AddressRule.Server(url: effectiveURL, reference: location) else { return true }
        refusal = rule.refusal(of: server)
        return refusal == nil
    }

    /// Judges the address a socket is about to be opened to: what the name was resolved to, or the proxy's.
    private func admits(_ address: InternetAddress?, port: UInt16) -> Bool {
        guard let address else { return false }
        if proxies.contains(address, port: port) { return true }
        guard let why = rule.refusal(of: address, for: AddressRule.Server(url: effectiveURL)) else { return true }
        refusal = why
        return false
    }

    /// The URL that is being asked: after redirects, not the request's.
    private var effectiveURL: String {
        martlet_curl_get_string(easy, CURLINFO_EFFECTIVE_URL).map { String(cString: $0) } ?? request.url
    }

    private func body(_ bytes: UnsafeMutablePointer<CChar>?, _ count: Int) -> Int {
        guard let bytes, count > 0 else { return count }
        if !hasBegun {
            hasBegun = true
            if receiver.began(head) == .abort {
                broken = .aborted
                return 0
            }
        }
        // libcurl gives a paused part again, and may cut it differently; the bytes taken before the pause are passed
        // over.
        guard alreadyTaken < count else {
            alreadyTaken -= count
            return count
        }
        let fresh = UnsafeRawBufferPointer(start: bytes + alreadyTaken, count: count - alreadyTaken)
        switch receiver.received(fresh) {
        case .consumed:
            alreadyTaken = 0
            return count
        case .pause(let taken):
            precondition(taken <= fresh.count, "a receiver took more than it was given")
            alreadyTaken += taken
            pausedSinceNs = monotonicNowNs()
            return Int(CURL_WRITEFUNC_PAUSE)
        case .abort:
            broken = .aborted
            return 0
        }
    }

    private var head: HTTPResponseHead {
        HTTPResponseHead(
            status: martlet_curl_get_long(easy, CURLINFO_RESPONSE_CODE), headers: headers, url: effectiveURL)
    }

    // The end.

    func outcome(_ result: CURLcode) -> Result<HTTPResponseHead, HTTPError> {
        guard result != CURLE_OK else {
            if !hasBegun, request.method == .get {  // A body of no bytes: the receiver still judges the head.
                hasBegun = true
                if receiver.began(head) == .abort { return .failure(HTTPError(.aborted, url: request.url)) }
            }
            return .success(head)
        }
        if let broken { return .failure(HTTPError(broken, url: request.url, detail: refusal ?? "")) }
        if result == CURLE_COULDNT_CONNECT, let refusal {
            return .failure(HTTPError(.refusedAddress, url: request.url, detail: refusal))
        }
        return .failure(HTTPError(code(of: result), url: request.url, detail: detail(of: result)))
    }

    private func code(of result: CURLcode) -> HTTPError.Code {
        switch result {
        case CURLE_URL_MALFORMAT, CURLE_UNSUPPORTED_PROTOCOL:
            martlet_curl_get_long(easy, CURLINFO_REDIRECT_COUNT) > 0 ? .refusedRedirect : .invalidURL
        case CURLE_COULDNT_RESOLVE_HOST, CURLE_COULDNT_RESOLVE_PROXY: .dns
        case CURLE_COULDNT_CONNECT, CURLE_PROXY: .connect
        case CURLE_OPERATION_TIMEDOUT: .timeout
        case CURLE_PARTIAL_FILE: .truncated
        case CURLE_TOO_MANY_REDIRECTS: .tooManyRedirects
        case CURLE_GOT_NOTHING, CURLE_RECV_ERROR, CURLE_SEND_ERROR: .disconnected
        case CURLE_OUT_OF_MEMORY, CURLE_FAILED_INIT: .resources
        case CURLE_SSL_CONNECT_ERROR, CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CERTPROBLEM, CURLE_SSL_CIPHER,
            CURLE_USE_SSL_FAILED, CURLE_SSL_CACERT_BADFILE, CURLE_SSL_ISSUER_ERROR, CURLE_SSL_CRL_BADFILE,
            CURLE_SSL_INVALIDCERTSTATUS, CURLE_SSL_PINNEDPUBKEYNOTMATCH, CURLE_SSL_ENGINE_INITFAILED,
            CURLE_SSL_ENGINE_NOTFOUND, CURLE_SSL_ENGINE_SETFAILED, CURLE_SSL_CLIENTCERT:
            .tls
        default: .invalidResponse
        }
    }

    /// libcurl's own words, without the URL it may quote.
    private func detail(of result: CURLcode) -> String {
        var text = String(cString: errorText)
        if text.isEmpty, let general = curl_easy_strerror(result) { text = String(cString: general) }
        return text.contains("://") ? "" : text
    }
}

private func trimmed(_ text: Substring) -> String {
    let blanks: Set<Character> = [" ", "\t", "\r", "\n", "\r\n"]
    return String(text.drop { blanks.contains($0) }.reversed().drop { blanks.contains($0) }.reversed())
}
