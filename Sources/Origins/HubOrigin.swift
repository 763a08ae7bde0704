import Artifacts
import Digests
import HTTP

/// A Hugging Face hub: revision → commit → tree → files. Everything after the first question is asked by commit.
///
/// Files of large-file storage carry their SHA-256, others their git blob id: both are the files' published digests and
/// their tasks.
/// Xet headers and hashes are ignored: the plain route gives the same bytes.
public final class HubOrigin: Origin {
    /// A revision's description lists all file names: 20 000 of them take some megabytes.
    private static let infoBytesMax = 32 << 20
    /// A page of the tree has at most 1 000 entries of some hundred bytes.
    private static let pageBytesMax = 8 << 20
    private static let pagesMax = 100

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

    /// Pins a hub reference to a commit.
    ///
    /// Also asks for the head of one file: the listing of a gated model is public, its files are not, and a model that
    /// may not be read is better refused here than in the middle of a download.
    public func resolve(_ reference: ModelReference) async throws(OriginError) -> ResolvedModel {
        guard case .hub(let hub) = reference.source else {
            throw OriginError(.invalidSetting, "\(reference) is no reference to a hub; write hf://org/name")
        }
        let endpoint = try endpoint(of: hub)
        let host = String(endpoint.split(separator: "/")[1])
        let subject = OriginSubject(hub: host, repository: hub.repository, revision: hub.revision)
        let api = "\(endpoint)/api/models/\(hub.repository)"

        let info = try await json("\(api)/revision/\(urlPart(hub.revision))", HubOrigin.infoBytesMax, subject)
        let commit = try parsed(info, subject, HubAnswer.commit)
        guard let commit, commit.utf8.count == 40, commit.allSatisfy({ $0.isHexDigit }) else {
            throw subject.invalid("no commit in the revision's description")
        }

        let entries = try await tree("\(api)/tree/\(commit)?recursive=true&expand=false", endpoint, subject)
        let wanted = entries.filter { entry in
            hub.path.map { entry.path == $0 || entry.path.hasPrefix($0 + "/") } ?? true
        }
        if wanted.isEmpty, let path = hub.path {
            throw OriginSubject(hub: host, repository: hub.repository, revision: hub.revision, file: path)
                .notFoundFile
        }
        var files: [ManifestFile] = []
        for entry in wanted {
            if let fault = Manifest.pathFault(entry.path) {
                throw OriginError(
                    .refusedName,
                    "\(subject.name) on \(host) names a file that may not be written, \(fault); do not use this repository, and report it"
                )
            }
            guard let digest = entry.digest else { throw subject.invalid("no digest for ‘\(entry.path)’") }
            files.append(
                ManifestFile(
                    path: entry.path, sizeBytes: entry.sizeBytes, publishedDigest: digest,
                    task: TaskID(digest)))
        }
        let resolved = try ResolvedModel(reference, revision: commit, files: files) { file in
            HubOrigin.location(of: file, at: endpoint, repository: hub, commit: commit)
        }
        try await checkAccess(resolved)
        return resolved
    }

    /// Where a file of a commit is read; asks nobody.
    func location(
        of file: ManifestFile, repository: HubReference, commit: String
    ) throws(OriginError) -> OriginLocation {
        HubOrigin.location(of: file, at: try endpoint(of: repository), repository: repository, commit: commit)
    }

    private static func location(
        of file: ManifestFile, at endpoint: String, repository: HubReference, commit: String
    ) -> OriginLocation {
        OriginLocation(
            kind: .hub, url: "\(endpoint)/\(repository.repository)/resolve/\(commit)/\(urlPath(file.path))",
            sizeBytes: file.sizeBytes, validator: nil, acceptsRanges: true)
    }

    private func endpoint(of repository: HubReference) throws(OriginError) -> String {
        do { return try repository.endpoint(default: settings.hubEndpoint) } catch {
            throw OriginError(.invalidSetting, error.description)
        }
    }

    /// Reads a range of one file; see `Origin`.
    public func fetch(
        _ location: OriginLocation, range: ByteRange, pieceBytes: UInt32, sink: any OriginSink
    ) -> OriginFetchHandle {
        RemoteFetch(
            client: client, location: location, range: range, pieceBytes: pieceBytes, sink: sink,
            headers: settings.credentials.headers(for: location.url), retry: settings.retry, meter: meter
        ).start()
    }

    // MARK: Questions

    private func json(
        _ url: String, _ bytesMax: Int, _ subject: OriginSubject
    ) async throws(OriginError) -> HTTPResponse {
        let request = HTTPRequest(.get, url, headers: settings.credentials.headers(for: url))
        let response: HTTPResponse
        do { response = try await client.body(request, bytesMax: bytesMax, retry: settings.retry) } catch {
            throw subject.error(error)
        }
        guard response.head.status == 200 else { throw subject.error(response.head) }
        return response
    }

    private func parsed<Value>(
        _ response: HTTPResponse, _ subject: OriginSubject,
        _ read: ([UInt8]) throws(JSONReader.Fault) -> Value
    ) throws(OriginError) -> Value {
        do { return try read(response.body) } catch { throw subject.invalid("\(error)") }
    }

    private func tree(
        _ first: String, _ endpoint: String, _ subject: OriginSubject
    ) async throws(OriginError) -> [HubAnswer.Entry] {
        var entries: [HubAnswer.Entry] = []
        var next: String? = first
        for _ in 0..<HubOrigin.pagesMax {
            guard let url = next else { return entries }
            let page = try await json(url, HubOrigin.pageBytesMax, subject)
            entries += try parsed(page, subject, HubAnswer.files)
            guard entries.count <= Limits.manifestFilesMax else {
                throw subject.invalid("more than \(Limits.manifestFilesMax) files")
            }
            next = page.head.nextLink.map { $0.hasPrefix("/") ? serverPart(of: endpoint) + $0 : $0 }
            // The next page is followed where the hub itself says, but the token and the trust stay with this server.
            if let next, HTTPURL.origin(of: next) != HTTPURL.origin(of: endpoint) {
                throw subject.invalid("the tree's next page is on another server, \(HTTPURL.shown(next))")
            }
        }
        guard next == nil else { throw subject.invalid("a tree of more than \(HubOrigin.pagesMax) pages") }
        return entries
    }

    private func checkAccess(_ resolved: ResolvedModel) async throws(OriginError) {
        guard let smallest = resolved.locations.min(by: { $0.sizeBytes < $1.sizeBytes }) else { return }
        var request = HTTPRequest(
            .head, smallest.url, headers: settings.credentials.headers(for: smallest.url))
        // A redirect to the content's server means yes; that server may refuse HEAD.
        request.followsRedirects = false
        let subject = OriginSubject(smallest)
        let head: HTTPResponseHead
        do { head = try await client.head(request, retry: settings.retry) } catch {
            throw subject.error(error)
        }
        guard (200..<400).contains(head.status) || head.status == 405 else { throw subject.error(head) }
    }
}

extension ResolvedModel {
    /// Makes the manifest and its identity, and puts the locations into its order.
    init(
        _ reference: ModelReference, revision: String, files: [ManifestFile],
        _ location: (ManifestFile) -> OriginLocation
    ) throws(OriginError) {
        let manifest: Manifest
        do {
            manifest = try Manifest(reference: reference.canonicalText, revision: revision, files: files)
        } catch { throw OriginError(.invalidResponse, error.description) }
        self.init(
            manifest: manifest, model: manifest.model, locations: manifest.files.map(location))
    }
}

/// A task's identity where no digest is published: SHA-256 of URL, validator and length.
func originTask(url: String, validator: String, sizeBytes: UInt64) -> TaskID {
    let digest = Digests.sha256(Array("\(url)|\(validator)|\(sizeBytes)".utf8))
    guard let identity = Digest(.origin, bytes: digest.bytes) else {
        preconditionFailure("SHA-256 has 32 bytes")
    }
    return TaskID(identity)
}

/// One part of a URL's path, everything but letters, digits and `-._~` encoded.
func urlPart(_ text: String) -> String {
    var encoded = ""
    for byte in text.utf8 {
        let scalar = Unicode.Scalar(byte)
        let isPlain =
            scalar.isASCII
            && (scalar.properties.isAlphabetic || (48...57).contains(byte)
                || "-._~".unicodeScalars.contains(scalar))
        encoded +=
            isPlain
            ? String(Character(scalar))
            : "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
    }
    return encoded
}

/// A path, each part encoded.
func urlPath(_ path: String) -> String {
    path.split(separator: "/", omittingEmptySubsequences: false).map { urlPart(String($0)) }.joined(
        separator: "/")
}

/// `scheme://host:port` of a URL, as written.
private func serverPart(of url: String) -> String {
    let parts = url.split(separator: "/", maxSplits: 2, omittingEmptySubsequences: true)
    return "\(parts[0])//\(parts[1].split(separator: "/")[0])"
}
