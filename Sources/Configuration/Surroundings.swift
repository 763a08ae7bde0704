import Glibc

/// What a process finds around it that built-in values depend on. Tests make their own.
public struct Surroundings: Sendable {
    /// Whether the process runs as root, and so uses the system's directories.
    public var isRoot: Bool
    /// The home directory, without a slash at its end.
    public var home: String
    /// The kernel's name of the host.
    public var hostName: String
    /// The environment's variables.
    public var environment: [String: String]

    /// Describes surroundings.
    public init(isRoot: Bool, home: String, hostName: String, environment: [String: String]) {
        self.isRoot = isRoot
        self.home = home
        self.hostName = hostName
        self.environment = environment
    }

    /// This process's own, as they were at its start.
    public static func ofThisProcess() -> Surroundings {
        let environment = environmentAtStart()
        var name = [UInt8](repeating: 0, count: 256)
        let named = name.withUnsafeMutableBytes { bytes in
            gethostname(bytes.baseAddress!.assumingMemoryBound(to: CChar.self), bytes.count - 1) == 0
        }
        let host = String(decoding: name.prefix { $0 != 0 }, as: UTF8.self)
        return Surroundings(
            isRoot: geteuid() == 0, home: environment["HOME"] ?? "/root",
            hostName: named && !host.isEmpty ? host : "localhost", environment: environment)
    }

    /// Where state is kept: `/var/lib/martlet` for root, otherwise `$XDG_DATA_HOME/martlet` or
    /// `~/.local/share/martlet`.
    public var stateDirectory: String {
        if isRoot { return "/var/lib/martlet" }
        return (absolute("XDG_DATA_HOME") ?? "\(home)/.local/share") + "/martlet"
    }

    /// Where the node's peer can be talked to: `/run/martlet/peer.sock` for root, otherwise
    /// `$XDG_RUNTIME_DIR/martlet.sock`, or a socket in the state directory (never in a directory others can write to).
    public var peerSocket: String {
        if isRoot { return "/run/martlet/peer.sock" }
        return absolute("XDG_RUNTIME_DIR").map { "\($0)/martlet.sock" } ?? "\(stateDirectory)/peer.sock"
    }

    /// Where a configuration file is looked for when none is named, in this order.
    public var configurationFiles: [String] {
        let own = (absolute("XDG_CONFIG_HOME") ?? "\(home)/.config") + "/martlet/martlet.toml"
        return isRoot ? ["/etc/martlet/martlet.toml"] : [own, "/etc/martlet/martlet.toml"]
    }

    private func absolute(_ variable: String) -> String? {
        guard let path = environment[variable], path.hasPrefix("/") else { return nil }
        return path.count > 1 && path.hasSuffix("/") ? String(path.dropLast()) : path
    }

    // Read from the kernel: the C library's `environ` is a mutable global that Swift cannot share between threads.
    private static func environmentAtStart() -> [String: String] {
        guard case .success(let bytes) = readWholeFile("/proc/self/environ", bytesMax: 8 << 20) else {
            return [:]
        }
        var variables: [String: String] = [:]
        for entry in bytes.split(separator: 0) {
            guard let equals = entry.firstIndex(of: UInt8(ascii: "=")) else { continue }
            let name = String(decoding: entry[..<equals], as: UTF8.self)
            variables[name] = String(decoding: entry[(equals + 1)...], as: UTF8.self)
        }
        return variables
    }
}

/// Why a file was not read.
enum ReadFailure: Error {
    case tooLarge
    case errno(Int32)
}

/// Reads a small file whole. Blocks on the disk: for a process's start.
func readWholeFile(_ path: String, bytesMax: Int) -> Result<[UInt8], ReadFailure> {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return .failure(.errno(errno)) }
    defer { close(descriptor) }
    var contents: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1 << 16)
    while contents.count <= bytesMax {
        let count = read(descriptor, &chunk, chunk.count)
        if count < 0 && errno == EINTR { continue }
        guard count >= 0 else { return .failure(.errno(errno)) }
        if count == 0 { return .success(contents) }
        contents.append(contentsOf: chunk[..<count])
    }
    return .failure(.tooLarge)
}
