/// One host of the cluster, named once and for good (configured, or made at first start and kept on disk).
///
/// 1 to 64 characters of `A–Z a–z 0–9 . _ -`, so that it can stand in a label, a log line and a path.
public struct HostID: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// The name.
    public let name: String

    /// Checks and wraps a name; nil when it breaks the rule above.
    public init?(_ name: String) {
        guard (1...Limits.hostNameBytesMax).contains(name.utf8.count),
            name.utf8.allSatisfy({ character in
                switch character {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"),
                    UInt8(ascii: "-"):
                    true
                default: false
                }
            })
        else { return nil }
        self.name = name
    }

    /// Ordered by name.
    public static func < (left: HostID, right: HostID) -> Bool { left.name < right.name }
    /// The text form.
    public var description: String { name }
}

/// Which life of a host this is: larger for every start of the process (wall-clock milliseconds at start).
///
/// A message that carries an older incarnation than one already seen is late and is dropped.
public typealias Incarnation = UInt64

/// Identity of a task: one file's content, however many models and origins it appears in.
///
/// The published digest where there is one; otherwise a digest of origin, validator and length. Never a URL.
public struct TaskID: Hashable, Sendable, CustomStringConvertible {
    /// What identifies the content.
    public let digest: Digest
    /// Wraps a digest as an identity.
    public init(_ digest: Digest) { self.digest = digest }
    /// Parses the text form, `algorithm:hex`.
    public init?(text: some StringProtocol) {
        guard let digest = Digest(text: text) else { return nil }
        self.digest = digest
    }
    /// The text form.
    public var description: String { digest.description }
}

/// Identity of a model: SHA-256 of its manifest's canonical text (names, sizes and tasks).
public struct ModelID: Hashable, Sendable, CustomStringConvertible {
    /// The SHA-256 of `Manifest.canonicalText`.
    public let digest: Digest
    /// Wraps a digest as an identity.
    public init(_ digest: Digest) { self.digest = digest }
    /// Parses the text form, `sha256:hex`.
    public init?(text: some StringProtocol) {
        guard let digest = Digest(text: text) else { return nil }
        self.digest = digest
    }
    /// The text form.
    public var description: String { digest.description }
}

/// A file's place in its manifest, from 0.
public struct FileIndex: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// The place.
    public let value: UInt32
    /// Wraps a place.
    @inlinable
    public init(_ value: some BinaryInteger) { self.value = UInt32(value) }
    /// Ordered by place.
    public static func < (left: FileIndex, right: FileIndex) -> Bool { left.value < right.value }
    /// The text form.
    public var description: String { "file \(value)" }
}

/// A piece's place in its file, from 0.
public struct PieceIndex: Hashable, Sendable, Comparable, CustomStringConvertible, Strideable {
    /// The place.
    public let value: UInt32
    /// Wraps a place.
    @inlinable
    public init(_ value: some BinaryInteger) { self.value = UInt32(value) }
    /// Ordered by place.
    public static func < (left: PieceIndex, right: PieceIndex) -> Bool { left.value < right.value }
    /// How many places on.
    public func distance(to other: PieceIndex) -> Int { Int(other.value) - Int(value) }
    /// So many places on.
    public func advanced(by n: Int) -> PieceIndex { PieceIndex(Int(value) + n) }
    /// The text form.
    public var description: String { "piece \(value)" }
}

/// A piece of a manifest's file: what a download counts, wants and reads.
public struct PieceAddress: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// Which file of the manifest.
    public let file: FileIndex
    /// Which piece of the file.
    public let piece: PieceIndex
    /// Names a piece of a file.
    public init(file: FileIndex, piece: PieceIndex) {
        self.file = file
        self.piece = piece
    }
    /// Ordered by place.
    public static func < (left: PieceAddress, right: PieceAddress) -> Bool {
        (left.file, left.piece) < (right.file, right.piece)
    }
    /// The text form.
    public var description: String { "\(file), \(piece)" }
}

/// Bytes `offset ..< offset + length` of a file.
public struct ByteRange: Hashable, Sendable {
    /// First byte.
    public let offset: UInt64
    /// How many bytes.
    public let length: UInt64
    /// Names a range.
    public init(offset: UInt64, length: UInt64) {
        self.offset = offset
        self.length = length
    }
    /// The byte after the last.
    public var end: UInt64 { offset + length }
}
