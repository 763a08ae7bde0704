import Artifacts
import HTTP

/// File, web and hub behind one door: what a lease-holder makes once and reads every origin through.
///
/// Two threads of its own (one for HTTP, one for files); nothing here blocks the caller. Dropping it, or `shutdown()`,
/// cancels what runs.
public final class Origins: Origin {
    private let client: HTTPClient
    private let file: FileOrigin
    private let http: HTTPOrigin
    let hub: HubOrigin

    /// Starts the threads.
    public init(settings: OriginSettings) throws(OriginError) {
        do { client = try HTTPClient(settings: settings.client) } catch {
            throw OriginError(.unreachable, error.description)
        }
        file = try FileOrigin(roots: settings.fileRoots)
        http = HTTPOrigin(client: client, settings: settings)
        hub = HubOrigin(client: client, settings: settings)
    }

    /// Cancels every fetch and ends the threads soon after.
    public func shutdown() {
        client.shutdown()
        file.shutdown()
    }

    /// Pins a reference at the origin of its scheme; see `Origin`.
    public func resolve(_ reference: ModelReference) async throws(OriginError) -> ResolvedModel {
        switch reference.source {
        case .hub: try await hub.resolve(reference)
        case .http: try await http.resolve(reference)
        case .file: try await file.resolve(reference)
        }
    }

    /// Reads a range at the location's origin; see `Origin`.
    public func fetch(
        _ location: OriginLocation, range: ByteRange, pieceBytes: UInt32, sink: any OriginSink
    ) -> OriginFetchHandle {
        origin(location.kind).fetch(location, range: range, pieceBytes: pieceBytes, sink: sink)
    }

    /// What was read so far from all origins together.
    public var counters: OriginCounters {
        OriginKind.allCases.map { counters(of: $0) }.reduce(into: OriginCounters()) { sum, part in
            sum.bytesRead += part.bytesRead
            sum.requests += part.requests
            sum.retries += part.retries
            sum.failures += part.failures
        }
    }

    /// What was read so far from one kind of origin.
    public func counters(of kind: OriginKind) -> OriginCounters { origin(kind).counters }

    private func origin(_ kind: OriginKind) -> any Origin {
        switch kind {
        case .file: file
        case .http: http
        case .hub: hub
        }
    }
}
