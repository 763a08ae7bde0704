import CHTTPServer
import Glibc
import Synchronization

/// A small HTTP server for GET requests: metrics, readiness, liveness. One thread of its own, whole replies.
///
/// Other methods get 405, other paths 404; HEAD is answered like GET, without the body.
public final class HTTPServer: Sendable {
    /// What a handler answers.
    public struct Reply: Hashable, Sendable {
        /// The status code.
        public let status: Int
        /// The body's type.
        public let contentType: String
        /// The body.
        public let body: String
        /// Describes an answer.
        public init(status: Int = 200, contentType: String = "text/plain; charset=utf-8", body: String) {
            self.status = status
            self.contentType = contentType
            self.body = body
        }
    }

    /// Answers one path, on the server's thread: it must not block.
    public typealias Handler = @Sendable () -> Reply

    /// Why the server did not start: one sentence with the remedy.
    public struct StartError: Error, Hashable, Sendable, CustomStringConvertible {
        /// The kernel's error number, e.g. `EADDRINUSE`.
        public let errno: Int32
        /// The sentence.
        public let description: String
    }

    /// The port listened on: the kernel's choice when 0 was asked for.
    public let port: UInt16
    private let running: Running

    /// Listens on a numeric address and serves each path of `routes`.
    ///
    /// At most 256 connections, 32 of them from one address; a silent one is closed after `idleSecondsMax`. A request
    /// has at most 32 KiB of head.
    public init(
        address: String = "0.0.0.0", port: UInt16, routes: [String: Handler], idleSecondsMax: UInt32 = 10
    ) throws(StartError) {
        let router = Router(routes)
        var server: OpaquePointer?
        let result = martlet_http_server_start(
            address, port, 256, idleSecondsMax,
            { context, method, path, exchange in
                // Safety: `Running` keeps the router until the server has stopped and its thread was joined.
                Unmanaged<Router>.fromOpaque(context!).takeUnretainedValue()
                    .answer(String(cString: method), String(cString: path), exchange)
            }, Unmanaged.passUnretained(router).toOpaque(), &server)
        guard result == 0, let server else {
            throw StartError(errno: -result, description: HTTPServer.sentence(-result, address, port))
        }
        self.port = martlet_http_server_port(server)
        running = Running(server: server, router: router)
    }

    /// Stops listening, closes every connection and joins the thread: some milliseconds. Dropping the server does the
    /// same.
    public func stop() { running.stop() }

    private static func sentence(_ code: Int32, _ address: String, _ port: UInt16) -> String {
        let remedy =
            switch code {
            case EADDRINUSE:
                "the port is in use; stop the other process or choose another port (0 takes any free one)"
            case EACCES: "ports below 1024 need a privilege; choose a higher port"
            case EADDRNOTAVAIL: "this machine has no such address; use one of its own, or 0.0.0.0"
            case EINVAL: "that is no numeric address; write one such as 127.0.0.1 or ::"
            default: String(cString: strerror(code))
            }
        return "cannot listen on \(address):\(port): \(remedy) [errno \(code)]"
    }
}

private final class Router: Sendable {
    private let routes: [String: HTTPServer.Handler]
    init(_ routes: [String: HTTPServer.Handler]) { self.routes = routes }

    func answer(_ method: String, _ path: String, _ exchange: OpaquePointer) {
        let reply: HTTPServer.Reply
        if method != "GET" && method != "HEAD" {
            reply = HTTPServer.Reply(status: 405, body: "only GET is served here\n")
        } else if let handler = routes[path] {
            reply = handler()
        } else {
            let known = routes.keys.sorted().joined(separator: " ")
            reply = HTTPServer.Reply(status: 404, body: "not here; try \(known)\n")
        }
        var body = reply.body
        body.withUTF8 { bytes in
            // A client that has gone away is no one's concern: there is nobody to tell.
            _ = martlet_http_reply(
                exchange, UInt32(reply.status), reply.contentType, bytes.baseAddress, bytes.count)
        }
    }
}

/// The started server, stopped once: the address of the C server, 0 when it has been.
private final class Running: Sendable {
    private let address: Mutex<Int>
    private let router: Router

    init(server: OpaquePointer, router: Router) {
        address = Mutex(Int(bitPattern: server))
        self.router = router
    }

    func stop() {
        let taken = address.withLock { address in
            let taken = address
            address = 0
            return taken
        }
        guard let server = OpaquePointer(bitPattern: taken) else { return }
        martlet_http_server_stop(server)
    }

    deinit { stop() }
}
