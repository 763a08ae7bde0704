import Artifacts

/// The kinds of origin.
public enum OriginKind: String, Hashable, Sendable, CaseIterable {
    /// Files of this machine.
    case file
    /// Any web server.
    case http
    /// A Hugging Face hub.
    case hub
}

/// Where models come from, back-to-source: pins a reference to a manifest, and reads byte ranges of its files into
/// slots.
public protocol Origin: Sendable {
    /// Pins a reference to an immutable revision: its files, sizes, digests, and where each is read.
    func resolve(_ reference: ModelReference) async throws(OriginError) -> ResolvedModel

    /// Reads a range of one file, in order, into slots that `sink` gives; returns at once.
    ///
    /// `range` is not empty, starts at a multiple of `pieceBytes` and ends at one or at the file's end (else it traps).
    /// Broken connections and “later” answers are retried from where they broke, within the retry policy.
    /// A file that is no longer what `location` says ends the fetch with `.changed`.
    func fetch(
        _ location: OriginLocation, range: ByteRange, pieceBytes: UInt32, sink: any OriginSink
    ) -> OriginFetchHandle

    /// What was read so far.
    var counters: OriginCounters { get }
}

/// A reference pinned: what to have, and where its origin keeps it.
public struct ResolvedModel: Hashable, Sendable {
    /// The files, sizes and digests.
    public let manifest: Manifest
    /// SHA-256 of the manifest's canonical text.
    public let model: ModelID
    /// Where each file of `manifest.files` is read, in the same order.
    public let locations: [OriginLocation]
}

/// Where an origin keeps one file: plain values without any credentials, so that a lease-holder elsewhere can be told.
///
/// Whoever reads it uses its own credentials. A URL the user gave with a signed query keeps the query: do not log it.
public struct OriginLocation: Hashable, Sendable {
    /// Which kind of origin reads it.
    public let kind: OriginKind
    /// Absolute URL: `https://…`, or `file:///…` with the rest taken literally as a path.
    public let url: String
    /// The file's size.
    public let sizeBytes: UInt64
    /// What tells a changed file: `etag …`, `modified …`, `mtime …`; nil where the URL itself is immutable (a hub's
    /// commit) or nothing is known.
    public let validator: String?
    /// Whether ranges can be read; if not, the only range is the whole file.
    public let acceptsRanges: Bool

    /// Names a place.
    public init(kind: OriginKind, url: String, sizeBytes: UInt64, validator: String?, acceptsRanges: Bool) {
        self.kind = kind
        self.url = url
        self.sizeBytes = sizeBytes
        self.validator = validator
        self.acceptsRanges = acceptsRanges
    }
}

/// What takes an origin's bytes. Called on the origin's own thread, in order, and must not block.
public protocol OriginSink: AnyObject, Sendable {
    /// Memory for the piece that starts at this byte of the file; it holds at least `lengthBytes` and stays valid until
    /// `filled` or `ended`.
    ///
    /// nil when there is none now: the fetch pauses, and asks again after `OriginFetchHandle.resume()`.
    func slot(for pieceOffset: UInt64, lengthBytes: Int) -> UnsafeMutableRawBufferPointer?
    /// How many of so many bytes may be read now; with none the fetch pauses as it does without a slot.
    func allowance(bytes wanted: Int) -> Int
    /// The piece's bytes are all there.
    func filled(pieceOffset: UInt64)
    /// The end, exactly once, after which nothing is called. On failure the slot given last and not filled is free
    /// again.
    func ended(_ result: Result<Void, OriginError>)
}

extension OriginSink {
    /// All of them.
    public func allowance(bytes wanted: Int) -> Int { wanted }
}

/// A handle on a running fetch. All calls return at once, from any thread.
public final class OriginFetchHandle: Sendable {
    private let resuming: @Sendable () -> Void
    private let cancelling: @Sendable () -> Void

    /// Wraps an origin's own way to resume and to cancel.
    public init(resume: @escaping @Sendable () -> Void, cancel: @escaping @Sendable () -> Void) {
        resuming = resume
        cancelling = cancel
    }

    /// Asks the sink for a slot again; nothing happens when the fetch is not paused.
    public func resume() { resuming() }
    /// Ends the fetch with `.cancelled`; nothing happens when it has ended.
    public func cancel() { cancelling() }
}
