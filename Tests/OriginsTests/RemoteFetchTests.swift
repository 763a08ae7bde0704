import Artifacts
import Origins
import Testing

/// Faults of a web server in the middle of a fetch, on plain http files with entity tags.
@Suite(.timeLimit(.minutes(2))) struct RemoteFetchTests {
    private static let bytes = patternedBytes(1_000_000, seed: 7)

    private func setUp() async throws -> (
        hub: LocalHub, origins: Origins, location: OriginLocation, resolved: ResolvedModel
    ) {
        let hub = try LocalHub(["a/weights.bin": RemoteFetchTests.bytes])
        let origins = try hub.origins()
        let resolved = try await origins.resolve(ModelReference("\(hub.endpoint)/files/a/weights.bin"))
        return (hub, origins, resolved.locations[0], resolved)
    }

    @Test func aURLIsPinnedByItsEntityTag() async throws {
        let (hub, origins, location, resolved) = try await setUp()
        #expect(resolved.manifest.files.map(\.path) == ["weights.bin"])
        #expect(resolved.manifest.files[0].publishedDigest == nil)
        #expect(resolved.manifest.files[0].task.digest.algorithm == .origin)
        #expect(resolved.manifest.revision.hasPrefix("etag \""))
        #expect(location.acceptsRanges && location.sizeBytes == 1_000_000)
        #expect(await origins.read(location).bytes == RemoteFetchTests.bytes)
        #expect(try hub.served() == (1_000_000, 1))
    }

    @Test func aTruncatedBodyGoesOnWhereItStopped() async throws {
        let (hub, origins, location, _) = try await setUp()
        try hub.fault(#"{"truncate": 300000, "times": 2}"#)
        let read = await origins.read(location)
        #expect(read.end.code == nil)
        #expect(read.bytes == RemoteFetchTests.bytes)
        #expect(try hub.served() == (1_000_000, 3))
        #expect(origins.counters.retries == 2)
    }

    @Test func truncationWithoutProgressEnds() async throws {
        let (hub, origins, location, _) = try await setUp()
        try hub.fault(#"{"truncate": 0}"#)
        let sink = GatheringSink()
        let read = await origins.read(location, into: sink)
        #expect(read.end.code == .truncated)
        #expect(try hub.served().requests == 4)
        #expect(sink.endCount == 1)
        #expect(origins.counters.failures == 1)
    }

    @Test func laterMeansLater() async throws {
        let (hub, origins, location, _) = try await setUp()
        try hub.fault(#"{"status": 503, "times": 2}"#)
        #expect(await origins.read(location).bytes == RemoteFetchTests.bytes)
        try hub.fault(#"{"status": 429, "retry_after": 0, "times": 3}"#)
        #expect(await origins.read(location).bytes == RemoteFetchTests.bytes)
        #expect(origins.counters.retries == 5)
    }

    @Test func aRateLimitBeyondOurPatienceEndsAtOnce() async throws {
        let (hub, origins, location, _) = try await setUp()
        try hub.fault(#"{"status": 429, "retry_after": 3600}"#)
        #expect(await origins.read(location).end.code == .rateLimited)
        #expect(try hub.served().requests == 1)
    }

    @Test(arguments: [
        (401, OriginError.Code.unauthorized), (403, .forbidden), (404, .notFoundFile), (412, .changed),
        (416, .changed),
        (418, .invalidResponse), (500, .unreachable), (503, .unreachable),
    ]) func statusesHaveTheirErrors(_ status: Int, _ code: OriginError.Code) async throws {
        let (hub, origins, location, _) = try await setUp()
        try hub.fault(#"{"status": \#(status)}"#)
        #expect(await origins.read(location).end.code == code)
    }

    @Test func aChangedFileIsNoticed() async throws {
        let (hub, origins, location, _) = try await setUp()
        try hub.fault(#"{"etag": "\"other\""}"#)
        #expect(await origins.read(location).end.code == .changed)
        #expect(await origins.read(location, ByteRange(offset: 65536, length: 65536)).end.code == .changed)
    }

    @Test func aFileThatChangesBetweenTwoRequestsIsNoticed() async throws {
        let (hub, origins, location, _) = try await setUp()
        try hub.fault(#"{"truncate": 100000, "times": 1}"#)
        let sink = GatheringSink(slots: 1)
        let handle = origins.fetch(
            location, range: ByteRange(offset: 0, length: location.sizeBytes), pieceBytes: 65536, sink: sink)
        await sink.refusal()
        try hub.fault(#"{"etag": "\"other\""}"#)
        sink.allow(.max / 2)
        handle.resume()
        #expect(await sink.end().code == .changed)
    }

    @Test func aWrongRangeIsNotTaken() async throws {
        let (hub, origins, location, _) = try await setUp()
        try hub.fault(#"{"wrong_range": true}"#)
        let read = await origins.read(location, ByteRange(offset: 65536, length: 65536))
        #expect(read.end.code == .invalidResponse)
        #expect(read.bytes.isEmpty)
    }

    @Test func withoutRangesTheWholeFileIsOneStream() async throws {
        let hub = try LocalHub(["a/weights.bin": RemoteFetchTests.bytes])
        try hub.fault(#"{"no_ranges": true}"#)
        let origins = try hub.origins()
        let location = try await origins.resolve(ModelReference("\(hub.endpoint)/files/a/weights.bin"))
            .locations[0]
        #expect(!location.acceptsRanges)
        #expect(
            await origins.read(location, ByteRange(offset: 0, length: 65536)).end.code == .rangesUnsupported)
        #expect(await origins.read(location).bytes == RemoteFetchTests.bytes)
    }

    @Test func aBrokenWholeStreamStartsAgain() async throws {
        let (hub, origins, ranged, _) = try await setUp()
        let location = OriginLocation(
            kind: .http, url: ranged.url, sizeBytes: ranged.sizeBytes, validator: ranged.validator,
            acceptsRanges: false)
        // What came before the break is passed over the second time.
        try hub.fault(#"{"truncate": 500000, "times": 1}"#)
        #expect(await origins.read(location).bytes == RemoteFetchTests.bytes)
        #expect(try hub.served() == (1_500_000, 2))
    }

    @Test func rangesLostLaterAreSaid() async throws {
        let (hub, origins, location, _) = try await setUp()
        try hub.fault(#"{"no_ranges": true}"#)
        #expect(
            await origins.read(location, ByteRange(offset: 65536, length: 65536)).end.code
                == .rangesUnsupported)
        #expect(await origins.read(location).bytes == RemoteFetchTests.bytes)
    }

    @Test func aServerThatRefusesHEADIsAskedForAByte() async throws {
        let hub = try LocalHub(["a/weights.bin": RemoteFetchTests.bytes])
        try hub.fault(#"{"no_head": true}"#)
        let resolved = try await hub.origins().resolve(ModelReference("\(hub.endpoint)/files/a/weights.bin"))
        #expect(resolved.locations[0].acceptsRanges)
        #expect(resolved.manifest.totalBytes == 1_000_000)
    }

    @Test func aMissingURLIsNamed() async throws {
        let hub = try LocalHub([:])
        let error = await #expect(throws: OriginError.self) {
            try await hub.origins().resolve(ModelReference("\(hub.endpoint)/files/none.bin?secret=1"))
        }
        #expect(error?.code == .notFoundFile)
        #expect(error?.description.contains("secret") == false)
    }

    @Test func withoutASlotTheFetchWaits() async throws {
        let (hub, origins, location, _) = try await setUp()
        defer { withExtendedLifetime(hub) {} }
        let sink = GatheringSink(slots: 3)
        let handle = origins.fetch(
            location, range: ByteRange(offset: 0, length: location.sizeBytes), pieceBytes: 65536, sink: sink)
        await sink.refusal()
        #expect(sink.filledCount == 3)
        sink.allow(1)
        handle.resume()
        sink.allow(100)
        handle.resume()
        // The one refused may come before or after the second permission; resuming a running fetch does no harm.
        handle.resume()
        #expect(await sink.end().code == nil)
        #expect(sink.bytes == RemoteFetchTests.bytes)
    }

    @Test func aCancelledFetchEndsOnce() async throws {
        let (hub, origins, location, _) = try await setUp()
        defer { withExtendedLifetime(hub) {} }
        let sink = GatheringSink(slots: 1)
        let handle = origins.fetch(
            location, range: ByteRange(offset: 0, length: location.sizeBytes), pieceBytes: 65536, sink: sink)
        await sink.refusal()
        handle.cancel()
        handle.cancel()
        handle.resume()
        #expect(await sink.end().code == .cancelled)
        #expect(sink.endCount == 1)
    }

    @Test func shutdownEndsWhatRuns() async throws {
        let (hub, origins, location, _) = try await setUp()
        defer { withExtendedLifetime(hub) {} }
        let sink = GatheringSink(slots: 1)
        let handle = origins.fetch(
            location, range: ByteRange(offset: 0, length: location.sizeBytes), pieceBytes: 65536, sink: sink)
        await sink.refusal()
        origins.shutdown()
        #expect(await sink.end().code == .cancelled)
        withExtendedLifetime(handle) {}
    }

    @Test func aServerThatIsGoneIsUnreachable() async throws {
        var (hub, origins, location, _): (LocalHub?, Origins, OriginLocation, ResolvedModel) =
            try await setUp()
        #expect(hub != nil)
        hub = nil
        let end = await origins.read(location).end
        #expect(end.code == .unreachable)
    }
}
