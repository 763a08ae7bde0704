import Artifacts
import Digests
import Storage

extension FuzzTarget {
    private static func number(_ bytes: [UInt8], _ offset: Int, _ width: Int) -> UInt64 {
        (0..<width).reduce(0) { sum, index in
            offset + index < bytes.count ? sum | UInt64(bytes[offset + index]) << UInt64(8 * index) : sum
        }
    }

    private static func little(_ value: UInt64, _ width: Int) -> [UInt8] {
        (0..<width).map { UInt8(truncatingIfNeeded: value >> UInt64(8 * $0)) }
    }

    /// A journal's header and records with right checksums: what is fuzzed stands behind them.
    private static func sealed(_ bytes: [UInt8]) -> [UInt8] {
        guard bytes.count >= 124 else { return bytes }
        var fixed = Array(bytes[..<124])
        // The magic, the version and the size of pieces are put right too.
        fixed.replaceSubrange(0..<12, with: Array("MARTLETJ".utf8) + little(1, 4))
        let fileBytes = number(fixed, 48, 8) % (1 << 35)
        fixed.replaceSubrange(48..<56, with: little(fileBytes, 8))
        fixed.replaceSubrange(56..<60, with: little(UInt64(PieceLayout(fileBytes: fileBytes).pieceBytes), 4))
        var chain = JournalChecksum.extend(0, fixed)
        fixed += little(UInt64(chain), 4)
        var place = 128
        while place < bytes.count {
            var record = Array(bytes[place..<min(place + 44, bytes.count)])
            record += [UInt8](repeating: 0, count: 44 - record.count)
            // A kind and a piece that may be.
            record[0] = record[0] % 6
            chain = JournalChecksum.extend(chain, record)
            fixed += record + little(UInt64(chain), 4)
            place += 48
        }
        return fixed
    }

    private static let journalSeed: [UInt8] = {
        var bytes = [UInt8](repeating: 0, count: 128)
        bytes[12] = 1
        bytes.replaceSubrange(48..<56, with: little(40 << 20, 8))
        for piece in 0..<10 {
            bytes +=
                [1, 3, 0, 0] + little(UInt64(piece), 4) + [UInt8](repeating: UInt8(piece), count: 32) + little(0, 8)
        }
        bytes += [3, 0, 0, 0, 0, 0, 0, 0] + little(5, 8) + [UInt8](repeating: 0, count: 32)
        bytes += [2, 0, 0, 0] + little(3, 4) + [UInt8](repeating: 0, count: 40)
        return bytes + [4, 0, 0, 0, 0, 0, 0, 0] + little(1, 8) + [UInt8](repeating: 0, count: 32)
    }()

    static let journal = FuzzTarget("journal", seeds: [journalSeed, Array(journalSeed.prefix(200))]) { bytes in
        func read(_ bytes: [UInt8]) -> UInt64 {
            guard let replay = JournalReplay(bytes) else { return 1 }
            precondition(replay.records * 48 + 128 <= UInt64(bytes.count), "more records than bytes")
            return Outcome(2, min(replay.records, 16), UInt64(min(replay.held.count, 16))).value
        }
        return read(bytes) ^ read(sealed(bytes))
    }

    static let manifestText = FuzzTarget(
        "manifest-text",
        seeds: [
            Array(
                "martlet-manifest 1\nreference hf://a/b@main\nrevision 01\na/b\t5\tsha256:\(String(repeating: "ab", count: 32))\t-\nc\t0\tgitblob:\(String(repeating: "cd", count: 20))\tgitblob:\(String(repeating: "cd", count: 20))\n"
                    .utf8)
        ],
        words: ["\n", "\t", "../", "\t-\n", "reference ", "8796093022208", "18446744073709551615"]
    ) { bytes in
        // The digest at the end is put right, so that the lines are read as well.
        let sealed = bytes + Array("end \(Digests.sha256(bytes).hex)\n".utf8)
        guard let manifest = ManifestText.decode(sealed) else { return ManifestText.decode(bytes) == nil ? 1 : 2 }
        for file in manifest.files {
            precondition(Manifest.pathFault(file.path) == nil, "a path that may not be written")
        }
        precondition(manifest.pieceCount <= Limits.modelPiecesMax, "more pieces than a model may have")
        return Outcome(3, UInt64(manifest.files.count)).value
    }
}
