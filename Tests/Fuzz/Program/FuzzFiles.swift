import Glibc

/// Files of the fuzzer: one input, or a corpus with an input a line in hexadecimal digits.
enum FuzzFiles {
    /// Longer inputs are not worth a line.
    private static let lineBytesMax = 512
    private static let linesMax = 96

    static func nowNs() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    static func read(_ path: String) -> [UInt8] {
        guard let file = fopen(path, "re") else { fatalError("cannot read \(path)") }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 16 << 20)
        let count = fread(&bytes, 1, bytes.count, file)
        return Array(bytes[..<count])
    }

    /// Nothing where there is no file.
    static func corpus(_ path: String) -> [[UInt8]] {
        guard access(path, R_OK) == 0 else { return [] }
        return String(decoding: read(path), as: UTF8.self).split(separator: "\n").map { line in
            let digits = Array(line.utf8)
            return stride(from: 0, to: digits.count - 1, by: 2).map { index in
                guard let byte = UInt8(String(decoding: digits[index...index + 1], as: UTF8.self), radix: 16) else {
                    fatalError("\(path) holds something else than hexadecimal digits")
                }
                return byte
            }
        }
    }

    /// Adds inputs to a corpus, up to its limit.
    static func keep(_ inputs: some Collection<[UInt8]>, _ path: String) {
        let old = corpus(path)
        let digits = Array("0123456789abcdef".utf8)
        let room = max(0, linesMax - old.count)
        let kept = (old + inputs.filter { !$0.isEmpty && $0.count <= lineBytesMax }.prefix(room)).map { input in
            String(decoding: input.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
        }
        guard let file = fopen(path, "we") else { fatalError("cannot write \(path)") }
        fputs(kept.map { $0 + "\n" }.joined(), file)
        fclose(file)
    }
}
