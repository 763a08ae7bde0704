import Artifacts
import System

/// Which life of the host this is: a number that grows with every start, also when the clock was put back meanwhile.
///
/// Others drop what comes from an earlier life. The wall clock alone would make a restart look like one, and the host be
/// refused, until its clock has caught up; so the last number is kept beside the store.
enum HostLife {
    private static let fileName = "incarnation"

    /// The number of this start, kept for the next one. Blocks. Where nothing can be kept the clock has to do.
    static func next(directory path: String, clockMs: UInt64) -> Incarnation {
        do throws(Errno) {
            try Directory.create(path: path, permissions: 0o755)
            let directory = try Directory(path: path)
            let file = try directory.open(fileName, .createOrOpen)
            var bytes = [UInt8](repeating: 0, count: 32)
            let count = try bytes.withUnsafeMutableBytes { buffer in
                Result { () throws(Errno) in try file.read(at: 0, into: buffer) }
            }.get()
            let incarnation = follows(String(decoding: bytes[..<count], as: UTF8.self), clockMs: clockMs)
            let text = Array("\(incarnation)\n".utf8)
            try text.withUnsafeBytes { bytes in
                Result { () throws(Errno) in try file.write(bytes, at: 0) }
            }.get()
            try file.truncate(sizeBytes: UInt64(text.count))
            return incarnation
        } catch {
            return clockMs
        }
    }

    /// The number after the one in a file's text. A number that no clock will show for centuries is damage, and passed
    /// over.
    static func follows(_ text: String, clockMs: UInt64) -> Incarnation {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        guard let last = UInt64(digits), last < 1 << 44 else { return clockMs }
        return max(clockMs, last + 1)
    }
}
