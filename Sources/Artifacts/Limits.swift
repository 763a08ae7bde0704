/// Every fixed bound on what artifacts may be, in one place, with its arithmetic.
public enum Limits {
    /// The largest piece: 16 MiB. A slot of the arena is this large.
    public static let pieceBytesMax: UInt64 = 16 << 20
    /// A file may have at most 8 TiB: 524 288 pieces of 16 MiB, a piece map of 64 KiB.
    public static let fileBytesMax: UInt64 = 8 << 40
    /// A model may have this many files; the largest seen on the hub has a few thousand.
    public static let manifestFilesMax = 20_000
    /// A model may have this many pieces: 4 TiB in pieces of 4 MiB, 16 TiB in pieces of 16 MiB. Whoever follows a model
    /// keeps some 40 bytes for each.
    public static let modelPiecesMax = 1 << 20
    /// The longest path in a manifest.
    public static let pathBytesMax = 1024
    /// The longest host name.
    public static let hostNameBytesMax = 64
    /// The longest model reference.
    public static let referenceBytesMax = 2048
    /// The longest revision: an entity tag is as long as its server pleases.
    public static let revisionBytesMax = 2048
    /// The longest name of a zone, a rack or a machine.
    public static let placeBytesMax = 256
    /// The largest safetensors header read: 100 MB, the format's own limit.
    public static let safetensorsHeaderBytesMax: UInt64 = 100_000_000
}
