import CLinux

/// Reads the small text files and directories of /sys and /proc. What is not there is nil or empty: machines differ.
enum SystemTree {
    /// No file read here is longer.
    static let fileBytesMax = 64 << 10

    /// A file's text without surrounding white space.
    static func text(_ path: String) -> String? {
        guard let file = fopen(path, "re") else { return nil }
        defer { fclose(file) }
        let bytes = [UInt8](unsafeUninitializedCapacity: fileBytesMax) { buffer, count in
            count = fread(buffer.baseAddress, 1, buffer.count, file)
        }
        guard ferror(file) == 0 else { return nil }
        let space: [UInt8] = [0x20, 0x09, 0x0A, 0x0D, 0]
        guard let first = bytes.firstIndex(where: { !space.contains($0) }),
            let last = bytes.lastIndex(where: { !space.contains($0) })
        else { return "" }
        return String(decoding: bytes[first...last], as: UTF8.self)
    }

    /// A file's lines.
    static func lines(_ path: String) -> [Substring] {
        text(path)?.split(separator: "\n") ?? []
    }

    /// The decimal number a file holds.
    static func number(_ path: String) -> Int? { text(path).flatMap { Int($0) } }

    /// The hexadecimal number a file holds, e.g. `0x15b3`.
    static func hexadecimal(_ path: String) -> Int? {
        guard let text = text(path), text.hasPrefix("0x") else { return nil }
        return Int(text.dropFirst(2), radix: 16)
    }

    /// The value of a `name: value` line.
    static func field(_ name: String, of path: String) -> String? {
        for line in lines(path) {
            guard let colon = line.firstIndex(of: ":"), line[..<colon] == name else { continue }
            return String(line[line.index(after: colon)...].drop { $0 == " " || $0 == "\t" })
        }
        return nil
    }

    /// The names in a directory, sorted so that numbers follow their value (`node2` before `node10`).
    static func entries(_ path: String) -> [String] {
        guard let directory = opendir(path) else { return [] }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                // Safety: the kernel ends the name with a zero byte inside d_name.
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names.sorted { ($0.count, $0) < ($1.count, $1) }
    }

    /// The last part of a symbolic link's target: how /sys names a device's driver.
    static func linkName(_ path: String) -> String? {
        let target = [UInt8](unsafeUninitializedCapacity: 4096) { buffer, count in
            let room = buffer.count
            count = buffer.withMemoryRebound(to: CChar.self) { max(0, readlink(path, $0.baseAddress!, room)) }
        }
        guard let name = target.split(separator: UInt8(ascii: "/")).last else { return nil }
        return String(decoding: name, as: UTF8.self)
    }

    /// The path without symbolic links; nil when it does not exist.
    static func resolved(_ path: String) -> String? {
        guard let text = realpath(path, nil) else { return nil }
        defer { free(text) }
        return String(cString: text)
    }
}
