import Artifacts

/// Cuts a stream of bytes into pieces: asks the sink for a slot per piece, says when it is filled.
struct PieceFiller {
    /// What is read.
    let range: ByteRange
    /// The next byte of the file.
    private(set) var position: UInt64
    private let pieceBytes: UInt64
    private let sink: any OriginSink
    private var slot: UnsafeMutableRawBufferPointer?

    /// Traps on a range that is empty or not made of whole pieces: a bug of the caller.
    init(range: ByteRange, pieceBytes: UInt32, fileBytes: UInt64, sink: any OriginSink) {
        precondition(range.length > 0 && pieceBytes > 0, "a fetch of nothing")
        precondition(range.end <= fileBytes, "a fetch beyond the file's end")
        precondition(
            range.offset % UInt64(pieceBytes) == 0
                && (range.end % UInt64(pieceBytes) == 0 || range.end == fileBytes),
            "a fetch of parts of pieces")
        self.range = range
        self.pieceBytes = UInt64(pieceBytes)
        self.sink = sink
        position = range.offset
    }

    var isComplete: Bool { position == range.end }
    private var pieceOffset: UInt64 { position / pieceBytes * pieceBytes }

    /// Where the next bytes go, up to the end of their piece; nil when there is no slot now.
    mutating func space() -> UnsafeMutableRawBufferPointer? {
        let lengthBytes = Int(min(pieceBytes, range.end - pieceOffset))
        if slot == nil {
            slot = sink.slot(for: pieceOffset, lengthBytes: lengthBytes)
            precondition(slot.map { $0.count >= lengthBytes } ?? true, "a slot is shorter than its piece")
        }
        guard let slot else { return nil }
        return UnsafeMutableRawBufferPointer(rebasing: slot[Int(position - pieceOffset)..<lengthBytes])
    }

    /// The same, cut to what may be read now; nil when that is nothing.
    mutating func allowedSpace() -> UnsafeMutableRawBufferPointer? {
        guard let space = space() else { return nil }
        let count = sink.allowance(bytes: space.count)
        return count > 0 ? UnsafeMutableRawBufferPointer(rebasing: space[..<count]) : nil
    }

    /// That many bytes were put where `space` said.
    mutating func advance(by count: Int) {
        let piece = pieceOffset
        position += UInt64(count)
        if position == min(piece + pieceBytes, range.end) {
            slot = nil
            sink.filled(pieceOffset: piece)
        }
    }

    /// Copies what fits; fewer bytes than given when there is no slot for the rest now. Traps beyond the range's end.
    mutating func write(_ bytes: UnsafeRawBufferPointer) -> Int {
        var taken = 0
        while taken < bytes.count {
            guard let space = space() else { return taken }
            let count = sink.allowance(bytes: min(space.count, bytes.count - taken))
            guard count > 0 else { return taken }
            space.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[taken..<taken + count]))
            advance(by: count)
            taken += count
        }
        return taken
    }
}
