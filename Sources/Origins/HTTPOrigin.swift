import Artifacts
import Glibc
import HTTP

/// Any web server: one file per reference, pinned by its entity tag or its time of change.
///
/// A server that gives neither cannot show a change, so each resolution of such a file is a task of its own.
public final class HTTPOrigin: Origin {
    private let client: HTTPClient
    private let settings: OriginSettings
    private let meter = OriginMeter()

    /// An origin that asks through a client.
    public init(client: HTTPClient, settings: OriginSettings) {
        self.client = client
        self.settings = settings
    }

    /// What was read so far.
    public var counters: OriginCounters { meter.snapshot }

    /// Pins a URL: its length, validator, and whether ranges can be read.
    public func resolve(_ reference: ModelReference) async throws(OriginError) -> ResolvedModel {
        guard case .http(let url) = reference.source else {
            throw OriginError(.invalidSetting, "\(reference) is no URL; write https://host/file")
        }
        let facts = try await facts(url)
        let validator = facts.validator?.text ?? "resolved \(time(nil))"
        let file = ManifestFile(
            path: HTTPOrigin.fileName(url), sizeBytes: facts.sizeBytes, publishedDigest: nil,
            task: originTask(url: url, validator: validator, sizeBytes: facts.sizeBytes))
        return try ResolvedModel(reference, revision: validator, files: [file]) { file in
            OriginLocation(
                kind: .http, url: url, sizeBytes: file.sizeBytes, validator: facts.validator?.text,
                acceptsRanges: facts.acceptsRanges)
        }
    }

    /// Reads a range of the file; see `Origin`.
    public func fetch(
        _ location: OriginLocation, range: ByteRange, pieceBytes: UInt32, sink: any OriginSink
    ) -> OriginFetchHandle {
        RemoteFetch(
            client: client, location: location, range: range, pieceBytes: pieceBytes, sink: sink,
            headers: settings.credentials.headers(for: location.url), retry: settings.retry, meter: meter
        ).start()
    }

    private struct Facts {
        let sizeBytes: UInt64
        let validator: Validator?
        let acceptsRanges: Bool
    }

    private func facts(_ url: String) async throws(OriginError) -> Facts {
        let subject = OriginSubject(
            OriginLocation(kind: .http, url: url, sizeBytes: 0, validator: nil, acceptsRanges: false))
        let headers = settings.credentials.headers(for: url)
        let head = try await ask(HTTPRequest(.head, url, headers: headers), subject)
        if head.status == 200, let size = head.contentLength {
            switch head["accept-ranges"]?.lowercased() {
            case "bytes": return Facts(sizeBytes: size, validator: Validator(of: head), acceptsRanges: true)
            case "none": return Facts(sizeBytes: size, validator: Validator(of: head), acceptsRanges: false)
            default: break
            }
        }
        // Not refused for good: HEAD alone may be (405, or 403 from a URL that is signed for GET), or ranges are not
        // spoken of.
        guard [200, 400, 403, 405, 501].contains(head.status) else { throw subject.error(head) }
        let first = try await ask(
            HTTPRequest(.get, url, headers: headers + [HTTPHeader("Range", "bytes=0-0")]), subject)
        switch first.status {
        case 206:
            guard let total = first.contentRange?.total else {
                throw subject.invalid("a partial answer without its range")
            }
            return Facts(sizeBytes: total, validator: Validator(of: first), acceptsRanges: true)
        case 200:
            guard let size = first.contentLength else {
                throw subject.invalid("no length, so that nobody could tell whether the file came whole")
            }
            return Facts(sizeBytes: size, validator: Validator(of: first), acceptsRanges: false)
        case 416 where first["content-range"] == "bytes */0":
            return Facts(sizeBytes: 0, validator: Validator(of: first), acceptsRanges: false)
        default: throw subject.error(first)
        }
    }

    private func ask(_ request: HTTPRequest, _ subject: OriginSubject) async throws(OriginError)
        -> HTTPResponseHead
    {
        do { return try await client.head(request, retry: settings.retry) } catch {
            throw subject.error(error)
        }
    }

    /// The URL's last part, decoded: the reference was checked to have one that may be written.
    static func fileName(_ url: String) -> String {
        let last = HTTPURL.shown(url).split(separator: "/").last.map(String.init) ?? "file"
        var bytes: [UInt8] = []
        var rest = Array(last.utf8)[...]
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "%"),
                let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)
            {
                bytes.append(value)
                rest = rest.dropFirst(2)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
