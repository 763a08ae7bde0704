import Glibc

/// A folder that only this user can enter, with a socket's path in it; nil when there is none to be had.
func makePrivatePath(_ name: String) -> String? {
    var template = Array("/tmp/martlet-bench-XXXXXX".utf8CString)
    let made = template.withUnsafeMutableBufferPointer { mkdtemp($0.baseAddress!) != nil }
    guard made else { return nil }
    return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self) + "/" + name
}

/// Removes a private path and its folder.
func removePrivatePath(_ path: String) {
    _ = unlink(path)
    _ = rmdir(String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)]))
}
