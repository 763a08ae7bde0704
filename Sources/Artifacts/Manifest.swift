/// One file of a model.
public struct ManifestFile: Hashable, Sendable {
    /// Path relative to the model's root, `/` between parts; see `Manifest.pathFault` for what is refused.
    public let path: String
    /// Size in bytes.
    public let sizeBytes: UInt64
    /// The digest its publisher gives for the whole file, checked before the file is published; nil where none is.
    public let publishedDigest: Digest?
    /// The task that moves this content.
    public let task: TaskID

    /// Describes a file.
    public init(path: String, sizeBytes: UInt64, publishedDigest: Digest?, task: TaskID) {
        self.path = path
        self.sizeBytes = sizeBytes
        self.publishedDigest = publishedDigest
        self.task = task
    }

    /// How the file is cut.
    public var layout: PieceLayout { PieceLayout(fileBytes: sizeBytes) }
}

/// A model pinned to an immutable revision: which files, how large, with which digests.
public struct Manifest: Hashable, Sendable {
    /// The reference it was resolved from, in canonical form, with the revision as asked for (`main`).
    public let reference: String
    /// The immutable revision it is pinned to: a commit, an entity tag, or a modification stamp.
    public let revision: String
    /// The files, sorted by path, paths distinct.
    public let files: [ManifestFile]

    /// Why a manifest was refused: one sentence.
    public struct Fault: Error, Hashable, Sendable, CustomStringConvertible {
        /// The sentence.
        public let description: String
        /// Wraps a sentence.
        public init(description: String) { self.description = description }
    }

    /// Checks and sorts the files.
    public init(reference: String, revision: String, files: [ManifestFile]) throws(Fault) {
        guard !files.isEmpty else { throw Fault(description: "the manifest of \(reference) has no files") }
        guard files.count <= Limits.manifestFilesMax else {
            throw Fault(
                description:
                    "the manifest of \(reference) has \(files.count) files; the limit is \(Limits.manifestFilesMax)")
        }
        guard reference.utf8.count <= Limits.referenceBytesMax, revision.utf8.count <= Limits.revisionBytesMax else {
            throw Fault(
                description:
                    "a manifest's reference or revision is longer than \(Limits.referenceBytesMax) bytes")
        }
        var pieces = 0
        let sorted = files.sorted { $0.path < $1.path }
        for (index, file) in sorted.enumerated() {
            if let fault = Manifest.pathFault(file.path) {
                throw Fault(description: "the manifest of \(reference) names a file that may not be written: \(fault)")
            }
            if index > 0, sorted[index - 1].path == file.path {
                throw Fault(description: "the manifest of \(reference) names \(file.path) twice")
            }
            guard file.sizeBytes <= Limits.fileBytesMax else {
                throw Fault(
                    description: "\(file.path) has \(file.sizeBytes) bytes; the limit is \(Limits.fileBytesMax)")
            }
            pieces += file.layout.count
            guard pieces <= Limits.modelPiecesMax else {
                throw Fault(
                    description:
                        "the manifest of \(reference) has more than \(Limits.modelPiecesMax) pieces; split the model")
            }
        }
        self.reference = reference
        self.revision = revision
        self.files = sorted
    }

    /// Why a path may not stand in a manifest, or nil when it may.
    ///
    /// Refused: empty, absolute, longer than 1024 bytes, backslashes, control characters, and parts that are
    /// empty, `.` or `..`.
    public static func pathFault(_ path: String) -> String? {
        let shown = String(path.prefix(80).map { $0.isASCII && ($0.asciiValue ?? 0) < 32 ? "?" : $0 })
        if path.isEmpty { return "an empty name" }
        if path.utf8.count > Limits.pathBytesMax { return "‘\(shown)…’ is longer than \(Limits.pathBytesMax) bytes" }
        if path.hasPrefix("/") { return "‘\(shown)’ is an absolute path" }
        for character in path.utf8 where character < 32 || character == 127 || character == UInt8(ascii: "\\") {
            return "‘\(shown)’ has a control character or backslash"
        }
        for part in path.split(separator: "/", omittingEmptySubsequences: false) {
            if part.isEmpty || part == "." || part == ".." { return "‘\(shown)’ has a part ‘\(part)’" }
        }
        return nil
    }

    /// What a model's identity is the SHA-256 of: a line a file, `path TAB size TAB task LF`, sorted by path.
    public var canonicalText: String {
        files.map { "\($0.path)\t\($0.sizeBytes)\t\($0.task)\n" }.joined()
    }

    /// All the bytes of all files.
    public var totalBytes: UInt64 { files.reduce(0) { $0 + $1.sizeBytes } }
    /// All the pieces of all files.
    public var pieceCount: Int { files.reduce(0) { $0 + $1.layout.count } }
}
