import Foundation
import Glibc
import HTTP
import Origins

/// The hub-protocol origin of Tests/support as a process, with a directory of its own; both go with it.
final class LocalHub: Sendable {
    struct Failure: Error { let description: String }

    let directory: URL
    let port: UInt16
    private let process: ChildProcess

    /// Starts the origin with these files below its root (`org/name/file`), and waits until it listens.
    init(_ files: [String: [UInt8]], lfsThreshold: Int = 1 << 20, certificate: String? = nil) throws {
        directory = FileManager.default.temporaryDirectory.appending(path: "martlet-hub-\(UUID().uuidString)")
        let root = directory.appending(path: "root")
        try FileManager.default.createDirectory(at: root, withIntermediateDirectories: true)
        for (name, bytes) in files {
            let path = root.appending(path: name)
            try FileManager.default.createDirectory(
                at: path.deletingLastPathComponent(), withIntermediateDirectories: true)
            try Data(bytes).write(to: path)
        }
        let portFile = directory.appending(path: "port")
        let script = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "support/hub_origin.py")
        process = try ChildProcess(
            [
                "python3", script.path(percentEncoded: false), "--root", root.path(percentEncoded: false),
                "--port-file",
                portFile.path(percentEncoded: false), "--lfs-threshold", "\(lfsThreshold)", "--quiet",
                "--until-stdin-closes",
            ] + (certificate.map { ["--certificate", $0] } ?? []), holdsInput: true)
        for _ in 0..<1500 {
            if let text = try? String(contentsOf: portFile, encoding: .utf8), let port = UInt16(text) {
                self.port = port
                return
            }
            usleep(20_000)
        }
        process.end()
        try? FileManager.default.removeItem(at: directory)
        throw Failure(description: "the local hub did not start within 30 seconds")
    }

    deinit {
        process.end()
        try? FileManager.default.removeItem(at: directory)
    }

    var endpoint: String { "http://127.0.0.1:\(port)" }

    /// Where a served file lies.
    func path(_ name: String) -> String {
        directory.appending(path: "root/\(name)").path(percentEncoded: false)
    }

    /// Sets faults; `{}` clears them.
    func fault(_ json: String) throws { _ = try exchange("POST", "/__fault__", json) }

    /// Bytes and requests of file content served so far.
    func served() throws -> (bytes: Int, requests: Int) {
        let answer = try exchange("GET", "/__stats__", "")
        guard let body = answer.range(of: "\r\n\r\n"),
            let json = try JSONSerialization.jsonObject(with: Data(answer[body.upperBound...].utf8))
                as? [String: Any],
            let bytes = json["bytes"] as? Int, let requests = json["requests"] as? Int
        else { throw Failure(description: "the local hub's stats are malformed") }
        return (bytes, requests)
    }

    /// One request on a plain socket: the client under test does not judge itself.
    private func exchange(_ method: String, _ path: String, _ body: String) throws -> String {
        let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(socket) }
        var limit = timeval(tv_sec: 20, tv_usec: 0)
        setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = in_addr_t(0x7f00_0001).bigEndian
        let connected = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(
                    socket, __CONST_SOCKADDR_ARG(__sockaddr__: $0), socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard connected == 0 else { throw Failure(description: "the local hub is gone") }
        let text =
            "\(method) \(path) HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)"
        guard send(socket, text, text.utf8.count, Int32(MSG_NOSIGNAL)) == text.utf8.count else {
            throw Failure(description: "the local hub is gone")
        }
        var answer: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = recv(socket, &part, part.count, 0)
            guard count > 0 else { break }
            answer += part[..<count]
        }
        guard answer.starts(with: "HTTP/1.1 200".utf8) else {
            throw Failure(description: "the local hub said no to \(path)")
        }
        return String(decoding: answer, as: UTF8.self)
    }

    /// Origins that talk to this hub, with retries fast enough for a test.
    func origins(token: String? = nil) throws -> Origins {
        var environment = ["HF_ENDPOINT": endpoint]
        environment["HF_TOKEN"] = token
        var settings = try OriginSettings(environment: environment)
        settings.retry = HTTPRetryPolicy(
            retriesMax: 3, baseNs: 2_000_000, delayNsMax: 10_000_000, retryAfterSecondsMax: 1)
        settings.client.connectSecondsMax = 5
        settings.client.silentSecondsMax = 10
        // Its redirects and second servers stand on this machine too.
        settings.client.addresses = .any
        return try Origins(settings: settings)
    }
}

/// Bytes that repeat nowhere within a test's files, the same in every run.
func patternedBytes(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
    var state = seed
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count + 8)
    while bytes.count < count {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        withUnsafeBytes(of: state ^ state >> 29) { bytes.append(contentsOf: $0) }
    }
    return Array(bytes.prefix(count))
}
