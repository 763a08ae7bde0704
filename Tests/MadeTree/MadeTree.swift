import Glibc

/// A directory tree made for one test, removed when the test lets it go: a /sys or /proc of a machine we do not have.
public final class MadeTree {
    /// Its root.
    public let path: String

    /// Makes the root.
    public init() throws {
        var template = Array("/tmp/martlet-tree-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw CannotMake(path: "a temporary directory", code: errno) }
        path = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
    }

    /// Writes a file, and makes the directories above it.
    public func write(_ name: String, _ text: String) throws {
        try makeDirectories(above: name)
        guard let file = fopen("\(path)/\(name)", "w") else { throw CannotMake(path: name, code: errno) }
        fputs(text, file)
        fclose(file)
    }

    /// Makes a symbolic link, and the directories above it; the target need not exist.
    public func link(_ name: String, to target: String) throws {
        try makeDirectories(above: name)
        guard symlink(target, "\(path)/\(name)") == 0 else { throw CannotMake(path: name, code: errno) }
    }

    private func makeDirectories(above name: String) throws {
        var directory = path
        for part in name.split(separator: "/").dropLast() {
            directory += "/\(part)"
            guard mkdir(directory, 0o755) == 0 || errno == EEXIST else {
                throw CannotMake(path: directory, code: errno)
            }
        }
    }

    deinit {
        _ = nftw(path, { path, _, _, _ in remove(path!) }, 16, CInt(FTW_DEPTH | FTW_PHYS))
    }

    struct CannotMake: Error {
        let path: String
        let code: Int32
    }
}
