import Artifacts
import HTTP
import Synchronization

/// One range of one remote file on its way into slots; repeats broken requests from where they broke.
///
/// ```
///   asking ──206/200──▶ reading ──last byte──▶ ended(success)
///     ▲  └─4xx, changed─────┬──────────────────▶ ended(failure)
///     └──later── waiting ◀──┘ broken, 429, 5xx; too many without progress ──▶ ended(failure)
/// ```
///
/// Safety: all variables are used by the client's thread only (its callbacks come in order), but for `control`, which
/// is locked.
final class RemoteFetch: HTTPReceiver, @unchecked Sendable {
    /// However much progress each brings, a fetch makes no more requests than this.
    private static let requestsMax = 256

    private struct Control {
        var transfer: HTTPTransfer?
        var isCancelled = false
    }

    private let client: HTTPClient
    private let location: OriginLocation
    private let subject: OriginSubject
    private let headers: [HTTPHeader]
    private let retry: HTTPRetryPolicy
    private let meter: OriginMeter
    private let sink: any OriginSink
    private let control = Mutex(Control())

    private var filler: PieceFiller
    /// Whether this request asked for a range.
    private var asksRange: Bool
    /// Bytes at the start of a whole-file stream that an earlier request brought already.
    private var toDiscard: UInt64 = 0
    /// What the answer's head or body said is wrong for good.
    private var failure: OriginError?
    /// An answer that said “later”.
    private var later: HTTPResponseHead?
    private var positionAtStart: UInt64 = 0
    private var requests = 0
    private var failuresInARow = 0

    init(
        client: HTTPClient, location: OriginLocation, range: ByteRange, pieceBytes: UInt32,
        sink: any OriginSink,
        headers: [HTTPHeader], retry: HTTPRetryPolicy, meter: OriginMeter
    ) {
        self.client = client
        self.location = location
        subject = OriginSubject(location)
        self.headers = headers
        self.retry = retry
        self.meter = meter
        self.sink = sink
        filler = PieceFiller(range: range, pieceBytes: pieceBytes, fileBytes: location.sizeBytes, sink: sink)
        asksRange = location.acceptsRanges
    }

    /// Begins; everything else happens on the client's thread.
    func start() -> OriginFetchHandle {
        if !asksRange && !isWholeFile {
            if !client.onThread({ self.finish(.failure(self.subject.rangesUnsupported)) }) {
                finish(.failure(OriginError(.cancelled, "the origins were shut down")))
            }
        } else {
            ask(afterNs: 0)
        }
        return OriginFetchHandle(
            resume: { self.control.withLock { $0.transfer }?.resume() },
            cancel: {
                let transfer = self.control.withLock { control in
                    control.isCancelled = true
                    return control.transfer
                }
                transfer?.cancel()
            })
    }

    private var isWholeFile: Bool { filler.range.offset == 0 && filler.range.length == location.sizeBytes }

    private func ask(afterNs: UInt64) {
        requests += 1
        meter.request()
        failure = nil
        later = nil
        positionAtStart = filler.position
        toDiscard = asksRange ? 0 : filler.position
        var lines = headers
        if asksRange {
            lines.append(HTTPHeader("Range", "bytes=\(filler.position)-\(filler.range.end - 1)"))
            if let condition = Validator(location.validator)?.ifRange {
                lines.append(HTTPHeader("If-Range", condition))
            }
        }
        let transfer = client.stream(
            HTTPRequest(.get, location.url, headers: lines), afterNs: afterNs, to: self)
        let isCancelled = control.withLock { control in
            control.transfer = transfer
            return control.isCancelled
        }
        if isCancelled { transfer.cancel() }
    }

    // MARK: HTTPReceiver

    func began(_ head: HTTPResponseHead) -> HTTPHeadVerdict {
        switch head.status {
        case 206 where asksRange: failure = faultOfPartial(head)
        case 200: failure = faultOfWhole(head)
        case let status where HTTPRetryPolicy.isTransient(status: status): later = head
        default: failure = subject.error(head)
        }
        return failure == nil && later == nil ? .proceed : .abort
    }

    private func faultOfPartial(_ head: HTTPResponseHead) -> OriginError? {
        if Validator(location.validator)?.isContradicted(by: head) ?? false { return subject.changed }
        guard let answered = head.contentRange else {
            return subject.invalid("a partial answer without its range")
        }
        if answered.total != location.sizeBytes { return subject.changed }
        guard answered.first == filler.position, answered.last == filler.range.end - 1 else {
            return subject.invalid(
                "bytes \(answered.first)–\(answered.last) where \(filler.position)–\(filler.range.end - 1) were asked for"
            )
        }
        return nil
    }

    private func faultOfWhole(_ head: HTTPResponseHead) -> OriginError? {
        if Validator(location.validator)?.isContradicted(by: head) ?? false { return subject.changed }
        if let length = head.contentLength, length != location.sizeBytes { return subject.changed }
        guard isWholeFile else { return subject.rangesUnsupported }
        // The whole file was wanted, and here it comes: what an earlier request brought is passed over.
        asksRange = false
        toDiscard = filler.position
        return nil
    }

    func received(_ bytes: UnsafeRawBufferPointer) -> HTTPBodyVerdict {
        let discarded = Int(min(toDiscard, UInt64(bytes.count)))
        toDiscard -= UInt64(discarded)
        let fresh = UnsafeRawBufferPointer(rebasing: bytes[discarded...])
        guard UInt64(fresh.count) <= filler.range.end - filler.position else {
            failure = subject.invalid("more bytes than were asked for")
            return .abort
        }
        let taken = discarded + filler.write(fresh)
        meter.bytes(taken)
        return taken == bytes.count ? .consumed : .pause(after: taken)
    }

    func ended(_ result: Result<HTTPResponseHead, HTTPError>) {
        if let failure { return finish(.failure(failure)) }
        if filler.isComplete { return finish(.success(())) }
        let error: OriginError
        switch result {
        case _ where control.withLock({ $0.isCancelled }):
            return finish(.failure(OriginError(.cancelled, "reading \(subject.name) was cancelled")))
        case .failure(let broken) where later == nil:
            error = subject.error(broken)
            guard broken.isTransient else { return finish(.failure(error)) }
        default:
            // Said “later”, or ended in good order but too early.
            error = later.map { subject.error($0) } ?? subject.truncated
        }
        if filler.position > positionAtStart { failuresInARow = 0 }
        guard requests < RemoteFetch.requestsMax,
            let delayNs = retry.delayNs(
                retry: failuresInARow, retryAfterSeconds: later?.retryAfterSeconds, random: .random(in: 0...1)
            )
        else { return finish(.failure(error)) }
        failuresInARow += 1
        meter.retry()
        ask(afterNs: delayNs)
    }

    private func finish(_ result: Result<Void, OriginError>) {
        if case .failure = result { meter.failure() }
        sink.ended(result)
    }
}

/// What tells whether a web server's file changed, as kept in `OriginLocation.validator`.
struct Validator: Hashable, Sendable {
    private let field: String
    private let value: String

    /// The best a response offers: a strong entity tag, the time of the last change, a weak entity tag; nil when it
    /// offers none.
    init?(of head: HTTPResponseHead) {
        if let tag = head["etag"], !tag.hasPrefix("W/") {
            (field, value) = ("etag", tag)
        } else if let modified = head["last-modified"] {
            (field, value) = ("last-modified", modified)
        } else if let tag = head["etag"] {
            (field, value) = ("etag", tag)
        } else {
            return nil
        }
    }

    /// Reads the text form.
    init?(_ text: String?) {
        guard let text, let blank = text.firstIndex(of: " ") else { return nil }
        switch text[..<blank] {
        case "etag": field = "etag"
        case "modified": field = "last-modified"
        default: return nil
        }
        value = String(text[text.index(after: blank)...])
    }

    /// `etag …` or `modified …`.
    var text: String { (field == "etag" ? "etag " : "modified ") + value }

    /// The value of `If-Range`, which takes no weak tag.
    var ifRange: String? { value.hasPrefix("W/") ? nil : value }

    /// Whether a response names another version.
    func isContradicted(by head: HTTPResponseHead) -> Bool { head[field].map { $0 != value } ?? false }
}
